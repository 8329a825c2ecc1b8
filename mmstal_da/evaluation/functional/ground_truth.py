"""Ground truth of one test set, from a dict in ACT's format."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmstal_da.tubes.annotation import Tube
from mmstal_da.tubes.duplicates import find_duplicates
from mmstal_da.tubes.plausible import off_frame

from .tubes import TubeSet, fill_gaps

LONGEST = 10_000_000  # frames, four days


@dataclass
class GroundTruth:
    """Classes, videos and tubes that detections are scored against.

    Attributes:
        labels: Class names; a label is an index into them.
        videos: Names of the evaluated videos; a video is an index into them.
        num_frames: (V,) int64, frames of every video.
        tubes: Ground-truth tubes.
    """

    labels: list[str]
    videos: list[str]
    num_frames: np.ndarray
    tubes: TubeSet

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Video, label, frame and box of every annotated box (the gaps of tubes left out)."""
        tubes = self.tubes
        length = tubes.end - tubes.begin + 1
        frame = np.arange(len(tubes.boxes)) - np.repeat(tubes.offset - tubes.begin, length)
        keep = tubes.valid
        return (
            np.repeat(tubes.video, length)[keep],
            np.repeat(tubes.label, length)[keep],
            frame[keep],
            tubes.boxes[keep],
        )

    def frame_number(
        self, video: np.ndarray, frame: np.ndarray, label: np.ndarray | None = None
    ) -> np.ndarray:
        """(N,) int64 number of a frame, by video and frame; with ``label``, by class first."""
        start = np.concatenate(([0], np.cumsum(self.num_frames)))
        number = start.take(video) + (frame - 1)
        return number if label is None else number + label * start[-1]

    def annotated_frames(self) -> np.ndarray:
        """(F,) bool by :meth:`frame_number`: whether a frame has a box of any class."""
        video, _, frame, _ = self.rows()
        annotated = np.zeros(int(self.num_frames.sum()), bool)
        annotated[self.frame_number(video, frame)] = True
        return annotated

    def count_repeated(self) -> int:
        """Number of tubes that mark what another one of their class marks."""
        tubes = self.tubes
        by_video: dict[int, list[Tube]] = {}
        for number in range(len(tubes)):
            begin, length = tubes.begin[number], tubes.end[number] - tubes.begin[number] + 1
            rows = tubes.offset[number] + np.flatnonzero(
                tubes.valid[tubes.offset[number] : tubes.offset[number] + length]
            )
            frames = (begin + rows - tubes.offset[number]).astype(np.int64)
            tube = Tube(str(tubes.label[number]), frames, tubes.boxes[rows])
            by_video.setdefault(int(tubes.video[number]), []).append(tube)
        return sum(len({b for _, b in find_duplicates(found)}) for found in by_video.values())


def split_videos(gt: dict[str, Any], split: int = 1) -> list[str]:
    """The videos to evaluate: split ``split`` (1-based) of ``test_videos``, else ``videos``."""
    if 'test_videos' in gt:
        splits = gt['test_videos']
        if not 1 <= split <= len(splits):
            raise ValueError(f'ground truth has {len(splits)} test split(s), no split {split}')
        names = splits[split - 1]
        if isinstance(names, str):
            raise ValueError("ground truth: 'test_videos' holds a list of names per split")
        return [str(name) for name in names]
    if 'videos' in gt:
        return [str(name) for name in gt['videos']]
    raise ValueError("ground truth has neither 'test_videos' nor 'videos'")


def indexed_videos(gt: dict[str, Any], split: int = 1) -> list[str]:
    """The names that a video index refers to: ``videos`` if present, else the split's."""
    return [str(name) for name in gt['videos']] if 'videos' in gt else split_videos(gt, split)


def parse_ground_truth(
    gt: dict[str, Any], split: int = 1, classes: Sequence[str] | None = None
) -> GroundTruth:
    """Check a ground-truth dict and convert it to arrays.

    Args:
        gt: ``labels`` (class names), ``nframes`` {video: frames}, ``gttubes`` {video: {label:
            [(n, 5) array of frame x1 y1 x2 y2]}}, and ``test_videos`` (a list of names per split)
            or ``videos`` (one list). Frames are 1-based; boxes 0-based absolute pixels of the
            original resolution, x2 and y2 inclusive. A video without an entry in ``gttubes`` is
            background.
            With ``resolution`` {video: (height, width)}, boxes that are not in the frame are
            errors.
        split: 1-based, if the dict has ``test_videos``.
        classes: Evaluate these classes, in this order, on the videos that have a tube of them.

    Raises:
        ValueError: A key is missing, a class or video is named twice, a video has no frame count,
            or a tube is malformed; names the video, class, tube and frame.
    """
    missing = [key for key in ('labels', 'nframes', 'gttubes') if key not in gt]
    if missing:
        raise ValueError(
            f'ground truth lacks the keys {missing}; it has {sorted(map(str, gt))[:10]}'
        )
    all_labels = [str(label) for label in gt['labels']]
    if len(set(all_labels)) != len(all_labels):
        raise ValueError(f'ground truth names a class twice: {all_labels}')
    labels = all_labels if classes is None else list(classes)
    unknown = sorted(set(labels) - set(all_labels))
    if unknown:
        raise ValueError(f'ground truth has no classes {unknown}; it has {all_labels}')
    names = split_videos(gt, split)
    if len(set(names)) != len(names):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f'ground truth lists videos twice: {twice[:5]}')
    videos: list[str] = []
    flat: list[tuple[int, int, int, np.ndarray]] = []  # video, label, number in file, tube
    for name in names:
        if name not in gt['nframes']:
            raise ValueError(f"ground truth: 'nframes' lacks video {name!r}")
        found = _tubes_of_video(gt, name, all_labels, labels)
        for label, number, tube in found:
            _refuse_off_frame(gt, name, f'class {labels[label]!r}, tube {number}', tube)
        if found or classes is None:
            flat += [(len(videos), *item) for item in found]
            videos.append(name)
    if not videos:
        raise ValueError(
            'ground truth has no video to evaluate'
            + (f' with a tube of {labels}' if classes is not None else '')
        )
    for name in videos:
        count = gt['nframes'][name]
        if not isinstance(count, int | np.integer) or not 1 <= count <= LONGEST:
            raise ValueError(f"ground truth, video {name!r}: 'nframes' is {count!r}, no length")
    num_frames = np.array([int(gt['nframes'][name]) for name in videos], np.int64)
    return GroundTruth(labels, videos, num_frames, _flatten(flat, videos, labels, num_frames))


