"""The detector of the paper with its adaptation: discriminators, statistics per domain."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmstal_da.errors import ConfigError
from mmstal_da.models.adaptation.domain_adaptation import DomainAdaptation, build_part
from mmstal_da.models.adaptation.feature_tap import FeatureTap
from mmstal_da.models.adaptation.gradients import MODULES
from mmstal_da.models.layers.batch_layout import extend_edges, map_extents
from mmstal_da.models.layers.domain_batch_norm import DOMAINS, DomainNorm, convert_batch_norm
from mmstal_da.registry import MODELS
from mmstal_da.utils.values import choice, optional

from .action_tube import ActionTubeDetector, count_source
from .step import Step

ADAPTATION_MODULES = ('spatial', 'temporal_image', 'temporal_instance')


@MODELS.register_module()
class DomainAdaptiveDetector(ActionTubeDetector):
    """:class:`ActionTubeDetector` whose features are aligned between source and target.

    Discriminators see SF(K), TF1(V) and the TF2 vectors of source and target (Eqs. 4-7 of the
    paper); L_act is computed on the source alone. With neither ``adaptation`` nor
    ``domain_norm``, the default, it is the plain detector.

    Args:
        *args: Arguments of :class:`ActionTubeDetector`.
        adaptation: :class:`DomainAdaptation`'s config, or with a key ``type`` that of a class of
            one's own, which is always on. A discriminator without ``in_channels`` gets them from
            the model. ``None``, or no module on and no ``type``, adapts nothing.
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

    value_rules = dict(domain_norm=optional(choice(*DOMAINS)))

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
        modules = any(adaptation.get(name) is not None for name in ADAPTATION_MODULES)
        if modules or 'type' in adaptation:
            self.adaptation = self._build_adaptation(adaptation)
        self.domain_norm = None
        if domain_norm is not None:
            self.domain_norm = self.layout = DomainNorm(domain_norm)
            parts = ['backbone', 'clip_backbone']
            parts += ['roi_head.shared_head'] if self.roi_head.with_shared_head else []
            for key in parts:
                convert_batch_norm(self.get_submodule(key), self.domain_norm, f'model.{key}')

    @property
    def _roi_stage(self) -> nn.Module:
        """TF2; without one an empty module."""
        return self.roi_head.shared_head if self.roi_head.with_shared_head else nn.Sequential()

    def _build_adaptation(self, adaptation: dict) -> DomainAdaptation:
        """The adaptation, every discriminator's ``in_channels`` filled in.

        Raises:
            ConfigError: A class of one's own lacks what the detector and the hook use.
        """
        channels = (
            self.rpn_head.in_channels,
            self.roi_head.bbox_roi_extractor.out_channels,
            self.roi_head.bbox_head.in_channels,
        )
        config = {'type': 'DomainAdaptation', **adaptation}
        for name, width in zip(ADAPTATION_MODULES, channels, strict=True):
            if config.get(name) is not None:
                config[name] = {'in_channels': width, **self._tapped(name, config[name])}
        built = build_part(config, 'adaptation')
        lacks = [
            key for key in ('needs_instances', 'num_proposals', 'weight') if not hasattr(built, key)
        ]
        if lacks:
            raise ConfigError(
                f'adaptation.type: {type(built).__name__} lacks the attributes {lacks}; derive it'
                ' from mmstal_da.models.adaptation.DomainAdaptation'
            )
        return built

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
            RuntimeError: Layers with statistics per domain were replaced.
        """
        if self.adaptation is None and self.domain_norm is None:
            return super().loss(batch_inputs, batch_data_samples)
        n_source = count_source(batch_data_samples)
        if n_source == len(batch_data_samples):
            raise ValueError(
                'adaptation is on but the batch has no target samples; train on a '
                'DualDomainDataset, or set model.adaptation=None and model.domain_norm=None'
            )
        if self.domain_norm is not None:
            self.domain_norm.check(self)
        with self.layout.joint(n_source), self.layout.images(batch_data_samples):
            spatial, temporal = self.extract_feat(batch_inputs)
        losses, proposals = self._rpn_loss(spatial, batch_data_samples, n_source)
        boxes = [result.bboxes for result in proposals]  # before the RoI head renames them
        maps = extend_edges(temporal, map_extents(batch_data_samples, temporal))
        with self._source_only():
            losses.update(
                self.roi_head.loss(
                    (maps[:n_source],), proposals[:n_source], batch_data_samples[:n_source]
                )
            )
        if self.adaptation is not None:
            instances = self._instances(self.adaptation, maps, batch_data_samples, boxes)
            seen = dict(spatial=spatial, timg=temporal)
            for name in seen:
                if MODULES[name] in self.taps:
                    seen[name] = self.taps[MODULES[name]].take()
            losses.update(
                self._adaptation_loss(
                    self.adaptation, seen['spatial'], seen['timg'], instances, batch_data_samples
                )
            )
            if hasattr(self.adaptation, 'measure_caps'):  # a class of one's own may do without
                places = dict(seen, tinst=temporal)
                on = {name: places[name] for name in places if f'loss_da_{name}' in losses}
                self.adaptation.measure_caps(losses, on)
        if self.domain_norm is not None and (
            self.adaptation is None or not self.adaptation.needs_instances
        ):
            self._norm_instances(maps, samples=batch_data_samples, boxes=boxes)
        if self.domain_norm is not None:
            self.domain_norm.synchronise()
        if self.observer is not None:
            self.observer(losses, dict(SF=spatial, TF1=temporal), batch_data_samples, boxes)
        step = Step(batch_inputs, batch_data_samples, n_source, spatial, temporal, boxes, losses)
        return self._with_further_losses(step)

    def _source_only(self) -> AbstractContextManager:
        """Inside this context, batch norm takes every row as the source's."""
        return nullcontext() if self.domain_norm is None else self.domain_norm.source_only()

    @torch.no_grad()
    def _norm_instances(self, temporal: Tensor, samples: list, boxes: list[Tensor]) -> None:
        """Pass the best proposals through TF2's batch norm, to update the target's statistics."""
        best = [proposals[: self.train_cfg.rcnn.sampler.num] for proposals in boxes]
        n_source = count_source(samples)
        layers = [layer for layer in self._roi_stage.modules() if isinstance(layer, _BatchNorm)]
        if not layers:
            return
        # if not frozen, the source's statistics already come from its training RoIs
        first = n_source if layers[0].training else 0
        with self.layout.joint(sum(map(len, best[first:n_source]))):
            self.roi_head.instance_features((temporal[first:],), best[first:])

    def _instances(
        self, adaptation: DomainAdaptation, maps: Tensor, samples: list, boxes: list[Tensor]
    ) -> tuple[Tensor | None, Tensor | None]:
        """The vectors of the best proposals for D_Tinst, and their images."""
        if not adaptation.needs_instances:
            return None, None
        # the RPN returns its proposals by descending objectness
        best = [proposals[: adaptation.num_proposals] for proposals in boxes]
        with self.layout.joint(sum(map(len, best[: count_source(samples)]))):
            return self.roi_head.instance_features((maps,), best)

    def _adaptation_loss(
        self,
        adaptation: DomainAdaptation,
        spatial: Tensor,
        temporal: Tensor,
        instances: tuple[Tensor | None, Tensor | None],
        samples: list,
    ) -> dict[str, Tensor]:
        """Lambda L_adv on the joint batch."""
        domains = torch.tensor([s.metainfo['domain'] for s in samples], device=spatial.device)
        vectors, _ = instances
        more = {}
        # a class of one's own may do without
        if vectors is not None and getattr(adaptation, 'needs_classes', False):
            more['probabilities'] = self.roi_head.class_probabilities(vectors)
        return adaptation(
            spatial,
            temporal,
            domains,
            *instances,
            map_extents(samples, spatial),
            map_extents(samples, temporal),
            **more,
        )
