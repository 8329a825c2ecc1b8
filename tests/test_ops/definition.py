"""RoIAlign and NMS sample by sample and box by box, from their definitions."""

import math

import numpy as np


def bilinear(plane: np.ndarray, y: float, x: float) -> dict[tuple[int, int], float]:
    """Weights of the cells of a plane (H, W) at a point; none further than one cell off it."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return {}
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    low_y, low_x = int(y), int(x)
    weights = {}
    for row, by_row in ((low_y, 1 - (y - low_y)), (low_y + 1, y - low_y)):
        for column, by_column in ((low_x, 1 - (x - low_x)), (low_x + 1, x - low_x)):
            if by_row * by_column > 0:
                weights[row, column] = by_row * by_column
    return weights


def bins(roi: np.ndarray, size: tuple[int, int], scale: float, ratio: int, aligned: bool):
    """Yields every bin's row and column, with the points (y, x) that are sampled in it."""
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (float(value) * scale - shift for value in roi[1:])
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    bin_h, bin_w = height / size[0], width / size[1]
    grid_h = ratio if ratio > 0 else math.ceil(bin_h)
    grid_w = ratio if ratio > 0 else math.ceil(bin_w)
    for row in range(size[0]):
        for column in range(size[1]):
            yield (
                row,
                column,
                [
                    (
                        y1 + row * bin_h + (i + 0.5) * bin_h / grid_h,
                        x1 + column * bin_w + (j + 0.5) * bin_w / grid_w,
                    )
                    for i in range(grid_h)
                    for j in range(grid_w)
                ],
            )


def roi_align(features, rois, size, scale, ratio, aligned, mode):
    """Output (R, C, *size) and its gradient's function, which takes the gradient at the output."""
    output = np.zeros((len(rois), features.shape[1], *size))
    parts = []  # (place in the output, place in the features, weight)
    for r, roi in enumerate(rois):
        image = int(roi[0])
        for row, column, points in bins(roi, size, scale, ratio, aligned):
            samples = [bilinear(features[image, 0], y, x) for y, x in points]
            for c in range(features.shape[1]):
                plane = features[image, c]
                values = [sum(w * plane[cell] for cell, w in s.items()) for s in samples]
                if not values:
                    continue
                if mode == 'avg':
                    chosen, share = samples, 1 / len(samples)
                    output[r, c, row, column] = sum(values) / len(values)
                else:
                    chosen, share = [samples[int(np.argmax(values))]], 1.0
                    output[r, c, row, column] = max(values)
                for sample in chosen:
                    for cell, weight in sample.items():
                        parts.append(((r, c, row, column), (image, c, *cell), weight * share))

    def gradient(at_output: np.ndarray) -> np.ndarray:
        result = np.zeros(features.shape)
        for place, cell, weight in parts:
            result[cell] += at_output[place] * weight
        return result

    return output, gradient


def iou(a: np.ndarray, b: np.ndarray, offset: int) -> np.float32:
    """Of two boxes, in float32."""
    one = np.float32
    width = max(one(0), min(a[2], b[2]) - max(a[0], b[0]) + one(offset))
    height = max(one(0), min(a[3], b[3]) - max(a[1], b[1]) + one(offset))
    areas = [(c[2] - c[0] + one(offset)) * (c[3] - c[1] + one(offset)) for c in (a, b)]
    shared = width * height
    union = areas[0] + areas[1] - shared
    return shared / union if union > 0 else one(0)


def nms(boxes, scores, threshold: float, offset: int) -> list[int]:
    """Indices of the boxes that are kept."""
    waiting = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    while waiting:
        best, *waiting = waiting
        kept.append(best)
        waiting = [i for i in waiting if iou(boxes[best], boxes[i], offset) <= one(threshold)]
    return kept


one = np.float32


def soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    """Index and new score of every box that is kept, in the order in which they are chosen."""
    scores = dict(enumerate(np.float32(scores)))
    chosen = []
    while scores:
        best = max(scores, key=scores.get)
        chosen.append((best, scores.pop(best)))
        for other in scores:
            overlap = iou(boxes[best], boxes[other], offset)
            if method == 'gaussian':
                scores[other] *= np.exp(-overlap * overlap / one(sigma))
            elif overlap >= one(threshold):
                scores[other] *= one(0) if method == 'naive' else one(1) - overlap
        scores = {i: score for i, score in scores.items() if score >= one(min_score)}
    return chosen
