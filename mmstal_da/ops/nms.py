"""Non-maximum suppression in torch and NumPy alone.

The conventions are those of ``mmcv.ops`` 2.1: boxes are ``x1 y1 x2 y2``, and ``offset`` (0 or 1) is
added to widths and heights. Everything is computed in float32.
"""

import numpy as np
import torch
from torch import Tensor

# boxes whose IoU matrix is computed at once
_BLOCK = 2048


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Greedy NMS: a box goes if it overlaps a kept box of higher score by more than the threshold.

    Args:
        boxes: (N, 4).
        scores: (N,).
        iou_threshold: An IoU above it suppresses.
        offset: 0 for continuous boxes, 1 for inclusive pixels.

    Returns:
        (K,) int64: indices of the boxes that are kept, by descending score; of equal scores the
        earlier box comes first.
    """
    order = scores.detach().float().cpu().argsort(descending=True, stable=True)
    sorted_boxes = boxes.detach().float().cpu()[order].numpy()  # (N, 4)
    waiting = np.arange(len(sorted_boxes))
    kept = []
    while len(waiting):
        block, waiting = waiting[:_BLOCK], waiting[_BLOCK:]
        overlaps = _iou(sorted_boxes[block], sorted_boxes[block], offset) > iou_threshold
        chosen = _greedy(overlaps)
        kept.append(block[chosen])
        if len(waiting):
            later = _iou(sorted_boxes[block[chosen]], sorted_boxes[waiting], offset)
            waiting = waiting[~(later > iou_threshold).any(0)]
    indices = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    return order[torch.from_numpy(indices)].to(boxes.device)


def _greedy(overlaps: np.ndarray) -> np.ndarray:
    """Indices that greedy suppression keeps, given which pairs (n, n) overlap, best box first."""
    gone = np.zeros(len(overlaps), bool)
    # a row with nothing to its right cannot suppress anything
    for row in np.flatnonzero(np.triu(overlaps, 1).any(1)):
        if not gone[row]:
            gone[row + 1 :] |= overlaps[row, row + 1 :]
    return np.flatnonzero(~gone)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int = 0,
) -> tuple[Tensor, Tensor]:
    """Soft-NMS (Bodla et al., ICCV 2017), box by box as compiled mmcv does it.

    Args:
        boxes: (N, 4) on the CPU.
        scores: (N,) on the CPU.
        iou_threshold: Of methods 0 and 1: an IoU of at least this changes a score.
        sigma: Of method 2.
        min_score: A box whose score falls below it goes.
        method: 0: the score becomes 0 (naive); 1: times 1 - IoU (linear); 2: times
            exp(-IoU^2 / sigma) (gaussian).
        offset: 0 for continuous boxes, 1 for inclusive pixels.

    Returns:
        (K, 5) boxes with their new scores, in the order in which they were chosen, and (K,) int64
        their indices.
    """
    rows = boxes.detach().float().numpy().copy()
    values = scores.detach().float().numpy().copy()
    index = np.arange(len(rows))
    end = len(rows)
    here = 0
    while here < end:
        best = here + int(values[here:end].argmax())
        for array in (rows, values, index):
            array[[here, best]] = array[[best, here]]
        rest = slice(here + 1, end)
        iou = _iou(rows[here : here + 1], rows[rest], offset)[0]
        if method == 2:
            weight = np.exp(-(iou * iou) / np.float32(sigma))
        else:
            factor = np.float32(0) if method == 0 else np.float32(1) - iou
            weight = np.where(iou >= np.float32(iou_threshold), factor, np.float32(1))
        values[rest] *= weight
        here += 1
        end = _discard(rows, values, index, here, end, min_score)
    dets = np.concatenate([rows[:end], values[:end, None]], 1)
    return torch.from_numpy(dets).to(boxes.dtype), torch.from_numpy(index[:end])


def _discard(
    rows: np.ndarray, values: np.ndarray, index: np.ndarray, start: int, end: int, min_score: float
) -> int:
    """Put the last box in the place of every box below ``min_score``; the new number of boxes."""
    low = np.flatnonzero(values[start:end] < np.float32(min_score)) + start
    for position in low:
        while position < end and values[position] < np.float32(min_score):
            end -= 1
            for array in (rows, values, index):
                array[position] = array[end]
    return end


def _iou(first: np.ndarray, second: np.ndarray, offset: int) -> np.ndarray:
    """(A, 4), (B, 4) -> (A, B) in float32; 0 for two boxes without area."""
    first, second = first[:, None], second[None]
    low = np.maximum(first[..., :2], second[..., :2])
    size = np.minimum(first[..., 2:], second[..., 2:])
    size -= low
    size += offset
    np.maximum(size, 0, out=size)
    shared = size[..., 0] * size[..., 1]
    union = _area(first, offset) + _area(second, offset) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _area(boxes: np.ndarray, offset: int) -> np.ndarray:
    """(..., 4) -> (...)."""
    size = boxes[..., 2:] - boxes[..., :2] + np.float32(offset)
    return size[..., 0] * size[..., 1]
