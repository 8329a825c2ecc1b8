"""Tubes of one class that mark the same action twice.

No detector can find both: of two detections on one place, NMS keeps one. So they lower every score,
and perfect detections reach half of the recall. Two tubes of a video and class are duplicates if

- they have half of the frames of the shorter one in common, and
- in every common frame their boxes have an IoU of at least 0.9 (inclusive pixels).

Published annotations have some: UCF101-24's corrected ones have two in 4458. Conversions keep and
report them, so that scores stay comparable; ``--merge-duplicates`` merges them.
"""

from collections.abc import Sequence

import numpy as np

from .annotation import Annotation, Tube

COMMON = 0.5  # share of the frames of the shorter tube
IOU = 0.9


def are_duplicates(
    frames_a: np.ndarray, boxes_a: np.ndarray, frames_b: np.ndarray, boxes_b: np.ndarray
) -> bool:
    """Whether two tubes mark the same thing (see the module).

    Args:
        frames_a: (n,) increasing.
        boxes_a: (n, 4) ``x1 y1 x2 y2``, ends inclusive.
        frames_b: (m,).
        boxes_b: (m, 4).
    """
    if frames_a[-1] < frames_b[0] or frames_b[-1] < frames_a[0]:
        return False
    common, a, b = np.intersect1d(frames_a, frames_b, assume_unique=True, return_indices=True)
    if not len(common) or len(common) < COMMON * min(len(frames_a), len(frames_b)):
        return False
    x, y = boxes_a[a].astype(np.float64), boxes_b[b].astype(np.float64)
    sides = np.minimum(x[:, 2:], y[:, 2:]) - np.maximum(x[:, :2], y[:, :2]) + 1
    inter = sides.clip(0).prod(1)
    areas = [(box[:, 2:] - box[:, :2] + 1).prod(1) for box in (x, y)]
    return bool((inter >= IOU * (areas[0] + areas[1] - inter)).all())


def find_duplicates(tubes: Sequence[Tube]) -> list[tuple[int, int]]:
    """Pairs of tubes of one video that are duplicates, as positions, the earlier first."""
    by_class: dict[str, list[int]] = {}
    for number, tube in enumerate(tubes):
        by_class.setdefault(tube.label, []).append(number)
    pairs = []
    for numbers in by_class.values():
        numbers.sort(key=lambda number: int(tubes[number].frames[0]))
        for place, i in enumerate(numbers):
            a = tubes[i]
            for j in numbers[place + 1 :]:
                b = tubes[j]
                if b.frames[0] > a.frames[-1]:
                    break  # so do all that begin later
                if are_duplicates(a.frames, a.boxes, b.frames, b.boxes):
                    pairs.append((min(i, j), max(i, j)))
    return sorted(pairs)


def merge_duplicates(annotation: Annotation) -> dict[str, int]:
    """Merge duplicates in place: the earlier tube gets the frames that only the later one has.

    Returns:
        Video -> number of tubes that went into others.
    """
    merged: dict[str, int] = {}
    for name, tubes in annotation.tubes.items():
        gone: set[int] = set()
        while pairs := [(i, j) for i, j in find_duplicates(tubes) if not gone & {i, j}]:
            first, second = pairs[0]
            tubes[first] = _union(tubes[first], tubes[second])
            gone.add(second)
        if gone:
            annotation.tubes[name] = [tube for n, tube in enumerate(tubes) if n not in gone]
            merged[name] = len(gone)
    return merged


def _union(a: Tube, b: Tube) -> Tube:
    new = ~np.isin(b.frames, a.frames)
    frames = np.concatenate([a.frames, b.frames[new]])
    order = np.argsort(frames)
    return Tube(a.label, frames[order], np.concatenate([a.boxes, b.boxes[new]])[order])
