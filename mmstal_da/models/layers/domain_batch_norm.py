"""Batch norm with one set of statistics per domain and one scale and bias for both.

Common statistics of a joint batch leave an offset in each domain, caused by the other domain.
Statistics of the source alone do not fit the target (AdaBN, Li et al., 2016; domain-specific batch
norm, Chang et al., CVPR 2019).
"""

import sys
from contextlib import AbstractContextManager

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from .batch_layout import (
    BatchLayout,
    Extents,
    Layout,
    image_cells,
    is_recomputed,
    without_padding,
    zero_padding,
)

DOMAINS = ('source', 'target')
# for frozen layers: one clip says little about its domain, some 50 batches say enough
FROZEN_MOMENTUM = 0.02
RUNNING = ('running_mean', 'running_var', 'target_running_mean', 'target_running_var')
SEEN = ('source_seen_mean', 'source_seen_var', 'target_seen_mean', 'target_seen_var')
TARGET_BUFFERS = (*RUNNING[2:], *SEEN)


def source_buffer(name: str) -> str:
    """The batch-norm buffer from which an added buffer is initialised."""
    return f'running_{name.rsplit("_", 1)[1]}'


class DomainNorm(BatchLayout):
    """What the layers of one model share: which rows of a batch are the target's.

    Args:
        test_domain: The domain whose statistics are used outside :meth:`joint`: at inference.
    """

    def __init__(self, test_domain: str = 'target') -> None:
        super().__init__()
        if test_domain not in DOMAINS:
            raise ValueError(f'domain_norm is one of {DOMAINS}, not {test_domain!r}')
        self.test_domain = test_domain
        self.layers: list[_DomainBatchNorm] = []

    def source_only(self) -> AbstractContextManager[None]:
        """Inside this context, all rows of a batch are source."""
        return self.joint(sys.maxsize)

    def rows(self, x: Tensor, layout: Layout) -> list[tuple[str, Tensor, Extents | None]]:
        """The rows of each domain that has rows, and what their images cover of the map."""
        extents = layout.extents(*x.shape[-2:])
        if layout.num_source is None:
            return [(self.test_domain, x, extents)]
        parts = []
        for domain, rows in (
            ('source', slice(layout.num_source)),
            ('target', slice(layout.num_source, None)),
        ):
            if x[rows].shape[0]:
                parts.append((domain, x[rows], None if extents is None else extents[rows]))
        return parts

    def check(self, model: nn.Module) -> None:
        """Check that the layers are still those that the model computes with.

        Raises:
            RuntimeError: Something has replaced them, as MMEngine's ``sync_bn`` does.
        """
        there = {id(module) for module in model.modules()}
        gone = sum(id(layer) not in there for layer in self.layers)
        if gone:
            raise RuntimeError(
                f'model.domain_norm: {gone} of {len(self.layers)} layers with statistics per domain'
                ' were replaced after the model was built; remove the key sync_bn from the config.'
                ' The statistics per domain are averaged over the processes without it'
            )

    @torch.no_grad()
    def synchronise(self) -> None:
        """Average all statistics over the processes, in one collective call.

        Every process calls it after its forward pass, whatever was in its batch. So the statistics
        are the same in all processes, those that a checkpoint saves among them.
        """
        if get_world_size() == 1:
            return
        buffers = [getattr(layer, n) for layer in self.layers for n in layer.own_statistics()]
        flat = torch.cat([buffer.reshape(-1).float() for buffer in buffers])
        all_reduce(flat, 'mean')
        for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
            # not seen by autograd: a training norm's backward pass has batch statistics of its own
            buffer.data.copy_(mean.view_as(buffer))
        for layer in self.layers:
            if not layer.training:
                layer.derive_target()


