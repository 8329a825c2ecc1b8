"""mmdet's RoI head on the clip's features; an adaptation module can reach the RoI vectors."""

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

from mmstal_da.errors import OutputError
from mmstal_da.registry import MODELS


@MODELS.register_module()
class ActionRoIHead(StandardRoIHead):
    """RoIAlign on TF1(V), TF2 as the shared head, classifier and box deltas.

    It adds two things to mmdet's head: the vectors of arbitrary proposals, for D_Tinst, and mixed
    precision that keeps RoIAlign, classifier and losses in float32. TF2 follows autocast.
    """

    def loss(self, x: tuple[Tensor], rpn_results_list: list, batch_data_samples: list) -> dict:
        """Mmdet's losses. Without any RoI they are zeros that reach every parameter.

        Otherwise a process whose clips have neither boxes nor proposals would leave parameters
        without gradient, for which the others wait.
        """
        losses = super().loss(x, rpn_results_list, batch_data_samples)
        if 'loss_cls' not in losses:
            trained = [p.sum() for p in self.parameters() if p.requires_grad]
            zero = 0 * torch.stack([x[0].float().sum(), *trained]).sum()
            losses['loss_cls'] = zero
            losses['loss_bbox'] = losses['loss_bbox'] + zero
        return losses

    def roi_features(self, x: tuple[Tensor], rois: Tensor) -> Tensor:
        """TF2 of the pooled RoIs.

        Args:
            x: One feature map ``(N, 832, h, w)`` in a tuple.
            rois: ``(R, 5)``: image index, x1, y1, x2, y2 in input pixels.

        Returns:
            ``(R, 1024, 7, 7)`` in float32.
        """
        with torch.autocast(x[0].device.type, enabled=False):
            maps = tuple(level.float() for level in x[: self.bbox_roi_extractor.num_inputs])
            feats = self.bbox_roi_extractor(maps, rois.float())
        return self.shared_head(feats).float() if self.with_shared_head else feats

    def instance_features(self, x: tuple[Tensor], proposals: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The vector of every proposal, as the classifier gets it.

        Args:
            x: One feature map ``(N, 832, h, w)`` in a tuple.
            proposals: N tensors ``(k_i, 4)`` in input pixels; k_i may be 0.

        Returns:
            ``(R, 1024)`` vectors and ``(R,)`` image indices.
        """
        rois = bbox2roi(proposals)
        # also without any RoI: the other processes may wait for what TF2's layers say to each other
        return self.roi_features(x, rois).mean((2, 3)), rois[:, 0].long()

    def _bbox_forward(self, x: tuple[Tensor], rois: Tensor) -> dict:
        bbox_feats = self.roi_features(x, rois)
        with torch.autocast(bbox_feats.device.type, enabled=False):
            cls_score, bbox_pred = self.bbox_head(bbox_feats)
        outputs = (cls_score, bbox_pred)
        if not self.training and not all(bool(torch.isfinite(o).all()) for o in outputs):
            raise OutputError(
                'the RoI head gives scores or boxes that are not finite: the weights are of a'
                ' training that diverged; take an earlier checkpoint'
            )
        return dict(cls_score=cls_score, bbox_pred=bbox_pred, bbox_feats=bbox_feats)
