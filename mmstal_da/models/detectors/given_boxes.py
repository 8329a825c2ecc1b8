"""Boxes of which only the classes are unknown: what a teacher makes of them."""

import torch
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor

from mmstal_da.errors import ConfigError

from .action_tube import ActionTubeDetector
from .target_losses import as_target, blank, roi_maps


@torch.no_grad()
def classified(
    detector: ActionTubeDetector, inputs: dict[str, Tensor], samples: list
) -> list[InstanceData]:
    """The given boxes of target clips, each with its best class.

    Boxes are neither refined nor left out. That they hold actors is known, so the score of a class
    is its share of all classes but the background.

    Args:
        detector: The teacher, in eval mode.
        inputs: ``clip`` and ``key_frame`` of N clips.
        samples: N samples with ``proposals.bboxes`` (n, 4) in input pixels.

    Returns:
        Per clip ``bboxes``, ``scores`` (n,) and ``labels`` (n,).

    Raises:
        ConfigError: The clips have no given boxes.
    """
    if any('proposals' not in sample for sample in samples):
        raise ConfigError(
            "model.teacher.given_boxes=True needs the target's boxes: set"
            " train_on='source_and_target_boxes' in train_dataloader.dataset"
        )
    boxes = [sample.proposals.bboxes for sample in samples]
    samples = [blank(sample) for sample in samples]
    with as_target(detector):
        with detector.layout.images(samples):
            _, temporal = detector.extract_feat(inputs)
        found = detector.roi_head._bbox_forward(roi_maps(temporal, samples), bbox2roi(boxes))
    # the background is the last class; a softmax of the others is their share
    best, labels = found['cls_score'][:, :-1].softmax(1).max(1)
    rows, first = [], 0
    for of_clip in boxes:
        part = slice(first, first + len(of_clip))
        rows.append(InstanceData(bboxes=of_clip, scores=best[part], labels=labels[part]))
        first = part.stop
    return rows
