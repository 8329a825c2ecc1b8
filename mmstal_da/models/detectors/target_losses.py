"""Losses of a detector on target clips, against a teacher's boxes or its scores."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox2roi
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
        losses.update(detector.roi_head.loss(roi_maps(temporal, samples), proposals, samples))
    return losses


def soft_losses(
    student: ActionTubeDetector,
    teacher: ActionTubeDetector,
    inputs: dict[str, Tensor],
    weak: dict[str, Tensor],
    samples: list,
) -> dict:
    """Distillation from the teacher's scores, as ALDI (Kay et al., 2024) with temperature 1.

    Anchors and RoIs are the student's, sampled with the pseudo-labels as in mmdet. Every term has
    the ``loss_weight`` of the head's own loss **[derived]**.

    Args:
        student: In training mode.
        teacher: In eval mode.
        inputs: The N clips' strong view.
        weak: Their weak view.
        samples: N samples with ``gt_instances`` and ``ignored_instances``.

    Returns:
        ``loss_rpn_cls``: binary cross-entropy of the student's objectness against the teacher's
        sigmoid, mean over the sampled anchors. ``loss_rpn_bbox``: L1 of the deltas, mean over the
        anchors on a label. ``loss_cls``: cross-entropy against the teacher's softmax, mean over
        the RoIs. ``loss_bbox``: L1 of the deltas of RoIs in which the teacher sees an action, sum
        divided by the number of RoIs.
    """
    rpn, head = student.rpn_head, student.roi_head
    with as_target(teacher), torch.no_grad():
        with teacher.layout.images(samples):
            their_maps = teacher.extract_feat(weak)
        their_scores, their_deltas = teacher._propose(their_maps[0])
    with as_target(student):
        with student.layout.images(samples):
            spatial, temporal = student.extract_feat(inputs)
        scores, deltas = student._propose(spatial)
        labels, sampled = _sampled_anchors(student, scores[0], samples)
        theirs = their_scores[0], their_deltas[0]
        losses = soft_rpn_losses(scores[0], deltas[0], *theirs, sampled, labels == 0)
        losses['loss_rpn_cls'] *= rpn.loss_cls.loss_weight
        losses['loss_rpn_bbox'] *= rpn.loss_bbox.loss_weight
        cfg = student.train_cfg.get('rpn_proposal', student.test_cfg.rpn)
        rois = _sampled_rois(student, student._proposals(scores, deltas, samples, cfg), samples)
        ours = head._bbox_forward(roi_maps(temporal, samples), rois)
    with as_target(teacher), torch.no_grad():
        target = teacher.roi_head._bbox_forward(roi_maps(their_maps[1], samples), rois)
    found = soft_roi_losses(
        ours['cls_score'], ours['bbox_pred'], target['cls_score'], target['bbox_pred']
    )
    losses['loss_cls'] = found['loss_cls'] * head.bbox_head.loss_cls.loss_weight
    losses['loss_bbox'] = found['loss_bbox'] * head.bbox_head.loss_bbox.loss_weight
    return losses


def soft_rpn_losses(
    scores: Tensor,
    deltas: Tensor,
    teacher_scores: Tensor,
    teacher_deltas: Tensor,
    sampled: Tensor,
    positive: Tensor,
) -> dict[str, Tensor]:
    """ALDI's losses of the RPN.

    Args:
        scores, teacher_scores: ``(N, A, h, w)`` logits of the A anchors of every cell.
        deltas, teacher_deltas: ``(N, 4 A, h, w)``.
        sampled: ``(N, h w A)`` of bool, in mmdet's order of anchors.
        positive: Likewise, anchors on a label.
    """
    ours, theirs = (x.permute(0, 2, 3, 1).flatten(1)[sampled] for x in (scores, teacher_scores))
    objectness = F.binary_cross_entropy_with_logits(ours, theirs.sigmoid(), reduction='sum')
    on_a_label = sampled & positive
    ours, theirs = (
        x.permute(0, 2, 3, 1).reshape(len(x), -1, 4)[on_a_label] for x in (deltas, teacher_deltas)
    )
    distance = (ours - theirs).abs().sum()
    return dict(
        loss_rpn_cls=objectness / sampled.sum().clamp(min=1),
        loss_rpn_bbox=distance / (4 * on_a_label.sum()).clamp(min=1),
    )


def soft_roi_losses(
    scores: Tensor, deltas: Tensor, teacher_scores: Tensor, teacher_deltas: Tensor
) -> dict[str, Tensor]:
    """ALDI's losses of the RoI head.

    Args:
        scores, teacher_scores: ``(R, C + 1)`` logits, the background last.
        deltas, teacher_deltas: ``(R, 4)``, or ``(R, 4 C)`` per class.
    """
    count = max(len(scores), 1)
    classes = F.cross_entropy(scores, teacher_scores.softmax(1), reduction='sum') / count
    best = teacher_scores.argmax(1)
    action = best < scores.shape[1] - 1
    places = best[action] if deltas.shape[1] > 4 else torch.zeros_like(best[action])
    rows = torch.arange(len(places), device=places.device)
    sides = (len(deltas), deltas.shape[1] // 4, 4)  # there may be no RoI
    ours, theirs = (x.view(sides)[action][rows, places] for x in (deltas, teacher_deltas))
    return dict(loss_cls=classes, loss_bbox=(ours - theirs).abs().sum() / count)


def roi_maps(temporal: Tensor, samples: list) -> tuple[Tensor]:
    """TF1(V) as the RoI head takes it."""
    return (extend_edges(temporal, map_extents(samples, temporal)),)


def _sampled_anchors(
    detector: ActionTubeDetector, scores: Tensor, samples: list
) -> tuple[Tensor, Tensor]:
    """Mmdet's labels of all anchors (0: on a label), and which are sampled: ``(N, h w A)`` each."""
    metas = [sample.metainfo for sample in samples]
    rpn = detector.rpn_head
    anchors, valid = rpn.get_anchors([scores.shape[-2:]], metas, device=scores.device)
    actors = []
    for sample in samples:
        boxes = sample.gt_instances.clone()
        boxes.labels = torch.zeros_like(boxes.labels)  # the RPN knows one class
        actors.append(boxes)
    ignored = [sample.ignored_instances for sample in samples]
    labels, weights, *_ = rpn.get_targets(
        anchors, valid, actors, metas, batch_gt_instances_ignore=ignored
    )
    return labels[0], weights[0] > 0


def _sampled_rois(detector: ActionTubeDetector, proposals: list, samples: list) -> Tensor:
    """RoIs ``(R, 5)`` that mmdet's RoI head would train on."""
    head, chosen = detector.roi_head, []
    for found, sample in zip(proposals, samples, strict=True):
        found.priors = found.pop('bboxes')
        labels, ignored = sample.gt_instances, sample.ignored_instances
        assigned = head.bbox_assigner.assign(found, labels, ignored)
        chosen.append(head.bbox_sampler.sample(assigned, found, labels).priors)
    return bbox2roi(chosen)
