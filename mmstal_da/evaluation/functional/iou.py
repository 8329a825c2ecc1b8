"""Overlap of boxes, in float32."""

import numpy as np


def paired_iou(a: np.ndarray, b: np.ndarray, pixel: float = 1.0) -> np.ndarray:
    """IoU of corresponding boxes.

    Args:
        a: (..., 4) boxes x1 y1 x2 y2 in pixels.
        b: Boxes of a shape that broadcasts with ``a``.
        pixel: Added to every width and height: 1 for inclusive pixels, 0 for continuous boxes.

    Returns:
        (...) float32; 0 where both boxes are empty.
    """
    a = np.asarray(a, np.float32)
    b = np.asarray(b, np.float32)
    return coordinate_iou(*np.moveaxis(a, -1, 0), *np.moveaxis(b, -1, 0), pixel=pixel)


def box_iou(a: np.ndarray, b: np.ndarray, pixel: float = 1.0) -> np.ndarray:
    """IoU of every box of ``a`` (N, 4) with every box of ``b`` (M, 4); (N, M) float32."""
    return paired_iou(np.asarray(a)[:, None], np.asarray(b)[None], pixel)


def coordinate_iou(*coordinates: np.ndarray, pixel: float) -> np.ndarray:
    """:func:`paired_iou` on eight arrays: x1 y1 x2 y2 of ``a``, then of ``b``."""
    ax1, ay1, ax2, ay2, bx1, by1, bx2, by2 = coordinates
    width = np.minimum(ax2, bx2) - np.maximum(ax1, bx1) + pixel
    height = np.minimum(ay2, by2) - np.maximum(ay1, by1) + pixel
    inter = np.maximum(width, 0) * np.maximum(height, 0)
    area_a = (ax2 - ax1 + pixel) * (ay2 - ay1 + pixel)
    area_b = (bx2 - bx1 + pixel) * (by2 - by1 + pixel)
    union = area_a + area_b - inter
    if pixel > 0:
        return inter / union
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