def channel_statistics(x: Tensor, extents: Extents | None = None) -> tuple[Tensor, Tensor]:
    """Mean and variance of every channel, ``(C,)`` in float32.

    It computes ``E[x^2] - E[x]^2`` over rows of channels. On a channels-last map this is about ten
    times as fast as ``torch.var_mean``, which took a sixth of a step.

    Args:
        x: ``(N, C, …)``; N must not be 0.
        extents: What the images cover of the map; the rest does not count.
    """
    rows = image_cells(x, extents).float()
    mean = rows.mean(0)
    return mean, ((rows * rows).mean(0) - mean * mean).clamp_(min=0)


class _DomainBatchNorm(_BatchNorm):
    """The part that 2D and 3D share.

    Training normalises each domain by its own batch statistics.

    In eval mode (frozen stages, ``norm_eval``) the source is normalised by the unchanged running
    statistics. They need not be those of the source: a pretrained network's are those of its
    pretraining data. The target's are the running statistics, shifted by the difference between
    target and source,

        mean_t' = mean_t - (mean_s - mean) sqrt(var_t / var_s),   var_t' = var var_t / var_s,

    with running averages ``mean_s``, ``var_s``, ``mean_t``, ``var_t`` over the joint batches. So a
    target feature with the target's mean is treated as a source feature with the source's mean.
    Batches of one domain (RoIs sampled with labels, inference) change nothing, because the compared
    features must be chosen in the same way on both domains.

    State: batch norm's own state, with the source's running statistics, and
    ``target_running_mean`` and ``target_running_var``. In a frozen layer ``source_seen_mean`` and
    so on hold the running averages. If weights lack these buffers, as pretrained ones do, both
    domains start from the running statistics. Gradient checkpointing (``with_cp``) changes neither
    gradients nor statistics.
    """

    leaves_padding_out = True
    norm: DomainNorm
    running_mean: Tensor
    running_var: Tensor
    momentum: float
    target_running_mean: Tensor
    target_running_var: Tensor
    source_seen_mean: Tensor
    source_seen_var: Tensor
    target_seen_mean: Tensor
    target_seen_var: Tensor

    def set_domain_norm(self, norm: DomainNorm) -> None:
        """Add the target's statistics."""
        self.norm = norm
        self.used: dict[str, tuple[Tensor, Tensor]] = {}
        for name in TARGET_BUFFERS:
            self.register_buffer(name, getattr(self, source_buffer(name)).clone())

    def _statistics(self, domain: str) -> tuple[Tensor, Tensor]:
        if domain == 'source':
            return self.running_mean, self.running_var
        return self.target_running_mean, self.target_running_var

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, …)``, each row by its domain's statistics; padding becomes zero."""
        layout = self.norm.of(self)
        rows = self.norm.rows(x, layout)
        if not rows:
            return x
        if not self.training and not is_recomputed() and layout.num_source is not None:
            if len(rows) == 2:
                self._follow(*(part[1:] for part in rows))
            # the next batch may change them before backward reads them
            for domain, *_ in rows:
                mean, var = self._statistics(domain)
                self.used[domain] = mean.clone(), var.clone()
        parts = [self._normalise(*part, layout) for part in rows]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _normalise(self, domain: str, x: Tensor, extents: Extents | None, layout: Layout) -> Tensor:
        if not self.training:
            used = self._statistics(domain) if layout.num_source is None else self.used[domain]
            return zero_padding(self._batch_norm(x, *used), extents)
        # with gradient checkpointing backward computes the layer again: nothing is counted twice
        mean, var = self._statistics(domain)
        if is_recomputed():
            mean, var = mean.clone(), var.clone()
        if extents is None:
            return self._batch_norm(x, mean, var)
        cells, restore = without_padding(x, extents)
        return restore(self._batch_norm(cells, mean, var))

    def _batch_norm(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return nn.functional.batch_norm(
            x, mean, var, self.weight, self.bias, self.training, self.momentum, self.eps
        )

    @torch.no_grad()
    def _follow(
        self, source: tuple[Tensor, Extents | None], target: tuple[Tensor, Extents | None]
    ) -> None:
        """Update a frozen layer's statistics of the target with a batch of both domains."""
        for (x, extents), seen_mean, seen_var in (
            (source, self.source_seen_mean, self.source_seen_var),
            (target, self.target_seen_mean, self.target_seen_var),
        ):
            mean, var = channel_statistics(x, extents)
            seen_mean.lerp_(mean, FROZEN_MOMENTUM)
            seen_var.lerp_(var, FROZEN_MOMENTUM)
        self.derive_target()

    def own_statistics(self) -> tuple[str, ...]:
        """Names of the buffers that training updates and from which the others follow."""
        return RUNNING if self.training else SEEN

    @torch.no_grad()
    def derive_target(self) -> None:
        """The target's running statistics of a frozen layer from what was seen of both domains."""
        ratio = (self.target_seen_var + self.eps) / (self.source_seen_var + self.eps)
        offset = self.source_seen_mean - self.running_mean
        self.target_running_mean.copy_(self.target_seen_mean - offset * ratio.sqrt())
        self.target_running_var.copy_(ratio * (self.running_var + self.eps) - self.eps)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        for name in TARGET_BUFFERS:
            if f'{prefix}{source_buffer(name)}' in state_dict:
                state_dict.setdefault(
                    f'{prefix}{name}', state_dict[f'{prefix}{source_buffer(name)}']
                )
        super()._load_from_state_dict(state_dict, prefix, *args)


class DomainBatchNorm2d(_DomainBatchNorm, nn.BatchNorm2d):
    """For maps ``(N, C, H, W)``."""


class DomainBatchNorm3d(_DomainBatchNorm, nn.BatchNorm3d):
    """For clips ``(N, C, T, H, W)``."""


NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)
LAYERS: dict[type[nn.Module], type[_DomainBatchNorm]] = {
    nn.BatchNorm2d: DomainBatchNorm2d,
    nn.BatchNorm3d: DomainBatchNorm3d,
}


