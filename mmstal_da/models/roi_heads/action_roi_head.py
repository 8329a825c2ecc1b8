"""mmdet's RoI head on the clip's features; an adaptation module can reach the RoI vectors."""

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules import MaxIoUAssigner
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

from mmstal_da.errors import ConfigError, OutputError
from mmstal_da.models.assigners import IgnoringAssigner
from mmstal_da.registry import MODELS

from .multi_label_bbox_head import MultiLabelBBoxHead


@MODELS.register_module()
class ActionRoIHead(StandardRoIHead):
    """RoIAlign on TF1(V), TF2 as the shared head, classifier and box deltas.

    It adds two things to mmdet's head: the vectors of arbitrary proposals, for D_Tinst, and mixed
    precision that keeps RoIAlign, classifier and losses in float32. TF2 follows autocast.

    TF2, the key ``shared_head``, is any module that takes ``(R, C, r, r)`` and returns such maps:
    :class:`InceptionRoIStage`, :class:`ResNet3dRoIStage`, :class:`ConvRoIStage`, mmdet's
    ``ResLayer``. Without it the classifier gets the pooled features themselves. The box head
    averages over the map, so that D_Tinst sees what the classifier sees.

    Args:
        *args: Arguments of mmdet's ``StandardRoIHead``.
        **kwargs: Likewise.

    Raises:
        ConfigError: The box head has layers of its own, or does not average; or the assigner does
            not fit to it.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        head = self.bbox_head
        if not getattr(head, 'with_avg_pool', False) or hasattr(head, 'shared_fcs'):
            raise ConfigError(
                f'model.roi_head.bbox_head: {type(head).__name__} must average over the RoI map and'
                ' have no layers before its classifier, because D_Tinst sees the vectors that the'
                ' classifier sees: set with_avg_pool=True, and put layers into roi_head.shared_head'
                ' (ConvRoIStage)'
            )
        if self._several_classes and type(self.bbox_assigner) in (MaxIoUAssigner, IgnoringAssigner):
            raise ConfigError(
                "model.train_cfg.rcnn.assigner: MultiLabelBBoxHead needs type='MultiLabelAssigner'"
            )

    @property
    def _several_classes(self) -> bool:
        """Whether a box has several classes."""
        return isinstance(self.bbox_head, MultiLabelBBoxHead)

    def loss(
        self, x: tuple[Tensor], rpn_results_list: list, batch_data_samples: list
    ) -> dict[str, Tensor]:
        """Losses of mmdet; the labels of boxes are ``(n,)``, or ``(n, C)`` for several classes.

        Without any RoI the losses are zeros that reach every parameter. Otherwise a process whose
        clips have neither boxes nor proposals would leave parameters without gradient, for which
        the others wait.

        Raises:
            ConfigError: The labels are of the other kind.
        """
        for sample in batch_data_samples:
            if (sample.gt_instances.labels.ndim == 2) != self._several_classes:
                raise ConfigError(
                    f'{type(self.bbox_head).__name__} learns'
                    f' {"several classes" if self._several_classes else "one class"} per box: set'
                    f' multi_label={self._several_classes} in the data sets that are trained on'
                )
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
        if self.with_shared_head:
            feats = self.shared_head(feats).float()
        self._check_fit(feats)
        return feats

    def _check_fit(self, feats: Tensor) -> None:
        """See that the box head takes what TF2 gives.

        Raises:
            ConfigError: Names the key to correct.
        """
        head = self.bbox_head
        wanted = (head.in_channels, *head.roi_feat_size)
        if feats.dim() == 4 and tuple(feats.shape[1:]) == wanted:
            return
        stage = type(self.shared_head).__name__ if self.with_shared_head else 'RoIAlign'
        side = feats.shape[-1]
        raise ConfigError(
            f'model.roi_head: {stage} gives RoI features {tuple(feats.shape[1:])}, bbox_head takes'
            f' {wanted}; set bbox_head.in_channels={feats.shape[1]} and roi_feat_size={side}'
        )

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

    @torch.no_grad()
    def class_probabilities(self, vectors: Tensor) -> Tensor:
        """What the classifier makes of vectors of :meth:`instance_features`.

        Args:
            vectors: ``(R, 1024)``.

        Returns:
            ``(R, C + 1)``, the background last; with several classes per box it is 0.
        """
        head = self.bbox_head
        scores = head.fc_cls(vectors)
        return head.loss_cls.get_activation(scores) if head.custom_activation else scores.softmax(1)

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
