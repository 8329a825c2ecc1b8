"""Tubes, and their spatio-temporal overlap."""

from dataclasses import dataclass

import numpy as np

from .iou import paired_iou
from .segments import chunks, expand_ranges

CHUNK = 1 << 20  # common frames compared together


@dataclass
class TubeSet:
    """Many tubes in flat arrays. A tube holds one row for every frame from first to last.

    Attributes:
        video: (T,) int, video of the tube.
        label: (T,) int, class of the tube.
        score: (T,) float32, mean box score (1 for ground truth).
        begin, end: (T,) int, first and last frame, 1-based, both inclusive.
        offset: (T,) int, row of the first frame.
        boxes: (R, 4) float32, x1 y1 x2 y2 in pixels of the original video.
        box_scores: (R,) float32.
        valid: (R,) bool, False on frames between first and last where the tube has no box
            (ground truth with gaps; linked tubes have none).
    """

    video: np.ndarray
    label: np.ndarray
    score: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    offset: np.ndarray
    boxes: np.ndarray
    box_scores: np.ndarray
    valid: np.ndarray

    def __len__(self) -> int:
        return len(self.video)

    def take(self, index: np.ndarray) -> 'TubeSet':
        """Some of the tubes; rows are shared, not copied."""
        return TubeSet(
            self.video[index],
            self.label[index],
            self.score[index],
            self.begin[index],
            self.end[index],
            self.offset[index],
            self.boxes,
            self.box_scores,
            self.valid,
        )

    @staticmethod
    def concatenate(parts: 'list[TubeSet]') -> 'TubeSet':
        """The tubes of all parts, in order."""
        names = (
            'video',
            'label',
            'score',
            'begin',
            'end',
            'offset',
            'boxes',
            'box_scores',
            'valid',
        )
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        rows = np.cumsum([0, *(len(part.boxes) for part in parts)])[:-1]
        columns['offset'] = columns['offset'] + np.repeat(rows, [len(part) for part in parts])
        return TubeSet(**columns)


def temporal_iou(a: TubeSet, b: TubeSet, ia: np.ndarray, ib: np.ndarray) -> np.ndarray:
    """IoU in time of tubes ``a[ia]`` and ``b[ib]``; frames inclusive; (P,) float32."""
    inter = np.minimum(a.end[ia], b.end[ib]) - np.maximum(a.begin[ia], b.begin[ib]) + 1
    union = np.maximum(a.end[ia], b.end[ib]) - np.minimum(a.begin[ia], b.begin[ib]) + 1
    return np.maximum(inter, 0).astype(np.float32) / union.astype(np.float32)


def tube_iou(
    a: TubeSet, b: TubeSet, ia: np.ndarray, ib: np.ndarray, pixel: float = 1.0
) -> np.ndarray:
    """Spatio-temporal IoU: mean box IoU over the common frames times the temporal IoU.

    Args:
        a: Tubes.
        b: Tubes.
        ia: (P,) the tube of ``a`` in each pair.
        ib: (P,) the tube of ``b`` in each pair.
        pixel: See :func:`~.iou.paired_iou`.

    Returns:
        (P,) float32; 0 for tubes without a common frame.
    """
    begin = np.maximum(a.begin[ia], b.begin[ib])
    common = np.maximum(np.minimum(a.end[ia], b.end[ib]) - begin + 1, 0)
    result = temporal_iou(a, b, ia, ib)
    row_a = a.offset[ia] + begin - a.begin[ia]
    row_b = b.offset[ib] + begin - b.begin[ib]
    for part in chunks(common, CHUNK):
        rows_a = expand_ranges(row_a[part], common[part])
        rows_b = expand_ranges(row_b[part], common[part])
        pair = np.repeat(np.arange(part.stop - part.start), common[part])
        iou = paired_iou(a.boxes.take(rows_a, axis=0), b.boxes.take(rows_b, axis=0), pixel)
        both = a.valid[rows_a] & b.valid[rows_b]
        size = part.stop - part.start
        total = np.bincount(pair, np.where(both, iou, 0), size)
        frames = np.bincount(pair, both, size)
        mean = np.divide(total, frames, out=np.zeros(size), where=frames > 0)
        result[part] *= mean.astype(np.float32)
    return result


def fill_gaps(
    video: np.ndarray,
    label: np.ndarray,
    score: np.ndarray,
    offsets: np.ndarray,
    frames: np.ndarray,
    boxes: np.ndarray,
    box_scores: np.ndarray,
    interpolate: bool,
) -> TubeSet:
    """Expand tubes to one row per frame.

    Args:
        video: (T,) int.
        label: (T,) int.
        score: (T,) float32.
        offsets: (T + 1,) rows of tube t are ``offsets[t]:offsets[t + 1]``.
        frames: (R,) int, 1-based, increasing in a tube.
        boxes: (R, 4) float32.
        box_scores: (R,) float32.
        interpolate: Fill missing frames linearly between their neighbours; otherwise leave
            them invalid.
    """
    begin = frames[offsets[:-1]]
    end = frames[offsets[1:] - 1]
    length = end - begin + 1
    offset = np.cumsum(length) - length
    count = np.diff(offsets)
    rows = np.repeat(offset - begin, count) + frames
    total = int(length.sum())
    if total == len(frames):
        return TubeSet(
            video, label, score, begin, end, offset, boxes, box_scores, np.ones(total, bool)
        )
    dense_boxes = np.zeros((total, 4), np.float32)
    dense_scores = np.zeros(total, np.float32)
    valid = np.zeros(total, bool)
    dense_boxes[rows], dense_scores[rows], valid[rows] = boxes, box_scores, True
    if interpolate:
        missing = np.flatnonzero(~valid)
        after = np.searchsorted(rows, missing)
        left, right = rows[after - 1], rows[after]
        t = ((missing - left) / (right - left)).astype(np.float32)
        dense_boxes[missing] = (
            dense_boxes[left] * (1 - t)[:, None] + dense_boxes[right] * t[:, None]
        )
        dense_scores[missing] = dense_scores[left] * (1 - t) + dense_scores[right] * t
        valid[:] = True
    return TubeSet(video, label, score, begin, end, offset, dense_boxes, dense_scores, valid)
