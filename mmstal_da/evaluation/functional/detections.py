"""Detections in flat arrays, checked on the way in."""

from dataclasses import dataclass

import numpy as np

from .ground_truth import GroundTruth

CHUNK = 1 << 20  # rows checked together


@dataclass
class Detections:
    """Detections of a test set.

    Attributes:
        video: (N,) int32, index into the videos of the ground truth.
        frame: (N,) int32, 1-based.
        label: (N,) int32, index into the classes.
        score: (N,) float32.
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the original video.
    """

    video: np.ndarray
    frame: np.ndarray
    label: np.ndarray
    score: np.ndarray
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.video)

    def take(self, index: np.ndarray) -> 'Detections':
        """Rows by index or mask."""
        fields = (self.video, self.frame, self.label, self.score, self.boxes)
        return Detections(*(field[index] for field in fields))


def parse_detections(dets: np.ndarray, videos: list[str], gt: GroundTruth) -> Detections:
    """Check the rows of a detection array and split them into typed columns.

    Args:
        dets: (M, 8) video index, frame, label, score, x1, y1, x2, y2. Frames are 1-based, boxes
            absolute pixels of the original video.
        videos: Names that the video index refers to.
        gt: Ground truth. Rows of its videos are kept.

    Returns:
        The detections in the evaluated videos, in input order; rows in other known videos are
        left out.

    Raises:
        ValueError: Names the row, video and frame of the first offending row.
    """
    dets = np.asarray(dets)
    if dets.ndim != 2 or dets.shape[1] != 8:
        raise ValueError(
            'detections: expected (M, 8) video index, frame, label, score, x1, y1, x2, y2, '
            f'got shape {dets.shape}'
        )
    if dets.dtype.kind not in 'if':
        raise ValueError(
            f'detections are stored as {dets.dtype}, which cannot hold scores and signed '
            'coordinates: cast the columns to float32 before stacking them'
        )
    index_of = {name: index for index, name in enumerate(gt.videos)}
    evaluated = np.array([index_of.get(name, -1) for name in videos], np.int32)
    num_frames = np.array(
        [gt.num_frames[index_of[v]] if v in index_of else np.iinfo(np.int32).max for v in videos]
    )
    parts = []
    for begin in range(0, len(dets), CHUNK):
        rows = dets[begin : begin + CHUNK]
        _check_rows(rows, begin, videos, num_frames, len(gt.labels))
        video = evaluated[rows[:, 0].astype(np.int32)]
        part = Detections(
            video,
            rows[:, 1].astype(np.int32),
            rows[:, 2].astype(np.int32),
            rows[:, 3].astype(np.float32),
            rows[:, 4:].astype(np.float32),
        )
        parts.append(part if (video >= 0).all() else part.take(video >= 0))
    if not parts:
        empty = np.zeros(0, np.int32)
        return Detections(
            empty, empty, empty, np.zeros(0, np.float32), np.zeros((0, 4), np.float32)
        )
    if len(parts) == 1:
        return parts[0]
    names = ('video', 'frame', 'label', 'score', 'boxes')
    return Detections(*(np.concatenate([getattr(part, n) for part in parts]) for n in names))


def _check_rows(
    rows: np.ndarray, begin: int, videos: list[str], num_frames: np.ndarray, num_labels: int
) -> None:
    """Raise on the first bad row of a chunk that starts at row ``begin``."""

    def refuse(bad: np.ndarray, problem: str) -> None:
        if not bad.any():
            return
        i = int(np.argmax(bad))
        row = rows[i]
        known = np.isfinite(row[0]) and 0 <= row[0] < len(videos) and row[0] == int(row[0])
        name = repr(videos[int(row[0])]) if known else f'index {row[0]:g}'
        values = ' '.join(f'{value:g}' for value in row[3:])
        raise ValueError(
            f'detections, row {begin + i}: {problem} (video {name}, frame {row[1]:g}, label '
            f'{row[2]:g}, score and box {values})'
        )

    # the cast is part of the check: a finite float64 may overflow float32
    with np.errstate(over='ignore'):
        refuse(~np.isfinite(rows.astype(np.float32)).all(1), 'NaN or infinite value')
    if rows.dtype.kind == 'f':
        refuse((rows[:, :3] != np.round(rows[:, :3])).any(1), 'video, frame or label not whole')
    video, frame, label = rows[:, 0], rows[:, 1], rows[:, 2]
    refuse((video < 0) | (video >= len(videos)), f'unknown video, there are {len(videos)}')
    refuse((label < 0) | (label >= num_labels), f'unknown label, there are {num_labels} classes')
    limit = num_frames[video.astype(np.int64)]
    bad = (frame < 1) | (frame > limit)
    if bad.any():
        refuse(bad, f'frame outside 1..{limit[int(np.argmax(bad))]}')
    refuse((rows[:, 6] < rows[:, 4]) | (rows[:, 7] < rows[:, 5]), 'inverted box')
