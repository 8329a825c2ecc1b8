"""Measures of what is predicted on the target in one training step, as functions."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn

from mmstal_da.models.layers.batch_layout import extend_edges, map_extents
from mmstal_da.models.roi_heads import ActionRoIHead


def class_mass(probabilities: Tensor) -> Tensor:
    """Expected number of boxes of each class: ``(R, C + 1)``, background last, to ``(C,)``."""
    return probabilities[:, :-1].sum(0)


def class_entropy(probabilities: Tensor) -> float:
    """Mean entropy of the class of a box, given that it is an action.

    With p(c) of a box and p(action) = 1 - p(background): the mean over boxes of
    ``H(p(c) / p(action)) / ln C``, weighted by p(action). Most proposals are background, so an
    unweighted mean would be about them **[derived]**.

    Args:
        probabilities: ``(R, C + 1)``, background last; R > 0, C > 1.

    Returns:
        0 if every box is sure of its class, 1 if all classes are equally likely.
    """
    action = probabilities[:, :-1].double()
    weight = action.sum(1)
    entropy = torch.special.entr(action / weight[:, None].clamp(min=1e-30)).sum(1)
    mean = (weight * entropy).sum() / weight.sum().clamp(min=1e-30)
    return mean.item() / math.log(action.shape[1])


def diversity(mass: Tensor) -> float:
    """Entropy of the classes of many boxes together, over ln C; 0 if all are of one class.

    Args:
        mass: ``(C,)``, see :func:`class_mass`; C > 1.
    """
    shares = mass.double() / mass.double().sum().clamp(min=1e-30)
    return torch.special.entr(shares).sum().item() / math.log(len(mass))


@torch.no_grad()
def predict_boxes(
    roi_head: ActionRoIHead, feature_map: Tensor, proposals: Sequence[Tensor], samples: Sequence
) -> tuple[Tensor, list[Tensor]]:
    """What the RoI head would find at test, from features that training has computed.

    Nothing changes in the head: its batch norm runs in eval mode.

    Args:
        roi_head: ``ActionRoIHead``.
        feature_map: TF1(V) ``(N, C', h, w)``, zeros in padding.
        proposals: N tensors ``(k_i, 4)`` in input pixels.
        samples: N samples; their metainfo is read, nothing else.

    Returns:
        Probabilities ``(R, C + 1)`` of all proposals, background last, and per image the scores of
        the detections after the head's NMS.
    """
    rois = bbox2roi(list(proposals))
    if not len(rois):
        return feature_map.new_zeros((0, roi_head.bbox_head.num_classes + 1)), []
    with evaluating(roi_head):
        maps = (extend_edges(feature_map, map_extents(samples, feature_map)),)
        found = roi_head._bbox_forward(maps, rois)
    counts = [len(boxes) for boxes in proposals]
    predict = partial(
        roi_head.bbox_head.predict_by_feat,
        rois=rois.split(counts),
        cls_scores=found['cls_score'].split(counts),
        bbox_preds=found['bbox_pred'].split(counts),
        batch_img_metas=[sample.metainfo for sample in samples],
        rescale=False,
    )
    before_nms, after = predict(rcnn_test_cfg=None), predict(rcnn_test_cfg=roi_head.test_cfg)
    probabilities = torch.cat([result.scores for result in before_nms])
    return probabilities.float(), [result.scores for result in after]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside this context a module is in eval mode; afterwards every layer is as before."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode
