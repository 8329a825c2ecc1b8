"""A box head for several classes per box, as in AVA: a sigmoid per class, no background class."""

import torch
import torch.nn.functional as F
from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from torch import Tensor, nn

from mmstal_da.errors import ConfigError
from mmstal_da.registry import MODELS
from mmstal_da.utils.values import check_values, number


@MODELS.register_module()
class MultiLabelCrossEntropy(nn.Module):
    """Binary cross-entropy per class, averaged over classes and RoIs.

    A RoI on the background has no class: all its targets are 0. The mean over classes is that of
    MMAction2's ``BBoxHeadAVA`` **[derived]**, which leaves the background out.

    Args:
        loss_weight: Factor of the loss.
    """

    # what mmdet's BBoxHead asks of a loss that decides about its classifier's outputs
    custom_cls_channels = custom_activation = custom_accuracy = True

    value_rules = dict(loss_weight=number(0))

    def __init__(self, loss_weight: float = 1.0) -> None:
        check_values(self.value_rules, locals())
        super().__init__()
        self.loss_weight = loss_weight

    def get_cls_channels(self, num_classes: int) -> int:
        """One output per class."""
        return num_classes

    def get_activation(self, cls_score: Tensor) -> Tensor:
        """``(R, C)`` logits to ``(R, C + 1)`` scores; that of the background, the last, is 0."""
        return F.pad(cls_score.sigmoid(), (0, 1))

    @torch.no_grad()
    def get_accuracy(self, cls_score: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Recall and precision in percent of the classes with a score above 0.5, over all RoIs."""
        found, wanted = cls_score > 0, labels > 0.5
        right = (found & wanted).sum() * 100.0
        return dict(
            acc_cls_recall=right / wanted.sum().clamp(min=1),
            acc_cls_precision=right / found.sum().clamp(min=1),
        )

    def forward(
        self,
        cls_score: Tensor,
        labels: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Scalar loss.

        Args:
            cls_score: ``(R, C)`` logits.
            labels: ``(R, C)``, 1 for every class of a box, else 0.
            weight: ``(R,)`` of the RoIs.
            avg_factor: Number of RoIs by which the sum is divided; None: R.
            reduction_override: ``'none'``, ``'mean'`` or ``'sum'`` over RoIs.
        """
        loss = F.binary_cross_entropy_with_logits(cls_score, labels, reduction='none').mean(1)
        reduction = reduction_override or 'mean'
        return self.loss_weight * weight_reduce_loss(loss, weight, reduction, avg_factor)


@MODELS.register_module()
class MultiLabelBBoxHead(BBoxHead):
    """mmdet's box head for boxes with several classes.

    The data sets have ``multi_label=True`` and the assigner is :class:`MultiLabelAssigner`, so that
    a sampled box's labels are ``(C,)`` of 0 and 1. A prediction is one box per class with a high
    enough score, after NMS per class.

    Args:
        *args: Arguments of mmdet's ``BBoxHead``.
        loss_cls: :class:`MultiLabelCrossEntropy`, or a loss of one's own with its methods.
        **kwargs: Arguments of mmdet's ``BBoxHead``; ``reg_class_agnostic`` must be True.

    Raises:
        ConfigError: The loss or the box deltas are for one class per box.
    """

    def __init__(self, *args, loss_cls: dict | None = None, **kwargs) -> None:
        loss_cls = loss_cls or dict(type='MultiLabelCrossEntropy')
        super().__init__(*args, loss_cls=loss_cls, **kwargs)
        if not self.custom_cls_channels or not self.reg_class_agnostic:
            raise ConfigError(
                'model.roi_head.bbox_head: MultiLabelBBoxHead needs reg_class_agnostic=True and'
                " loss_cls=dict(_delete_=True, type='MultiLabelCrossEntropy')"
            )

    def _get_targets_single(
        self,
        pos_priors: Tensor,
        neg_priors: Tensor,
        pos_gt_bboxes: Tensor,
        pos_gt_labels: Tensor,
        cfg: dict,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Targets of one image: as mmdet's, with labels ``(R, C)``."""
        count = len(pos_priors)
        if pos_gt_labels.shape[1:] != (self.num_classes,):
            raise ConfigError(
                f'labels of boxes are {tuple(pos_gt_labels.shape)} instead of ({count},'
                f' {self.num_classes}); set bbox_head.num_classes to the number of classes'
            )
        first = pos_priors.new_zeros(count, dtype=torch.long)
        _, *others = super()._get_targets_single(pos_priors, neg_priors, pos_gt_bboxes, first, cfg)
        labels = pos_priors.new_zeros((count + len(neg_priors), self.num_classes))
        labels[:count] = pos_gt_labels
        return labels, *others

    def loss(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        rois: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        reduction_override: str | None = None,
    ) -> dict:
        """``loss_cls``, ``loss_bbox``, and recall and precision of the classes."""
        targets = label_weights, bbox_targets, bbox_weights, reduction_override
        losses = super().loss(cls_score, None, rois, labels, *targets)
        # whether a RoI is on a box, as mmdet's labels say it: 0 yes, C no
        on_a_box = bbox_weights[:, 0] > 0
        numbers = torch.where(on_a_box, 0, self.num_classes)
        losses.update(super().loss(None, bbox_pred, rois, numbers, *targets))
        return losses