def convert_batch_norm(module: nn.Module, norm: DomainNorm, key: str = 'the network') -> int:
    """Give every batch norm of a module per-domain statistics, in place.

    Args:
        module: Its batch norms are replaced; weights, names and modes stay the same.
        norm: Shared by the new layers.
        key: Of the module in the config, for messages.

    Returns:
        Number of layers.

    Raises:
        ValueError: The module has another kind of norm with statistics of the batch, or no batch
            norm at all, so that nothing would be kept per domain.
    """
    others = {
        f'{name} ({type(child).__name__})'
        for name, child in module.named_modules()
        if isinstance(child, NORMS) and type(child) not in LAYERS
    }
    kinds = {name: type(child) for name, child in module.named_modules()}
    batch = sorted(name for name in others if issubclass(kinds[name.split(' ')[0]], _BatchNorm))
    if batch:
        raise ValueError(
            f'model.domain_norm keeps statistics per domain in layers of BN; {key} has'
            f" {len(batch)} others, such as {batch[0]}. Set its norm_cfg to dict(type='BN'): the"
            ' statistics per domain are averaged over the processes without SyncBN'
        )
    count = _convert(module, norm)
    if not count:
        found = f', only others such as {min(others)}' if others else ''
        raise ValueError(
            f'model.domain_norm keeps statistics per domain in layers of BN; {key} has none{found}.'
            " Set its norm_cfg to dict(type='BN'), or model.domain_norm=None"
        )
    return count


def _convert(module: nn.Module, norm: DomainNorm) -> int:
    count = 0
    for child_name, child in list(module.named_children()):
        kind = LAYERS.get(type(child))
        if kind is None or not isinstance(child, _BatchNorm):
            count += _convert(child, norm)
            continue
        layer = kind(child.num_features, child.eps, child.momentum, affine=child.affine)
        layer.set_domain_norm(norm)
        layer.load_state_dict(child.state_dict())
        for name, parameter in child.named_parameters():
            getattr(layer, name).requires_grad_(parameter.requires_grad)
        layer.train(child.training)
        setattr(module, child_name, layer)
        norm.layers.append(layer)
        count += 1
    return count
