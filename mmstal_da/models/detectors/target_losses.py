"""Losses of a detector on target clips, against a teacher's boxes or its scores."""

from contextlib import AbstractContextManager, nullcontext

from mmengine.structures import InstanceData
from torch import Tensor

from mmstal_da.models.layers.batch_layout import extend_edges, map_extents

from .action_tube import ActionTubeDetector

PseudoLabels = list[tuple[InstanceData, InstanceData]]
"""Per clip the boxes to learn, and the boxes that are neither learnt nor background."""


def as_target(detector: ActionTubeDetector) -> AbstractContextManager:
    """Inside this context, all rows of a batch have the target's statistics, if there are any."""
    norm = getattr(detector, 'domain_norm', None)
    return nullcontext() if norm is None else norm.joint(0)


def blank(sample):
    """A sample with the metainfo alone: whatever labels it has stay behind."""
    return type(sample)(metainfo=sample.metainfo)


def with_labels(samples: list, labels: PseudoLabels) -> list:
    """Blank copies of the samples, with ``gt_instances`` and ``ignored_instances``."""
    found = []
    for sample, (boxes, ignored) in zip(samples, labels, strict=True):
        labelled = blank(sample)
        labelled.gt_instances, labelled.ignored_instances = boxes, ignored
        found.append(labelled)
    return found


def hard_losses(detector: ActionTubeDetector, inputs: dict[str, Tensor], samples: list) -> dict:
    """L_act on target clips whose labels are a teacher's boxes.

    Args:
        detector: The student, in training mode.
        inputs: ``clip`` and ``key_frame`` of the N clips.
        samples: N samples with ``gt_instances`` and ``ignored_instances``.

    Returns:
        ``loss_rpn_cls``, ``loss_rpn_bbox``, ``loss_cls``, ``loss_bbox`` and mmdet's ``acc``: those
        of :meth:`ActionTubeDetector.loss` on the same clips with the same labels.
    """
    with as_target(detector):
        with detector.layout.images(samples):
            spatial, temporal = detector.extract_feat(inputs)
        losses, proposals = detector._rpn_loss(spatial, samples, len(samples))
        maps = (extend_edges(temporal, map_extents(samples, temporal)),)
        losses.update(detector.roi_head.loss(maps, proposals, samples))
    return losses
