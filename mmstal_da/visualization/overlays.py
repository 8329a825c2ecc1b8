"""Selects the boxes to show on each frame, from annotations, detections or linked tubes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmstal_da.evaluation.functional import TubeSet, box_iou, tube_iou
from mmstal_da.tubes.annotation import Tube


@dataclass(frozen=True)
class Overlay:
    """One box on one frame.

    Attributes:
        box: ``x1 y1 x2 y2`` in pixels of the annotation's resolution, ends inclusive.
        label: Class name.
        score: Confidence; None for ground truth.
    """

    box: tuple[float, float, float, float]
    label: str
    score: float | None = None


FrameOverlays = dict[int, list[Overlay]]
"""1-based frame number -> boxes on the frame, the best score first."""


def ground_truth_overlays(
    tubes: Iterable[Tube], class_map: Mapping[str, str] | None = None
) -> FrameOverlays:
    """Boxes of the annotated tubes of one video.

    Args:
        tubes: The video's tubes.
        class_map: Class of the annotation file -> name to show.
    """
    overlays = defaultdict(list)
    for tube in tubes:
        label = (class_map or {}).get(tube.label, tube.label)
        label += ' (ignored)' if tube.ignored else ''
        for frame, box in zip(tube.frames.tolist(), tube.boxes.tolist(), strict=True):
            overlays[frame].append(Overlay(tuple(box), label))
    return dict(overlays)


def detection_overlays(
    dets: np.ndarray,
    video: int,
    classes: Sequence[str],
    score_thr: float = 0.3,
    nms_iou: float = 0.5,
) -> FrameOverlays:
    """Detections of one video, reduced to what a viewer can follow.

    Args:
        dets: (M, 8) video index, 1-based frame, label, score, x1, y1, x2, y2.
        video: Index of the video.
        classes: Class names by label.
        score_thr: Detections with a lower score are left out.
        nms_iou: If boxes of any classes overlap by more than this IoU, only the best is shown; 1
            shows them all.
    """
    rows = dets[(dets[:, 0] == video) & (dets[:, 3] >= score_thr)]
    rows = rows[np.lexsort((-rows[:, 3], rows[:, 1]))]
    overlays = defaultdict(list)
    for frame in np.unique(rows[:, 1]):
        left = rows[rows[:, 1] == frame]
        while len(left):
            best = left[0]
            overlays[int(frame)].append(
                Overlay(tuple(best[4:].tolist()), classes[int(best[2])], float(best[3]))
            )
            left = left[1:][box_iou(best[None, 4:], left[1:, 4:])[0] <= nms_iou]
    return dict(overlays)


def tube_overlays(
    tubes: TubeSet,
    video: int,
    classes: Sequence[str],
    score_thr: float = 0.3,
    nms_iou: float = 0.3,
) -> FrameOverlays:
    """Linked tubes of one video, reduced; every box has the score of its tube.

    Args:
        tubes: Linked tubes.
        video: Index of the video.
        classes: Class names by label.
        score_thr: Tubes with a lower score are left out.
        nms_iou: If tubes of any classes overlap by more than this tube IoU, only the best is
            shown; 1 shows them all.
    """
    overlays = defaultdict(list)
    left = np.flatnonzero((tubes.video == video) & (tubes.score >= score_thr))
    left = left[np.argsort(-tubes.score[left], kind='stable')]
    while len(left):
        best, left = left[0], left[1:]
        left = left[tube_iou(tubes, tubes, np.full(len(left), best), left) <= nms_iou]
        label, score = classes[int(tubes.label[best])], float(tubes.score[best])
        begin, offset = int(tubes.begin[best]), int(tubes.offset[best])
        for row in range(int(tubes.end[best]) - begin + 1):
            if tubes.valid[offset + row]:
                box = tuple(tubes.boxes[offset + row].tolist())
                overlays[begin + row].append(Overlay(box, label, score))
    return dict(overlays)
