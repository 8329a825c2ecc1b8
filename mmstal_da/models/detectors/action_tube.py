"""The detector of the paper, without adaptation: key-frame proposals, clip features."""

from collections.abc import Callable

import torch
from mmdet.models.detectors import TwoStageDetector
from torch import Tensor

from mmstal_da.domains import SOURCE
from mmstal_da.registry import MODELS


@MODELS.register_module()
class ActionTubeDetector(TwoStageDetector):
    """Spatio-temporal action detector on two backbones.

    A 2D network SF sees the key frame K, and a region proposal network finds actors on its map.
    A 3D network TF1 sees the clip V. Its features are averaged over time, pooled under the
    proposals, passed through TF2 and classified. Target samples of a batch are left out.

    Args:
        backbone: SF, a 2D network with one output map of stride s.
        clip_backbone: TF1, a 3D network with an output of the same stride s.
        rpn_head: mmdet's region proposal network on SF(K).
        roi_head: :class:`ActionRoIHead`.
        train_cfg: mmdet's ``rpn``, ``rpn_proposal`` and ``rcnn``.
        test_cfg: mmdet's ``rpn`` and ``rcnn``.
        data_preprocessor: :class:`ClipKeyFramePreprocessor`.
        init_cfg: MMEngine initialisation.
    """

    def __init__(
        self,
        backbone: dict,
        clip_backbone: dict,
        rpn_head: dict,
        roi_head: dict,
        train_cfg: dict,
        test_cfg: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            rpn_head=rpn_head,
            roi_head=roi_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.clip_backbone = MODELS.build(clip_backbone)
        # if set, sees every prediction: detector, maps, samples, the RPN's results, rescale
        self.test_observer: Callable[..., None] | None = None

    def extract_feat(self, batch_inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """SF of the key frames and TF1 of the clips.

        Args:
            batch_inputs: ``clip`` ``(N, 3, T, H, W)`` and ``key_frame`` ``(N, 3, H, W)``.

        Returns:
            SF(K) ``(N, 1024, h, w)`` and TF1(V), averaged over time, ``(N, 832, h, w)``.
        """
        key_frame = batch_inputs['key_frame'].contiguous(memory_format=torch.channels_last)
        (spatial,) = self.backbone(key_frame)
        temporal = self.clip_backbone(batch_inputs['clip']).mean(2)
        if spatial.shape[2:] != temporal.shape[2:]:
            raise RuntimeError(
                f'the two backbones must have one stride: SF(K) is {tuple(spatial.shape)}, '
                f'TF1(V) is {tuple(temporal.shape)} for a clip of '
                f'{tuple(batch_inputs["clip"].shape)}'
            )
        return spatial, temporal

    def loss(self, batch_inputs: dict[str, Tensor], batch_data_samples: list) -> dict:
        """L_act on the source.

        Args:
            batch_inputs: As :meth:`extract_feat`.
            batch_data_samples: N samples, the source's first. The source's have
                ``gt_instances``; the target's labels, if there are any, are never read.

        Returns:
            ``loss_rpn_cls``, ``loss_rpn_bbox``, ``loss_cls``, ``loss_bbox`` and mmdet's ``acc``.

        Raises:
            ValueError: The batch has no source sample, or one after a target sample.
        """
        n_source = count_source(batch_data_samples)
        samples = batch_data_samples[:n_source]
        spatial, temporal = self.extract_feat(
            {key: value[:n_source] for key, value in batch_inputs.items()}
        )
        losses, proposals = self._rpn_loss(spatial, samples, n_source)
        losses.update(self.roi_head.loss((temporal,), proposals, samples))
        return losses

    def _propose(self, spatial: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The RPN's scores and deltas per level, always in float32, also under autocast."""
        scores, deltas = self.rpn_head((spatial,))
        return [level.float() for level in scores], [level.float() for level in deltas]

    def _rpn_loss(self, spatial: Tensor, samples: list, n_source: int) -> tuple[dict, list]:
        """RPN losses on the source, proposals (without gradient) on every image."""
        scores, deltas = self._propose(spatial)
        with torch.autocast(spatial.device.type, enabled=False):
            actors = []
            for sample in samples[:n_source]:
                instances = sample.gt_instances.clone()
                instances.labels = torch.zeros_like(instances.labels)  # the RPN knows one class
                actors.append(instances)
            metas = [sample.metainfo for sample in samples]
            losses = self.rpn_head.loss_by_feat(
                [level[:n_source] for level in scores],
                [level[:n_source] for level in deltas],
                actors,
                metas[:n_source],
            )
            cfg = self.train_cfg.get('rpn_proposal', self.test_cfg.rpn)
            proposals = self.rpn_head.predict_by_feat(
                scores, deltas, batch_img_metas=metas, cfg=cfg
            )
        return losses, proposals

    def predict(
        self, batch_inputs: dict[str, Tensor], batch_data_samples: list, rescale: bool = True
    ) -> list:
        """Detect actions on the key frames.

        Args:
            batch_inputs: As :meth:`extract_feat`.
            batch_data_samples: N samples with ``img_shape`` and ``scale_factor``.
            rescale: Return boxes in pixels of the original video instead of the input.

        Returns:
            The samples with ``pred_instances``: ``bboxes`` ``(n, 4)`` x1 y1 x2 y2, ``scores``
            ``(n,)``, ``labels`` ``(n,)``.
        """
        spatial, temporal = self.extract_feat(batch_inputs)
        metas = [sample.metainfo for sample in batch_data_samples]
        scores, deltas = self._propose(spatial)
        with torch.autocast(spatial.device.type, enabled=False):
            proposals = self.rpn_head.predict_by_feat(scores, deltas, batch_img_metas=metas)
        results = self.roi_head.predict((temporal,), proposals, batch_data_samples, rescale=rescale)
        for sample, result in zip(batch_data_samples, results, strict=True):
            sample.pred_instances = result
        if self.test_observer is not None:
            maps = dict(SF=spatial, TF1=temporal)
            self.test_observer(self, maps, batch_data_samples, proposals, rescale)
        return batch_data_samples

    def _forward(self, batch_inputs: dict[str, Tensor], batch_data_samples: list) -> tuple:
        """Class scores ``(R, C+1)`` and box deltas ``(R, 4)`` of all proposals, raw."""
        spatial, temporal = self.extract_feat(batch_inputs)
        proposals = self.rpn_head.predict((spatial,), batch_data_samples, rescale=False)
        return self.roi_head.forward((temporal,), proposals, batch_data_samples)


def count_source(samples: list) -> int:
    """How many samples of a batch are the source's; a sample without a domain counts as source.

    Raises:
        ValueError: There is none, or one comes after a sample of the target.
    """
    domains = [sample.metainfo.get('domain', SOURCE) for sample in samples]
    n_source = domains.count(SOURCE)
    if domains != sorted(domains) or n_source == 0:
        raise ValueError(f'a batch holds source samples first, then target; got {domains}')
    return n_source