def _refuse_off_frame(gt: dict[str, Any], name: str, where: str, tube: np.ndarray) -> None:
    """Refuse boxes that are not in the frame, where the size is known."""
    height, width = (gt.get('resolution') or {}).get(name) or (None, None)
    if height is None or width is None or not np.isfinite(tube).all():
        return
    off = off_frame(tube[:, 1:], int(width), int(height))
    if off.any():
        box = ' '.join(f'{value:g}' for value in tube[off][0, 1:])
        raise ValueError(
            f'ground truth, video {name!r}, {where}, frame {tube[off][0, 0]:g}: box {box} is not'
            f' in the frame of {width}x{height} pixels; boxes are in pixels of that size'
        )


def _tubes_of_video(
    gt: dict[str, Any], name: str, all_labels: list[str], labels: list[str]
) -> list[tuple[int, int, np.ndarray]]:
    """Label, number and (n, 5) array of the tubes of the wanted classes."""
    found = []
    for label, tubes in gt['gttubes'].get(name, {}).items():
        if not isinstance(label, int | np.integer) or not 0 <= label < len(all_labels):
            raise ValueError(
                f'ground truth, video {name!r}: label {label!r} is not one of the '
                f'{len(all_labels)} classes 0..{len(all_labels) - 1}'
            )
        if all_labels[label] not in labels:
            continue
        for number, tube in enumerate(tubes):
            tube = np.asarray(tube)
            where = f'ground truth, video {name!r}, class {all_labels[label]!r}, tube {number}'
            if tube.ndim != 2 or tube.shape[1] != 5 or len(tube) == 0:
                raise ValueError(
                    f'{where}: expected (n, 5) frame x1 y1 x2 y2, got shape {tube.shape}'
                )
            if tube.dtype.kind not in 'if':
                raise ValueError(
                    f'{where}: stored as {tube.dtype}; unsigned boxes wrap around silently when '
                    'widths are added. Cast to float32 before computing x2 = x1 + w - 1'
                )
            found.append((labels.index(all_labels[label]), number, tube))
    return found


def _flatten(
    flat: list[tuple[int, int, int, np.ndarray]],
    videos: list[str],
    labels: list[str],
    num_frames: np.ndarray,
) -> TubeSet:
    """Tubes as :class:`TubeSet`, by video, in the order of the annotation; checks their rows."""
    count = np.array([len(item[3]) for item in flat], np.int64)
    offsets = np.concatenate(([0], np.cumsum(count)))
    rows = np.concatenate([np.zeros((0, 5)), *(item[3].astype(np.float64) for item in flat)])
    frames = rows[:, 0]
    video = np.array([item[0] for item in flat], np.int64)
    first = np.zeros(len(rows), bool)
    first[offsets[:-1]] = True
    number = np.repeat(np.arange(len(flat)), count)
    last_frame = num_frames[video][number]
    checks = (
        (~np.isfinite(rows).all(1), 'NaN or infinite value'),
        (frames != np.round(frames), 'the frame is not a whole number'),
        (~first & (np.diff(frames, prepend=0) <= 0), 'frames do not increase'),
        ((frames < 1) | (frames > last_frame), 'the frame is outside the video'),
        ((rows[:, 3] < rows[:, 1]) | (rows[:, 4] < rows[:, 2]), 'the box is inverted'),
    )
    for bad, problem in checks:
        if bad.any():
            row = int(np.argmax(bad))
            tube = number[row]
            box = ' '.join(f'{value:g}' for value in rows[row, 1:])
            raise ValueError(
                f'ground truth, video {videos[video[tube]]!r}, class {labels[flat[tube][1]]!r}, '
                f'tube {flat[tube][2]}, row {row - offsets[tube]}: {problem} (frame '
                f'{frames[row]:g} of {last_frame[row]}, box {box})'
            )
    return fill_gaps(
        video,
        np.array([item[1] for item in flat], np.int64),
        np.ones(len(flat), np.float32),
        offsets,
        frames.astype(np.int64),
        rows[:, 1:].astype(np.float32),
        np.ones(len(rows), np.float32),
        interpolate=False,
    )
