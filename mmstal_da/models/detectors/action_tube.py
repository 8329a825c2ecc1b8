"""The detector of the paper: key-frame proposals, clip features, optional domain adaptation."""

import sys
from contextlib import AbstractContextManager, nullcontext

import torch
from mmdet.models.detectors import TwoStageDetector
from torch import Tensor

from mmstal_da.models.adaptation.feature_tap import FeatureTap
from mmstal_da.models.layers.domain_batch_norm import DomainNorm, convert
from mmstal_da.registry import MODELS

ADAPTATION_MODULES = ('spatial', 'temporal_image', 'temporal_instance')


@MODELS.register_module()
class ActionTubeDetector(TwoStageDetector):
    """Spatio-temporal action detector on two backbones, with adaptation off by default.

    A 2D network SF sees the key frame K, and a region proposal network finds actors on its map.
    A 3D network TF1 sees the clip V; its features, averaged over time, are pooled under the
    proposals, pass TF2 and are classified. With ``adaptation``, discriminators see SF(K), TF1(V)
    and the TF2 vectors of source and target (Eqs. 4-7 of the paper); L_act is computed on the
    source alone. Without, target samples of a batch are left out and this is the plain detector,
    on the same code path.

    Args:
        backbone: SF, a 2D network with one output map of stride s.
        clip_backbone: TF1, a 3D network with an output of the same stride s.
        rpn_head: mmdet's region proposal network on SF(K).
        roi_head: :class:`ActionRoIHead`.
        adaptation: :class:`DomainAdaptation`'s config; a discriminator without ``in_channels``
            gets them from the model. ``None``, or no module on, is the plain detector.
            ``spatial`` and ``temporal_image`` may have a key ``tap``, the name of a layer of SF
            or TF1 whose output the discriminator sees in place of the last one's, and then need
            ``in_channels``, e.g. ``tap='layer2', in_channels=512`` (of a clip: averaged over
            time).
        train_cfg: mmdet's ``rpn``, ``rpn_proposal`` and ``rcnn``.
        test_cfg: mmdet's ``rpn`` and ``rcnn``.
        data_preprocessor: :class:`ClipKeyFramePreprocessor`.
        domain_norm: Batch-norm statistics per domain in SF, TF1 and TF2; the value is the domain
            whose statistics serve at inference, ``'target'`` or ``'source'``. ``None``, the
            default, is ordinary batch norm on joint statistics. Works without ``adaptation``
            too: then the target only moves its statistics.
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
        adaptation: dict | None = None,
        data_preprocessor: dict | None = None,
        domain_norm: str | None = None,
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
        self.adaptation = None
        self.taps: dict[str, FeatureTap] = {}
        if any((adaptation or {}).get(name) is not None for name in ADAPTATION_MODULES):
            self.adaptation = MODELS.build(self._adaptation_config(adaptation))
        self.domain_norm = None
        if domain_norm is not None:
            self.domain_norm = DomainNorm(domain_norm)
            for part in (self.backbone, self.clip_backbone, self.roi_head.shared_head):
                convert(part, self.domain_norm)

    def _joint(self, num_source: int) -> AbstractContextManager:
        """Within, batch norm knows the first rows of a batch for the source's."""
        if self.domain_norm is None:
            return nullcontext()
        return self.domain_norm.joint(num_source)

    def _adaptation_config(self, adaptation: dict) -> dict:
        """The adaptation's config with every discriminator's ``in_channels`` filled in."""
        channels = (
            self.rpn_head.in_channels,
            self.clip_backbone.out_channels,
            self.roi_head.bbox_head.in_channels,
        )
        config = dict(type='DomainAdaptation', **adaptation)
        for name, width in zip(ADAPTATION_MODULES, channels, strict=True):
            if config.get(name) is not None:
                config[name] = {'in_channels': width, **self._tapped(name, config[name])}
        return config

    def _tapped(self, name: str, config: dict) -> dict:
        """A discriminator's config without its key ``tap``, which is put into effect."""
        config = dict(config)
        layer = config.pop('tap', None)
        if layer is not None:
            networks = dict(spatial=self.backbone, temporal_image=self.clip_backbone)
            if name not in networks:
                raise ValueError(f'adaptation.{name} takes no key tap: it sees vectors of TF2')
            if 'in_channels' not in config:
                raise ValueError(
                    f'adaptation.{name}: beside tap={layer!r} give in_channels, its width'
                )
            self.taps[name] = FeatureTap(networks[name], layer, f'adaptation.{name}.tap')
        return config

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
        """L_act on the source and, with adaptation, lambda L_adv on both domains.

        Args:
            batch_inputs: As :meth:`extract_feat`.
            batch_data_samples: N samples, the source's first. The source's have
                ``gt_instances``; the target's labels, should there be any, are never read.

        Returns:
            ``loss_rpn_cls``, ``loss_rpn_bbox``, ``loss_cls``, ``loss_bbox``, mmdet's ``acc`` and
            what :class:`DomainAdaptation` returns.

        Raises:
            ValueError: If adaptation is on and a domain is missing from the batch.
        """
        domains = [sample.metainfo.get('domain', 0) for sample in batch_data_samples]
        n_source = domains.count(0)
        if domains != sorted(domains) or n_source == 0:
            raise ValueError(f'a batch holds source samples first, then target; got {domains}')
        if self.adaptation is None and self.domain_norm is None:
            batch_inputs = {key: value[:n_source] for key, value in batch_inputs.items()}
            batch_data_samples = batch_data_samples[:n_source]
        elif n_source == len(domains):
            raise ValueError(
                'adaptation is on but the batch has no target samples; train on a '
                'DualDomainDataset, or set model.adaptation=None and model.domain_norm=None'
            )
        with self._joint(n_source):
            spatial, temporal = self.extract_feat(batch_inputs)

        losses, proposals = self._rpn_loss(spatial, batch_data_samples, n_source)
        boxes = [result.bboxes for result in proposals]  # before the RoI head renames them
        with self._joint(sys.maxsize):  # every RoI is the source's
            losses.update(
                self.roi_head.loss(
                    (temporal[:n_source],), proposals[:n_source], batch_data_samples[:n_source]
                )
            )
        if self.adaptation is not None:
            losses.update(self._adaptation_loss(spatial, temporal, batch_data_samples, boxes))
        if self.domain_norm is not None and (
            self.adaptation is None or not self.adaptation.needs_instances
        ):
            self._norm_instances(temporal, samples=batch_data_samples, boxes=boxes)
        return losses

    @torch.no_grad()
    def _norm_instances(self, temporal: Tensor, samples: list, boxes: list[Tensor]) -> None:
        """Show TF2's batch norm the best proposals, from which it has the target's statistics."""
        best = [proposals[: self.train_cfg.rcnn.sampler.num] for proposals in boxes]
        domains = [sample.metainfo['domain'] for sample in samples]
        first = 0
        if not self.roi_head.shared_head.norm_eval:
            # the source's statistics are those of its training RoIs already
            first = domains.count(0)
        num_source = sum(map(len, best[first : domains.count(0)]))
        with self._joint(num_source):
            self.roi_head.instance_features((temporal[first:],), best[first:])

    def _propose(self, spatial: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The RPN's scores and deltas per level, float32 whatever autocast convolves in."""
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

    def _adaptation_loss(
        self, spatial: Tensor, temporal: Tensor, samples: list, boxes: list[Tensor]
    ) -> dict[str, Tensor]:
        """Lambda L_adv on the joint batch."""
        instances = image_index = None
        if self.adaptation.needs_instances:
            # the RPN returns its proposals by descending objectness
            best = [proposals[: self.adaptation.num_proposals] for proposals in boxes]
            source = [b for b, s in zip(best, samples, strict=True) if s.metainfo['domain'] == 0]
            with self._joint(sum(map(len, source))):
                instances, image_index = self.roi_head.instance_features((temporal,), best)
        domains = torch.tensor([s.metainfo['domain'] for s in samples], device=spatial.device)
        if 'spatial' in self.taps:
            spatial = self.taps['spatial'].take()
        if 'temporal_image' in self.taps:
            temporal = self.taps['temporal_image'].take()
        valid = valid_cells(samples, temporal)
        return self.adaptation(spatial, temporal, domains, instances, image_index, valid)

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
        return batch_data_samples

    def _forward(self, batch_inputs: dict[str, Tensor], batch_data_samples: list) -> tuple:
        """Class scores ``(R, C+1)`` and box deltas ``(R, 4)`` of all proposals, raw."""
        spatial, temporal = self.extract_feat(batch_inputs)
        proposals = self.rpn_head.predict((spatial,), batch_data_samples, rescale=False)
        return self.roi_head.forward((temporal,), proposals, batch_data_samples)


def valid_cells(samples: list, feature_map: Tensor) -> Tensor:
    """Which cells of a feature map lie on their image rather than on padding.

    Args:
        samples: N samples with ``img_shape`` and ``batch_input_shape`` (h, w) in input pixels.
        feature_map: ``(N, C, h, w)``.

    Returns:
        ``(N, 1, h, w)`` of bool: True where the cell's centre is inside the image.
    """
    n, _, h, w = feature_map.shape
    valid = torch.zeros((n, 1, h, w), dtype=torch.bool, device=feature_map.device)
    for mask, sample in zip(valid, samples, strict=True):
        (height, width), (full_h, full_w) = (
            sample.metainfo['img_shape'][:2],
            sample.metainfo['batch_input_shape'],
        )
        rows = sum((row + 0.5) * full_h / h < height for row in range(h))
        columns = sum((column + 0.5) * full_w / w < width for column in range(w))
        mask[:, :rows, :columns] = True
    return valid
