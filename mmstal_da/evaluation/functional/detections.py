"""Detections in flat arrays, checked when they are read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .ground_truth import GroundTruth

CHUNK = 1 << 16  # rows checked together
LIMIT = 1e9  # areas of boxes stay finite in float32


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

    @staticmethod
    def empty(size: int) -> 'Detections':
        """Columns with ``size`` rows, not filled."""
        return Detections(
            np.empty(size, np.int32),
            np.empty(size, np.int32),
            np.empty(size, np.int32),
            np.empty(size, np.float32),
            np.empty((size, 4), np.float32),
        )

    @staticmethod
    def from_rows(rows: np.ndarray) -> 'Detections':
        """From (M, 8) video index, frame, label, score, x1, y1, x2, y2; nothing is checked."""
        rows = np.asarray(rows)
        video, frame, label = rows[:, :3].T.astype(np.int32)
        boxes = rows[:, 4:].astype(np.float32)
        return Detections(video, frame, label, rows[:, 3].astype(np.float32), boxes)

    @staticmethod
    def concatenate(parts: 'Iterable[Detections]') -> 'Detections':
        """The rows of all parts, in order."""
        found = [Detections.empty(0), *parts]
        names = ('video', 'frame', 'label', 'score', 'boxes')
        return Detections(
            *(np.concatenate([getattr(part, name) for part in found]) for name in names)
        )

    def take(self, index: np.ndarray) -> 'Detections':
        """Rows by index."""
        fields = (self.video, self.frame, self.label, self.score, self.boxes)
        return Detections(*(field.take(index, axis=0) for field in fields))

    def slice(self, begin: int, end: int) -> 'Detections':
        """Consecutive rows, not copied."""
        fields = (self.video, self.frame, self.label, self.score, self.boxes)
        return Detections(*(field[begin:end] for field in fields))


def parse_detections(
    dets: np.ndarray,
    gt: GroundTruth,
    videos: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
) -> Detections:
    """Check the rows of a detection array and split them into typed columns.

    Args:
        dets: (M, 8) video index, frame, label, score, x1, y1, x2, y2. Frames are 1-based, boxes
            absolute pixels of the original video.
        gt: Ground truth.
        videos: Names that the video index refers to; None: ``gt.videos``.
        labels: Class names that the label refers to; None: ``gt.labels``.

    Returns:
        The detections of the evaluated videos and classes, in input order. Rows of other videos in
        ``videos`` and other classes in ``labels`` are left out.

    Raises:
        ValueError: A row is wrong; names the row, video and frame of the first one.
    """
    dets = np.asarray(dets)
    if dets.ndim != 2 or dets.shape[1] != 8:
        raise ValueError(
            'detections: expected (M, 8) video index, frame, label, score, x1, y1, x2, y2, '
            f'got shape {dets.shape}'
        )
    if dets.dtype.kind not in 'if' or dets.dtype.itemsize < 4:
        raise ValueError(
            f'detections are stored as {dets.dtype}, which cannot hold frame numbers, scores and '
            'coordinates: cast the columns to float32 before stacking them'
        )
    videos = gt.videos if videos is None else list(videos)
    labels = gt.labels if labels is None else list(labels)
    video_of = _positions(videos, gt.videos)
    label_of = _positions(labels, gt.labels)
    unlimited = np.iinfo(np.int32).max  # the length of a video that is not evaluated is not known
    num_frames = np.where(video_of >= 0, np.append(gt.num_frames, unlimited)[video_of], unlimited)
    result = Detections.empty(len(dets))
    size = 0
    for begin in range(0, len(dets), CHUNK):
        rows = dets[begin : begin + CHUNK]
        columns = np.ascontiguousarray(rows.T)
        _check_rows(columns, begin, videos, num_frames, len(labels))
        video = video_of.take(columns[0].astype(np.int32))
        label = label_of.take(columns[2].astype(np.int32))
        keep = slice(None) if video.min() >= 0 <= label.min() else (video >= 0) & (label >= 0)
        video = video[keep]
        end = size + len(video)
        result.video[size:end] = video
        result.frame[size:end] = columns[1][keep]
        result.label[size:end] = label[keep]
        result.score[size:end] = columns[3][keep]
        result.boxes[size:end] = rows[keep, 4:]
        size = end
    return result.slice(0, size)


def _positions(names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """(N,) int32 position of every name among the wanted ones, -1 if it is not wanted."""
    place = {name: number for number, name in enumerate(wanted)}
    return np.array([place.get(name, -1) for name in names], np.int32)


def _check_rows(
    columns: np.ndarray, begin: int, videos: Sequence[str], num_frames: np.ndarray, num_labels: int
) -> None:
    """Raise on the first bad row of (8, n) columns of rows ``begin``, ``begin + 1``, ..."""

    def refuse(bad: np.ndarray, problem: str) -> None:
        if not bad.any():
            return
        i = int(np.argmax(bad))
        row = columns[:, i]
        known = np.isfinite(row[0]) and 0 <= row[0] < len(videos) and row[0] == int(row[0])
        name = repr(videos[int(row[0])]) if known else f'index {row[0]:g}'
        values = ' '.join(f'{value:g}' for value in row[3:])
        raise ValueError(
            f'detections, row {begin + i}: {problem} (video {name}, frame {row[1]:g}, label '
            f'{row[2]:g}, score and box {values})'
        )

    video, frame, label, _, x1, y1, x2, y2 = columns
    if columns.dtype.kind == 'f':
        size = np.abs(columns)
        if not size.max(initial=0) <= LIMIT:  # NaN compares false
            refuse(~(size <= LIMIT).all(0), f'NaN, infinite or beyond {LIMIT:g}')
        refuse(video != np.rint(video), 'the video index is not a whole number')
        refuse(frame != np.rint(frame), 'the frame is not a whole number')
        refuse(label != np.rint(label), 'the label is not a whole number')
    refuse((video < 0) | (video >= len(videos)), f'unknown video, there are {len(videos)}')
    refuse((label < 0) | (label >= num_labels), f'unknown label, there are {num_labels} classes')
    last = num_frames.take(video.astype(np.int32))
    bad = (frame < 1) | (frame > last)
    if bad.any():
        refuse(bad, f'frame outside 1..{last[int(np.argmax(bad))]}')
    refuse((x2 < x1) | (y2 < y1), 'inverted box')
