"""Adds to predictions what label-free scores need: candidates before NMS, boxes under dropout."""

import zlib
from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.structures import InstanceData
from torch import Tensor

from mmstal_da.models.detectors import ActionTubeDetector
from mmstal_da.models.layers.batch_layout import extend_edges, map_extents
from mmstal_da.registry import HOOKS
from mmstal_da.utils.values import check_values, number
from mmstal_da.utils.wrapped import predictor_of


@HOOKS.register_module()
class LabelFreeViewsHook(Hook):
    """Gives every sample of a validation or test ``candidates`` and ``dropout_instances``.

    :class:`mmstal_da.evaluation.metrics.LabelFreeMetric` reads them. Off by default; a config
    switches both on::

        custom_hooks = [dict(type='LabelFreeViewsHook')]
        val_evaluator = [_base_.val_evaluator, dict(type='LabelFreeMetric')]

    ``candidates`` are the RoI head's boxes before NMS: ``bboxes`` (R, 4), ``scores`` (R, C + 1)
    with the background last. ``dropout_instances`` are detections from feature maps of which a
    share is set to zero. The authors of box stability drop inside the backbone; here SF and TF1
    themselves are thinned, so only the heads run a second time **[derived]**. What is dropped
    depends on video and frame alone.

    Args:
        dropout: Share of the maps' values that is set to zero; 0.15 is the authors'.
    """

    value_rules = dict(dropout=number(above=0, below=1))

    def __init__(self, dropout: float = 0.15) -> None:
        check_values(self.value_rules, locals())
        self.dropout = dropout

    def before_val_epoch(self, runner) -> None:
        """Watch the predictions of a validation."""
        _detector(runner).test_observer = self.observe

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Leave the model as it was."""
        _detector(runner).test_observer = None

    def before_test_epoch(self, runner) -> None:
        """Watch the predictions of a test."""
        self.before_val_epoch(runner)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """Leave the model as it was."""
        self.after_val_epoch(runner)

    def observe(
        self,
        detector: ActionTubeDetector,
        maps: dict[str, Tensor],
        samples: Sequence,
        proposals: Sequence,
        rescale: bool,
    ) -> None:
        """Add the views; ``ActionTubeDetector.predict`` calls it before it returns.

        Args:
            detector: The detector, in eval mode.
            maps: ``SF`` and ``TF1``, (N, C, h, w), zeros in padding.
            samples: N samples, which get the views.
            proposals: N results of the RPN.
            rescale: Whether boxes are in pixels of the original video.
        """
        metas = [sample.metainfo for sample in samples]
        head = detector.roi_head
        extents = map_extents(samples, maps['TF1'])
        whole_map = (extend_edges(maps['TF1'], extents),)
        before_nms = head.predict_bbox(
            whole_map, metas, list(proposals), rcnn_test_cfg=None, rescale=rescale
        )
        spatial, temporal = (self._drop(maps[name], name, samples) for name in ('SF', 'TF1'))
        other = detector._proposals(*detector._propose(spatial), list(samples))
        thinned = (extend_edges(temporal, extents),)
        found = head.predict_bbox(
            thinned, metas, other, rcnn_test_cfg=head.test_cfg, rescale=rescale
        )
        for sample, candidates, dropped in zip(samples, before_nms, found, strict=True):
            sample.candidates = InstanceData(bboxes=candidates.bboxes, scores=candidates.scores)
            sample.dropout_instances = dropped

    def _drop(self, feature_map: Tensor, name: str, samples: Sequence) -> Tensor:
        """Set values to zero and scale up the others, as dropout does; padding draws nothing."""
        sizes = map_extents(samples, feature_map) or (feature_map.shape[-2:],) * len(samples)
        mask = torch.zeros(feature_map.shape, dtype=torch.bool)
        for sample, kept, (rows, columns) in zip(samples, mask, sizes, strict=True):
            meta = sample.metainfo
            key = f'{meta["video_name"]}/{meta["key_frame"]}/{name}'
            generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
            drawn = torch.rand((len(kept), rows, columns), generator=generator)
            kept[:, :rows, :columns] = drawn >= self.dropout
        return feature_map * mask.to(feature_map.device) / (1 - self.dropout)


def _detector(runner) -> ActionTubeDetector:
    return predictor_of(runner.model)
