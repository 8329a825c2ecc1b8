"""Non-maximum suppression in torch and NumPy alone.

The conventions are those of ``mmcv.ops`` 2.1: boxes are ``x1 y1 x2 y2``, and ``offset`` (0 or 1) is
added to widths and heights. Everything is computed in float32.
"""

import numpy as np
import torch
from torch import Tensor

# boxes that are compared among each other, then, where kept, with all that wait
_BLOCK = 96
_FIRST_BLOCK = 64


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Greedy NMS: removes boxes that overlap a kept, higher-scored box by more than the threshold.

    Args:
        boxes: (N, 4).
        scores: (N,).
        iou_threshold: An IoU above it suppresses.
        offset: 0 for continuous boxes, 1 for inclusive pixels.

    Returns:
        (K,) int64: indices of the kept boxes, by descending score; of equal scores the earlier box
        comes first.
    """
    order = scores.detach().float().cpu().argsort(descending=True, stable=True)
    columns = np.empty((5, len(order)), np.float32)  # best first
    columns[:4] = boxes.detach().float().cpu()[order].numpy().T
    columns[4] = _area(columns[:4], offset)
    waiting = np.arange(len(order))
    kept = [waiting[:0]]
    block = _FIRST_BLOCK
    while len(waiting):
        best = columns[:, :block]
        chosen = _greedy(_iou(best, best, offset) > iou_threshold)
        kept.append(waiting[chosen])
        waiting, columns = waiting[block:], columns[:, block:]
        stays = ~(_iou(best[:, chosen], columns, offset) > iou_threshold).any(0)
        waiting, columns = waiting[stays], columns.compress(stays, 1)
        block = _BLOCK
    return order[torch.from_numpy(np.concatenate(kept))].to(boxes.device)


def _greedy(overlaps: np.ndarray) -> list[int]:
    """(B, B) bool, boxes by descending score -> rows that no kept row before them removes."""
    packed = np.packbits(overlaps, axis=1, bitorder='little')  # a bit a box
    bits, size = packed.tobytes(), packed.shape[1]
    kept, gone = [], 0
    for row in range(len(overlaps)):
        if not gone >> row & 1:
            kept.append(row)
            gone |= int.from_bytes(bits[row * size : (row + 1) * size], 'little')
    return kept


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
        iou_threshold: For methods 0 and 1: an IoU of at least this changes a score.
        sigma: For method 2.
        min_score: A box is removed if its score falls below this.
        method: 0: the score becomes 0 (naive); 1: times 1 - IoU (linear); 2: times
            exp(-IoU^2 / sigma) (gaussian).
        offset: 0 for continuous boxes, 1 for inclusive pixels.

    Returns:
        (K, 5) boxes with their new scores, in the order in which they were chosen, and (K,) int64
        their indices.
    """
    rows = boxes.detach().float().numpy()
    rows = np.concatenate([rows, _area(rows.T, offset)[:, None]], 1)  # (N, 5)
    values = scores.detach().float().numpy().copy()
    index = np.arange(len(rows))
    end = len(rows)
    here = 0
    while here < end:
        best = here + int(values[here:end].argmax())
        for array in (rows, values, index):
            array[[here, best]] = array[[best, here]]
        rest = slice(here + 1, end)
        iou = np.nan_to_num(_iou(rows[here : here + 1].T, rows[rest].T, offset)[0])
        if method == 2:
            weight = np.exp(-(iou * iou) / np.float32(sigma))
        else:
            factor = np.float32(0) if method == 0 else np.float32(1) - iou
            weight = np.where(iou >= np.float32(iou_threshold), factor, np.float32(1))
        values[rest] *= weight
        here += 1
        end = _discard(rows, values, index, here, end, min_score)
    dets = np.concatenate([rows[:end, :4], values[:end, None]], 1)
    return torch.from_numpy(dets).to(boxes.dtype), torch.from_numpy(index[:end])


def _discard(
    rows: np.ndarray, values: np.ndarray, index: np.ndarray, start: int, end: int, min_score: float
) -> int:
    """Replace every box below ``min_score`` by the last box; returns the new number of boxes."""
    low = np.flatnonzero(values[start:end] < np.float32(min_score)) + start
    for position in low:
        while position < end and values[position] < np.float32(min_score):
            end -= 1
            for array in (rows, values, index):
                array[position] = array[end]
    return end


def _iou(first: np.ndarray, second: np.ndarray, offset: int) -> np.ndarray:
    """(5, A), (5, B) = x1, y1, x2, y2, area -> (A, B) in float32; NaN for two without area."""
    x1, y1, x2, y2, area = first[:, :, None]
    width = np.minimum(x2, second[2])
    width -= np.maximum(x1, second[0])
    height = np.minimum(y2, second[3])
    height -= np.maximum(y1, second[1])
    for side in (width, height):
        if offset:
            side += np.float32(offset)
        np.maximum(side, 0, out=side)
    width *= height  # the shared area
    union = area + second[4]
    union -= width
    with np.errstate(invalid='ignore'):
        width /= union
    return width


def _area(boxes: np.ndarray, offset: int) -> np.ndarray:
    """(4, N) -> (N,)."""
    x1, y1, x2, y2 = boxes
    return (x2 - x1 + np.float32(offset)) * (y2 - y1 + np.float32(offset))
