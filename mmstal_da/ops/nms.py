"""Non-maximum suppression in torch and NumPy alone.

The conventions are those of ``mmcv.ops`` 2.1: boxes are ``x1 y1 x2 y2``, and ``offset`` (0 or 1) is
added to widths and heights. Everything is computed in float32.
"""

import numpy as np
import torch
from torch import Tensor

# boxes that are compared with all waiting boxes at once: their IoUs fit a core's cache
_BLOCK = 64
_FIRST_BLOCK = 4


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
    columns = np.ascontiguousarray(boxes.detach().float().cpu()[order].numpy().T)
    columns = np.vstack([columns, _area(columns, offset)])  # (5, N), best first
    waiting = np.arange(len(order))
    kept = []
    block = _FIRST_BLOCK
    while len(waiting):
        block = min(2 * block, _BLOCK, len(waiting))
        overlaps = _iou(columns[:, :block], columns, offset) > iou_threshold
        gone = np.zeros(len(waiting), bool)
        for row, chosen in enumerate(overlaps):
            if not gone[row]:
                kept.append(waiting[row])
                gone[row + 1 :] |= chosen[row + 1 :]
        stays = ~gone[block:]
        waiting = waiting[block:][stays]
        columns = columns[:, block:].compress(stays, 1)
    indices = torch.tensor(kept, dtype=torch.int64)
    return order[indices].to(boxes.device)


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
