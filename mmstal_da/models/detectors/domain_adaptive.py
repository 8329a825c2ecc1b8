"""The detector of the paper with its adaptation: discriminators, statistics per domain."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from mmstal_da.models.adaptation.domain_adaptation import DomainAdaptation
from mmstal_da.models.adaptation.feature_tap import FeatureTap
from mmstal_da.models.layers.domain_batch_norm import DomainNorm, convert_batch_norm
from mmstal_da.registry import MODELS

from .action_tube import ActionTubeDetector, count_source

ADAPTATION_MODULES = ('spatial', 'temporal_image', 'temporal_instance')


@MODELS.register_module()
class DomainAdaptiveDetector(ActionTubeDetector):
    """:class:`ActionTubeDetector` whose features are aligned between source and target.

    Discriminators see SF(K), TF1(V) and the TF2 vectors of source and target (Eqs. 4-7 of the
    paper); L_act is computed on the source alone. With neither ``adaptation`` nor
    ``domain_norm``, the default, it is the plain detector.

    Args:
        *args: Arguments of :class:`ActionTubeDetector`.
        adaptation: :class:`DomainAdaptation`'s config; a discriminator without ``in_channels``
            gets them from the model. ``None``, or no module on, adapts nothing.
            To align an earlier layer, ``spatial`` and ``temporal_image`` may have a key ``tap``:
            the name of a layer of SF or TF1. The discriminator then sees this layer's output (of a
            clip: averaged over time) and needs ``in_channels``, e.g.
            ``tap='layer2', in_channels=512``.
        domain_norm: Batch-norm statistics per domain in SF, TF1 and TF2. The value is the domain
            whose statistics are used at inference, ``'target'`` or ``'source'``. ``None``, the
            default, is ordinary batch norm on joint statistics. This also works without
            ``adaptation``: then the target only updates its statistics.
        **kwargs: Arguments of :class:`ActionTubeDetector`.
    """

    def __init__(
        self,
        *args,
        adaptation: dict | None = None,
        domain_norm: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.adaptation: DomainAdaptation | None = None
        self.taps: dict[str, FeatureTap] = {}
        # if set, sees every training step: losses, maps, samples, proposals of all images
        self.observer: Callable[[dict, dict[str, Tensor], list, list[Tensor]], None] | None = None
        adaptation = adaptation or {}
        if any(adaptation.get(name) is not None for name in ADAPTATION_MODULES):
            self.adaptation = MODELS.build(self._adaptation_config(adaptation))
        self.domain_norm = None
        if domain_norm is not None:
            self.domain_norm = DomainNorm(domain_norm)
            for part in (self.backbone, self.clip_backbone, self.roi_head.shared_head):
                convert_batch_norm(part, self.domain_norm)

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
        """Apply the key ``tap`` of a discriminator's config; returns the config without it."""
        config = dict(config)
        layer = config.pop('tap', None)
        if layer is not None:
            networks = dict(spatial=self.backbone, temporal_image=self.clip_backbone)
            if name not in networks:
                raise ValueError(f'adaptation.{name} takes no key tap: it sees vectors of TF2')
            if 'in_channels' not in config:
                raise ValueError(
                    f'adaptation.{name}: with tap={layer!r} also give in_channels, its width'
                )
            self.taps[name] = FeatureTap(networks[name], layer, f'adaptation.{name}.tap')
        return config

    def loss(self, batch_inputs: dict[str, Tensor], batch_data_samples: list) -> dict:
        """L_act on the source and lambda L_adv on both domains.

        Every step has three passes through batch norm: both domains through SF and TF1, the
        source's RoIs through TF2 for L_act, and the best proposals of both through TF2 for D_Tinst
        (or, without D_Tinst, only for the target's statistics).

        Args:
            batch_inputs: As :meth:`extract_feat`.
            batch_data_samples: As :meth:`ActionTubeDetector.loss`.

        Returns:
            What :meth:`ActionTubeDetector.loss` and :class:`DomainAdaptation` return.

        Raises:
            ValueError: A domain is missing from the batch.
        """
        if self.adaptation is None and self.domain_norm is None:
            return super().loss(batch_inputs, batch_data_samples)
        n_source = count_source(batch_data_samples)
        if n_source == len(batch_data_samples):
            raise ValueError(
                'adaptation is on but the batch has no target samples; train on a '
                'DualDomainDataset, or set model.adaptation=None and model.domain_norm=None'
            )
        with self._joint(n_source):
            spatial, temporal = self.extract_feat(batch_inputs)
        losses, proposals = self._rpn_loss(spatial, batch_data_samples, n_source)
        boxes = [result.bboxes for result in proposals]  # before the RoI head renames them
        with self._source_only():
            losses.update(
                self.roi_head.loss(
                    (temporal[:n_source],), proposals[:n_source], batch_data_samples[:n_source]
                )
            )
        if self.adaptation is not None:
            losses.update(
                self._adaptation_loss(self.adaptation, spatial, temporal, batch_data_samples, boxes)
            )
        if self.domain_norm is not None and (
            self.adaptation is None or not self.adaptation.needs_instances
        ):
            self._norm_instances(temporal, samples=batch_data_samples, boxes=boxes)
        if self.observer is not None:
            self.observer(losses, dict(SF=spatial, TF1=temporal), batch_data_samples, boxes)
        return losses

    def _joint(self, num_source: int) -> AbstractContextManager:
        """Inside this context, batch norm takes the first rows of a batch as the source's."""
        return nullcontext() if self.domain_norm is None else self.domain_norm.joint(num_source)

    def _source_only(self) -> AbstractContextManager:
        """Inside this context, batch norm takes every row as the source's."""
        return nullcontext() if self.domain_norm is None else self.domain_norm.source_only()

    @torch.no_grad()
    def _norm_instances(self, temporal: Tensor, samples: list, boxes: list[Tensor]) -> None:
        """Pass the best proposals through TF2's batch norm, to update the target's statistics."""
        best = [proposals[: self.train_cfg.rcnn.sampler.num] for proposals in boxes]
        n_source = count_source(samples)
        # if not frozen, the source's statistics already come from its training RoIs
        first = 0 if self.roi_head.shared_head.norm_eval else n_source
        with self._joint(sum(map(len, best[first:n_source]))):
            self.roi_head.instance_features((temporal[first:],), best[first:])

    def _adaptation_loss(
        self,
        adaptation: DomainAdaptation,
        spatial: Tensor,
        temporal: Tensor,
        samples: list,
        boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """Lambda L_adv on the joint batch."""
        instances = image_index = None
        if adaptation.needs_instances:
            # the RPN returns its proposals by descending objectness
            best = [proposals[: adaptation.num_proposals] for proposals in boxes]
            with self._joint(sum(map(len, best[: count_source(samples)]))):
                instances, image_index = self.roi_head.instance_features((temporal,), best)
        domains = torch.tensor([s.metainfo['domain'] for s in samples], device=spatial.device)
        if 'spatial' in self.taps:
            spatial = self.taps['spatial'].take()
        if 'temporal_image' in self.taps:
            temporal = self.taps['temporal_image'].take()
        valid = valid_cells(samples, temporal)
        return adaptation(spatial, temporal, domains, instances, image_index, valid)


def valid_cells(samples: list, feature_map: Tensor) -> Tensor:
    """Which cells of a feature map are on their image, not on padding.

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
