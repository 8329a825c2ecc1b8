"""Makes detections from the score matrices of MMAction2's AVA-style heads."""

import numpy as np


def expand_score_matrix(
    boxes: np.ndarray,
    scores: np.ndarray,
    num_classes: int,
    size: tuple[int, int],
    weights: np.ndarray | None = None,
    min_score: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One detection for every box and class with a high enough score.

    ``mmaction.models.BBoxHeadAVA.predict_by_feat`` gives boxes relative to the frame and a score
    for each class. The score is p(class | the box is an actor), because its loss leaves negatives
    out. Multiplied by the proposal's own score, p(actor), it becomes p(class) **[derived]**.

    Args:
        boxes: (n, 4) ``x1 y1 x2 y2`` as shares of width and height.
        scores: (n, C), or (n, C + 1) with the background in the first column, which is left out.
        num_classes: C.
        size: Height and width of the original video in pixels.
        weights: (n,) scores of the proposals; None leaves the scores unchanged.
        min_score: Least score (product) of a detection; scores of 0 are never detections.

    Returns:
        Boxes (m, 4) in pixels of the original video, scores (m,) and labels (m,), box by box.

    Raises:
        ValueError: The scores have another number of boxes or classes, or the weights another
            number of boxes.
    """
    scores, boxes = np.asarray(scores), np.asarray(boxes).reshape(-1, 4)
    if len(scores) != len(boxes) or scores.shape[1] not in (num_classes, num_classes + 1):
        raise ValueError(
            f'scores are {scores.shape} for {len(boxes)} boxes and {num_classes} classes (and the'
            " background, at most); set the head's `num_classes` to the number of the metric's"
            ' `classes`'
        )
    scores = scores[:, scores.shape[1] - num_classes :]
    if weights is not None:
        if np.shape(weights) != (len(boxes),):
            raise ValueError(f'{np.shape(weights)} scores of proposals for {len(boxes)} boxes')
        scores = scores * np.asarray(weights)[:, None]
    index, labels = np.nonzero((scores >= min_score) & (scores > 0))
    height, width = size
    pixels = boxes * np.array([width, height, width, height], boxes.dtype)
    return pixels[index], scores[index, labels], labels
