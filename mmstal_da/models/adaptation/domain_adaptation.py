"""The three adaptation modules together: L_adv of Eq. 6 and its weight lambda of Eq. 7."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseModule
from torch import Tensor

from mmstal_da.errors import ConfigError
from mmstal_da.models.layers.batch_layout import Extents, valid_mask
from mmstal_da.registry import MODELS
from mmstal_da.utils.values import check_values, choice, number, whole

from .functional import REDUCTIONS, domain_accuracy, grad_reverse
from .gradients import MODULES, LossDict, gradient_norms

NO_CAP = torch.finfo(torch.float32).max  # not infinite: a training stops on infinite numbers
LAMBDA_MODES = ('loss_weight', 'grl_coefficient', 'gradient_cap')


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
            ``'gradient_cap'`` is the same with a lambda per module, which is less where the
            reversed gradient would be stronger than ``max_share`` of the detection's **[derived]**.
            Under AdamW, whose steps do not know a loss's scale, the first two differ by its ``eps``
            and by gradient clipping alone; a learning rate of the discriminators' own
            (``optim_wrapper.paramwise_cfg``) changes how fast they learn.
        max_share: Of ``'gradient_cap'``: the norm of a reversed gradient at its feature map, at
            most, as a share of the norm of the detection losses' gradient there.
        cap_interval: Of ``'gradient_cap'``: training steps between two measures of the norms.
        weight: lambda. :class:`AdaptationWeightHook` sets it before every iteration.
        num_proposals: Proposals per image that D_Tinst sees, the best by objectness. They are
            chosen in the same way on both domains **[derived]**. If the source's were the sampled
            RoIs, with their share of positives, the discriminator could learn to recognise the
            sampling instead of the domain.
        init_cfg: MMEngine initialisation.

    Raises:
        ValueError: No module is on, or a key is out of range.
    """

    caps: Tensor
    steps: Tensor
    value_rules = dict(
        map_reduction=choice(*REDUCTIONS),
        instance_reduction=choice(*REDUCTIONS),
        lambda_mode=choice(*LAMBDA_MODES),
        weight=number(0),
        max_share=number(above=0),
        cap_interval=whole(),
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
        max_share: float = 0.3,
        cap_interval: int = 20,
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
        self.max_share = max_share
        self.cap_interval = cap_interval
        if lambda_mode == 'gradient_cap':  # a resumed training goes on with the same caps
            self.register_buffer('caps', torch.full((len(MODULES),), NO_CAP))
            self.register_buffer('steps', torch.zeros((), dtype=torch.long))

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

    def coefficient_of(self, name: str) -> float:
        """Factor of the reversed gradient of ``'spatial'``, ``'timg'`` or ``'tinst'``."""
        if self.lambda_mode != 'gradient_cap':
            return self.coefficient
        return min(self.weight, float(self.caps[list(MODULES).index(name)]))

    def measure_caps(self, losses: LossDict, maps: Mapping[str, Tensor]) -> None:
        """With ``'gradient_cap'``, set the caps of the next steps, every ``cap_interval`` steps.

        The cap of a module is the lambda at which its reversed gradient would have ``max_share`` of
        the detection's norm. It lowers lambda and never raises it: a discriminator that guesses has
        a small gradient, and a larger lambda would keep it guessing. A cap moves half of the way to
        a new measure. Where no gradient arrives, it stays as it was.

        Args:
            losses: Of this step, with the detection's.
            maps: ``SF`` and ``TF1``, or the layers that are tapped instead, by discriminator.
        """
        if self.lambda_mode != 'gradient_cap':
            return
        self.steps += 1
        if (int(self.steps) - 1) % self.cap_interval or not self.weight:
            return
        norms = gradient_norms(losses, maps)
        rows = [norms.get(name, (None, None)) for name in MODULES]
        pulled = torch.tensor([[x or 0.0 for x in row] for row in rows], device=self.caps.device)
        all_reduce(pulled)  # all processes set the same caps
        for place, (name, (task, reverse)) in enumerate(zip(MODULES, pulled.tolist(), strict=True)):
            if task and reverse:
                cap = self.coefficient_of(name) * self.max_share * task / reverse
                before = float(self.caps[place])
                self.caps[place] = cap if before >= NO_CAP else (before + cap) / 2

    @property
    def needs_instances(self) -> bool:
        """Whether proposals must be passed through TF2 for D_Tinst."""
        return self.temporal_instance is not None

    @property
    def needs_classes(self) -> bool:
        """Whether D_Tinst also takes the probabilities of the proposals' classes."""
        return getattr(self.temporal_instance, 'takes_classes', False)

    def forward(
        self,
        spatial: Tensor,
        temporal: Tensor,
        domains: Tensor,
        instances: Tensor | None = None,
        image_index: Tensor | None = None,
        spatial_extents: Extents | None = None,
        temporal_extents: Extents | None = None,
        probabilities: Tensor | None = None,
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
            probabilities: ``(R, C + 1)`` of the proposals' classes, the background last; with
                :attr:`needs_classes`.

        Returns:
            ``loss_da_spatial``, ``loss_da_timg``, ``loss_da_tinst`` of the modules that are on;
            each one's accuracy per domain (``acc_da_spatial_source``, …) and ``da_lambda``; with
            ``'gradient_cap'`` also every module's own (``da_lambda_spatial``, …).
        """
        if not math.isfinite(self.weight) or self.weight < 0:
            raise ValueError(f'the adaptation weight must be finite and >= 0, got {self.weight}')
        scale = self.scale
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
            features = grad_reverse(spatial, self.coefficient_of('spatial'))
            # a discriminator of one's own need not know of padding while there is none
            padding = () if spatial_extents is None else (spatial_extents,)
            logits = self.spatial(features, *padding)
            add('spatial', logits, self.spatial_loss(logits, domains))
        if self.temporal_image is not None:
            logits = self.temporal_image(grad_reverse(temporal, self.coefficient_of('timg')))
            mask = None if temporal_extents is None else valid_mask(temporal_extents, logits)
            loss = self.temporal_image_loss(
                logits, domains, map_reduction=self.map_reduction, mask=mask
            )
            add('timg', logits, loss, mask=mask)
        if self.temporal_instance is not None:
            if instances is None:
                raise ValueError('`temporal_instance` is on and needs the vectors `instances`')
            features = grad_reverse(instances, self.coefficient_of('tinst'))
            classes = (probabilities,) if self.needs_classes else ()
            logits = self.temporal_instance(features, *classes)
            loss = self.temporal_instance_loss(
                logits,
                domains,
                map_reduction=self.instance_reduction,
                image_index=image_index,
            )
            add('tinst', logits, loss, image_index)
        out['da_lambda'] = spatial.new_tensor(self.weight, dtype=torch.float32)
        if self.lambda_mode == 'gradient_cap':
            for name, attribute in MODULES.items():
                if getattr(self, attribute) is not None:
                    own = spatial.new_tensor(self.coefficient_of(name), dtype=torch.float32)
                    out[f'da_lambda_{name}'] = own
        return out
