"""Detections in a file small enough to stand beside a published result.

Boxes are rounded to a sixteenth of a pixel and scores to 1/65535; detections with a score of 0.01
or less are left out. :func:`~.files.load_detections` reads the file like any other. The README of
this folder says how far that moves mAP.
"""

import io
import json
import zipfile
from typing import Any

import numpy as np

LIMIT = 300_000
"""Bytes that a published file may have."""
BOX_STEPS = 16  # per pixel
SCORE_STEPS = 65535  # per unit
SCORE_THR = 0.01
THR_STEP = 0.005
GEOMETRY, SCORES = 'packed_rows', 'packed_scores'


def pack(rows: np.ndarray, score_thr: float = SCORE_THR) -> dict[str, np.ndarray]:
    """Round detections and code them so that they compress well.

    They are sorted by video, frame, box and label. Each row of whole numbers (video, frame, label,
    x1, y1, width, height) is stored as its difference to the row before.

    Args:
        rows: (M, 8) video index, frame, label, score, x1, y1, x2, y2.
        score_thr: Detections whose rounded score is not above this are left out.

    Returns:
        The arrays that :func:`unpack` takes. What it gives packs into the same arrays.

    Raises:
        ValueError: A value is not finite, a score outside [0, 1], or a box beyond 10 million
            pixels.
    """
    rows = np.asarray(rows, np.float64).reshape(-1, 8)
    bad = ~np.isfinite(rows).all(1) | (rows[:, 3] < 0) | (rows[:, 3] > 1)
    bad |= (np.abs(rows) > 1e7).any(1)
    if bad.any():
        row = int(np.argmax(bad))
        values = ' '.join(f'{value:g}' for value in rows[row])
        raise ValueError(
            f'detections, row {row}: scores lie in [0, 1] and boxes within 10 million pixels, not'
            f' {values}'
        )
    score = np.rint(rows[:, 3] * SCORE_STEPS).astype(np.int64)
    kept = score > score_thr * SCORE_STEPS
    rows, score = rows[kept], score[kept]
    x1, y1, x2, y2 = np.rint(rows[:, 4:] * BOX_STEPS).astype(np.int64).T
    video, frame, label = rows[:, :3].T.astype(np.int64)
    table = np.column_stack((video, frame, label, x1, y1, x2 - x1, y2 - y1))
    # equal boxes of several classes follow each other
    order = np.lexsort((-score, label, y2, x2, y1, x1, frame, video))
    steps = np.diff(table[order], axis=0, prepend=0)
    unsigned = (steps << 1) ^ (steps >> 63)  # 0, -1, 1, -2, ... become 0, 1, 2, 3, ...
    return {GEOMETRY: _planes(unsigned, 4), SCORES: _planes(score[order][:, None], 2)}


def unpack(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """(M, 8) float32 rows of :func:`pack`'s arrays."""
    unsigned = _numbers(arrays[GEOMETRY])
    steps = (unsigned >> 1) ^ -(unsigned & 1)
    video, frame, label, x1, y1, width, height = np.cumsum(steps, axis=0).T
    score = _numbers(arrays[SCORES])[:, 0] / SCORE_STEPS
    boxes = np.stack((x1, y1, x1 + width, y1 + height)) / BOX_STEPS
    return np.column_stack((video, frame, label, score, *boxes)).astype(np.float32)


def encode_compact(
    rows: np.ndarray,
    videos: list[str],
    labels: list[str],
    meta: dict[str, Any],
    limit: int = LIMIT,
) -> tuple[bytes, float]:
    """The content of an ``.npz`` of rounded detections.

    If it would have more than ``limit`` bytes, the threshold is raised in steps of 0.005 until it
    fits: the detections of lowest score are left out.

    Args:
        rows: See :func:`pack`.
        videos: Names that the video index refers to.
        labels: Class names that the label refers to.
        meta: JSON-serialisable facts about the origin; ``score_thr`` and ``box_step`` are added.
        limit: In bytes.

    Returns:
        The bytes, and the threshold.

    Raises:
        ValueError: See :func:`pack`; or the names alone take more.
    """

    def threshold(step: int) -> float:
        return round(SCORE_THR + step * THR_STEP, 3)

    def encode(step: int) -> bytes:
        facts = {**meta, 'score_thr': threshold(step), 'box_step': 1 / BOX_STEPS}
        names = {'videos': np.array(videos, np.str_), 'labels': np.array(labels, np.str_)}
        return _npz({**pack(rows, threshold(step)), **names, 'meta': np.array(json.dumps(facts))})

    step, content = 0, encode(0)
    if len(content) > limit:
        low, step = 0, round((1 - SCORE_THR) / THR_STEP)  # too large; holds nothing
        content = encode(step)
        while step - low > 1:
            middle = (low + step) // 2
            smaller = encode(middle)
            if len(smaller) > limit:
                low = middle
            else:
                step, content = middle, smaller
    if len(content) > limit:
        raise ValueError(f'the names of videos and classes alone take more than {limit} bytes')
    return content, threshold(step)


def _planes(values: np.ndarray, size: int) -> np.ndarray:
    """(size, columns, n) uint8: the lowest bytes of (n, columns) whole numbers, then the next."""
    narrow = np.ascontiguousarray(values.astype(f'<u{size}'))
    return narrow.view(np.uint8).reshape(*values.shape, size).transpose(2, 1, 0).copy()


def _numbers(planes: np.ndarray) -> np.ndarray:
    """(n, columns) int64 of :func:`_planes`."""
    scale = 256 ** np.arange(len(planes), dtype=np.int64)
    return np.tensordot(scale, planes.astype(np.int64), 1).T


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    """An ``.npz`` by LZMA, which takes a tenth less than NumPy's own; the same bytes each time."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, 'w', zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, array, allow_pickle=False)
            info = zipfile.ZipInfo(f'{name}.npy', (1980, 1, 1, 0, 0, 0))
            archive.writestr(info, part.getvalue(), zipfile.ZIP_LZMA)
    return content.getvalue()
