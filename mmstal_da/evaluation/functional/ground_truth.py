"""Ground truth of one test set, from a dict in ACT's format."""

from dataclasses import dataclass

import numpy as np

from .tubes import TubeSet, fill_gaps


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


def select_videos(gt: dict, split: int = 1) -> list[str]:
    """The videos to evaluate: split ``split`` (1-based) of ``test_videos``, else ``videos``."""
    if 'test_videos' in gt:
        splits = gt['test_videos']
        if not 1 <= split <= len(splits):
            raise ValueError(f'ground truth has {len(splits)} test split(s), no split {split}')
        return list(splits[split - 1])
    if 'videos' in gt:
        return list(gt['videos'])
    raise ValueError("ground truth has neither 'test_videos' nor 'videos'")


def parse_ground_truth(gt: dict, split: int = 1, videos: list[str] | None = None) -> GroundTruth:
    """Check a ground-truth dict and lay it out in arrays.

    Args:
        gt: ``labels`` (class names), ``nframes`` {video: frames}, ``gttubes`` {video: {label:
            [(n, 5) array of frame x1 y1 x2 y2]}}, and ``test_videos`` (a list of names per split)
            or ``videos`` (one list). Frames are 1-based; boxes 0-based absolute pixels of the
            original resolution, x2 and y2 inclusive.
        split: 1-based, where the dict has ``test_videos``.
        videos: Evaluate these videos instead of a split.

    Raises:
        ValueError: A key is missing, a video has no frame count, or a tube is malformed; names
            the video, class, tube and frame.
    """
    missing = [key for key in ('labels', 'nframes', 'gttubes') if key not in gt]
    if missing:
        raise ValueError(f'ground truth lacks the keys {missing}; it has {sorted(gt)}')
    labels = [str(label) for label in gt['labels']]
    names = select_videos(gt, split) if videos is None else list(videos)
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f'ground truth lists videos twice: {twice[:5]}')
    num_frames, flat = [], []
    for index, name in enumerate(names):
        if name not in gt['nframes']:
            raise ValueError(f"ground truth: 'nframes' lacks video {name!r}")
        num_frames.append(int(gt['nframes'][name]))
        for label, tubes in gt['gttubes'].get(name, {}).items():
            if isinstance(label, bool) or not 0 <= int(label) < len(labels) or label != int(label):
                raise ValueError(
                    f'ground truth, video {name!r}: label {label!r} is not one of the '
                    f'{len(labels)} classes 0..{len(labels) - 1}'
                )
            for number, tube in enumerate(tubes):
                where = f'ground truth, video {name!r}, class {labels[int(label)]!r}, tube {number}'
                flat.append((index, int(label), _check_tube(tube, num_frames[-1], where)))
    return GroundTruth(labels, names, np.array(num_frames, np.int64), _flatten(flat))


def _flatten(flat: list[tuple[int, int, np.ndarray]]) -> TubeSet:
    """Tubes as :class:`TubeSet`, by video, in the order of the annotation."""
    offsets = np.cumsum([0] + [len(tube) for _, _, tube in flat])
    rows = np.concatenate([tube for _, _, tube in flat] or [np.zeros((0, 5))])
    return fill_gaps(
        np.array([video for video, _, _ in flat], np.int64),
        np.array([label for _, label, _ in flat], np.int64),
        np.ones(len(flat), np.float32),
        offsets,
        rows[:, 0].astype(np.int64),
        rows[:, 1:].astype(np.float32),
        np.ones(len(rows), np.float32),
        interpolate=False,
    )


def _check_tube(tube: np.ndarray, num_frames: int, where: str) -> np.ndarray:
    """Validate one (n, 5) tube; returns it in float64."""
    tube = np.asarray(tube)
    if tube.ndim != 2 or tube.shape[1] != 5 or len(tube) == 0:
        raise ValueError(f'{where}: expected (n, 5) frame x1 y1 x2 y2, got shape {tube.shape}')
    if tube.dtype.kind not in 'if':
        raise ValueError(
            f'{where}: stored as {tube.dtype}; unsigned boxes wrap around when widths are added. '
            'Cast to float32 where x2 = x1 + w - 1 is computed'
        )
    tube = tube.astype(np.float64)
    frames = tube[:, 0]
    bad = ~np.isfinite(tube).all(1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f'{where}, row {row} (frame {frames[row]:g}): NaN or infinite value')
    checks = (
        (frames != np.round(frames), 'the frame is not a whole number'),
        (np.diff(frames, prepend=-np.inf) <= 0, 'frames do not increase'),
        ((frames < 1) | (frames > num_frames), f'the frame is outside 1..{num_frames}'),
        ((tube[:, 3] < tube[:, 1]) | (tube[:, 4] < tube[:, 2]), 'the box is inverted'),
    )
    for bad, problem in checks:
        if bad.any():
            row = int(np.argmax(bad))
            box = ' '.join(f'{value:g}' for value in tube[row, 1:])
            raise ValueError(f'{where}, row {row} (frame {frames[row]:g}, box {box}): {problem}')
    return tube
