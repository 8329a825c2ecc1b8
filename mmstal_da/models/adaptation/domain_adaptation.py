"""The three adaptation modules together: L_adv of Eq. 6 and its weight lambda of Eq. 7."""

import math
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmstal_da.errors import ConfigError
from mmstal_da.models.layers.batch_layout import Extents, valid_mask
from mmstal_da.registry import MODELS
from mmstal_da.utils.values import check_values, choice, number, whole

from .functional import REDUCTIONS, domain_accuracy, grad_reverse

LAMBDA_MODES = ('loss_weight', 'grl_coefficient')


def build_part(cfg: dict, key: str) -> Any:
    """A module from its config.

    Args:
        cfg: With ``type``, a name of ``mmstal_da.registry.MODELS`` or an import path.
        key: The place in ``model``, for the message.

    Raises:
        ConfigError: There is no such class.
    """
    kind = cfg.get('type')
    if isinstance(kind, str) and MODELS.get(kind) is None:
        raise ConfigError(
            f'model.{key}.type: there is no class {kind!r}; register it with'
            ' @mmstal_da.registry.MODELS.register_module() (or in mmaction.registry.MODELS), and'
            ' name its module in the custom_imports of the config'
        )
    return MODELS.build(cfg)


@MODELS.register_module()
class DomainAdaptation(BaseModule):
    """Discriminators behind gradient-reversal layers; each is off by default.

    A subclass may add losses in :meth:`forward`, multiplied by :attr:`scale`, with gradients
    reversed by :attr:`coefficient`; ``model.adaptation.type`` names it.

    Args:
        spatial: D_S on SF(K). A discriminator's config with a key ``loss``.
        temporal_image: D_Timg on TF1(V). Likewise.
        temporal_instance: D_Tinst on the TF2 vectors of the proposals. Likewise.
        map_reduction: ``'mean'`` or ``'sum'`` (Eq. 4 to the letter) over the map of D_Timg.
        instance_reduction: ``'mean'`` or ``'sum'`` (Eq. 5) over the proposals of an image.
        lambda_mode: ``'loss_weight'`` multiplies the losses by lambda, which also scales the
            gradients of the discriminators (Eq. 7). ``'grl_coefficient'`` multiplies only the
            reversed gradient by lambda, and the discriminators learn at full rate (DANN).
        weight: lambda. :class:`AdaptationWeightHook` sets it before every iteration.
        num_proposals: Proposals per image that D_Tinst sees, the best by objectness. They are
            chosen in the same way on both domains **[derived]**. If the source's were the sampled
            RoIs, with their share of positives, the discriminator could learn to recognise the
            sampling instead of the domain.
        init_cfg: MMEngine initialisation.

    Raises:
        ValueError: No module is on, or a key is out of range.
    """

    value_rules = dict(
        map_reduction=choice(*REDUCTIONS),
        instance_reduction=choice(*REDUCTIONS),
        lambda_mode=choice(*LAMBDA_MODES),
        weight=number(0),
        num_proposals=whole(),
    )

    def __init__(
        self,
        spatial: dict | None = None,
        temporal_image: dict | None = None,
        temporal_instance: dict | None = None,
        map_reduction: str = 'mean',
        instance_reduction: str = 'mean',
        lambda_mode: str = 'loss_weight',
        weight: float = 0.1,
        num_proposals: int = 64,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        modules = (spatial, temporal_image, temporal_instance)
        # a subclass may have modules of its own
        if type(self) is DomainAdaptation and modules == (None, None, None):
            raise ValueError(
                'DomainAdaptation: no module is on; give spatial, temporal_image or '
                'temporal_instance, or set adaptation=None for the plain detector'
            )
        check_values(self.value_rules, locals())
        self.spatial, self.spatial_loss = self._build('spatial', spatial)
        self.temporal_image, self.temporal_image_loss = self._build(
            'temporal_image', temporal_image
        )
        self.temporal_instance, self.temporal_instance_loss = self._build(
            'temporal_instance', temporal_instance
        )
        self.map_reduction = map_reduction
        self.instance_reduction = instance_reduction
        self.lambda_mode = lambda_mode
        self.weight = weight
        self.num_proposals = num_proposals

    @staticmethod
    def _build(name: str, cfg: dict | None) -> tuple:
        """A discriminator and its loss."""
        if cfg is None:
            return None, None
        cfg = dict(cfg)
        if cfg.get('loss') is None:
            raise ValueError(f"adaptation.{name} lacks the key 'loss', e.g. DomainBCELoss")
        loss = build_part(cfg.pop('loss'), f'adaptation.{name}.loss')
        return build_part(cfg, f'adaptation.{name}'), loss

    @property
    def scale(self) -> float:
        """Factor of the adversarial losses."""
        return self.weight if self.lambda_mode == 'loss_weight' else 1.0

    @property
    def coefficient(self) -> float:
        """Factor of the reversed gradients."""
        return 1.0 if self.lambda_mode == 'loss_weight' else self.weight

    @property
    def needs_instances(self) -> bool:
        """Whether proposals must be passed through TF2 for D_Tinst."""
        return self.temporal_instance is not None

    def forward(
        self,
        spatial: Tensor,
        temporal: Tensor,
        domains: Tensor,
        instances: Tensor | None = None,
        image_index: Tensor | None = None,
        spatial_extents: Extents | None = None,
        temporal_extents: Extents | None = None,
    ) -> dict[str, Tensor]:
        """The adversarial losses of a joint batch, in float32.

        Args:
            spatial: SF(K), ``(N, 1024, h, w)``.
            temporal: TF1(V), ``(N, 832, h, w)``.
            domains: ``(N,)``, 0 source, 1 target.
            instances: TF2 vectors of the proposals, ``(R, 1024)``; with ``needs_instances``.
            image_index: ``(R,)``, the image of each proposal.
            spatial_extents: (rows, columns) that each image covers of its map in ``spatial``; the
                rest is padding, of which neither losses nor accuracies depend. None: all of it.
            temporal_extents: The same of ``temporal``.

        Returns:
            ``loss_da_spatial``, ``loss_da_timg``, ``loss_da_tinst`` of the modules that are on;
            each one's accuracy per domain (``acc_da_spatial_source``, …) and ``da_lambda``.
        """
        if not math.isfinite(self.weight) or self.weight < 0:
            raise ValueError(f'the adaptation weight must be finite and >= 0, got {self.weight}')
        scale, coeff = self.scale, self.coefficient
        out: dict[str, Tensor] = {}
        for key, features in (
            ('spatial', spatial), ('temporal_image', temporal), ('temporal_instance', instances),
        ):  # fmt: skip
            width = getattr(getattr(self, key), 'in_channels', None)
            if features is not None and width not in (None, features.shape[1]):
                raise ConfigError(
                    f'model.adaptation.{key}.in_channels is {width}, but the features have'
                    f' {features.shape[1]} channels'
                )

        def add(
            name: str,
            logits: Tensor,
            loss: Tensor,
            index: Tensor | None = None,
            mask: Tensor | None = None,
        ) -> None:
            out[f'loss_da_{name}'] = scale * loss
            for domain, accuracy in domain_accuracy(logits, domains, index, mask).items():
                out[f'acc_da_{name}_{domain}'] = accuracy

        if self.spatial is not None:
            features = grad_reverse(spatial, coeff)
            # a discriminator of one's own need not know of padding while there is none
            padding = () if spatial_extents is None else (spatial_extents,)
            logits = self.spatial(features, *padding)
            add('spatial', logits, self.spatial_loss(logits, domains))
        if self.temporal_image is not None:
            logits = self.temporal_image(grad_reverse(temporal, coeff))
            mask = None if temporal_extents is None else valid_mask(temporal_extents, logits)
            loss = self.temporal_image_loss(
                logits, domains, map_reduction=self.map_reduction, mask=mask
            )
            add('timg', logits, loss, mask=mask)
        if self.temporal_instance is not None:
            if instances is None:
                raise ValueError('`temporal_instance` is on and needs the vectors `instances`')
            logits = self.temporal_instance(grad_reverse(instances, coeff))
            loss = self.temporal_instance_loss(
                logits,
                domains,
                map_reduction=self.instance_reduction,
                image_index=image_index,
            )
            add('tinst', logits, loss, image_index)
        out['da_lambda'] = spatial.new_tensor(self.weight, dtype=torch.float32)
        return out
