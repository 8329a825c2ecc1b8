"""Batch norm with one set of statistics per domain and one scale and bias for both.

A joint batch of source and target normalised by common statistics leaves each domain with the
other's offset, and statistics of the source alone do not fit the target (AdaBN, Li et al., 2016;
domain-specific batch norm, Chang et al., CVPR 2019).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

DOMAINS = ('source', 'target')


class DomainNorm:
    """What the layers of one model share: which rows of a batch are the target's.

    Args:
        test_domain: Whose statistics are used outside :meth:`joint`: at inference.
    """

    def __init__(self, test_domain: str = 'target') -> None:
        if test_domain not in DOMAINS:
            raise ValueError(f'domain_norm is one of {DOMAINS}, not {test_domain!r}')
        self.test_domain = test_domain
        self.num_source: int | None = None

    @contextmanager
    def joint(self, num_source: int) -> Iterator[None]:
        """Within, the first ``num_source`` rows of a batch are source, any others target."""
        before, self.num_source = self.num_source, num_source
        try:
            yield
        finally:
            self.num_source = before

    def rows(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """The rows of each domain that has any."""
        if self.num_source is None:
            return [(self.test_domain, x)]
        parts = (('source', x[: self.num_source]), ('target', x[self.num_source :]))
        return [(domain, part) for domain, part in parts if part.shape[0]]


class _DomainBatchNorm:
    """The part that 2D and 3D share; a mix-in before a batch norm of torch.

    Training normalises each domain by its own batch statistics. In eval mode (frozen stages,
    ``norm_eval``) the running statistics are used, and within :meth:`DomainNorm.joint` the
    target's still follow its batches, while the source's stay as they are: what is frozen still
    gets to know the target.

    State: batch norm's own, whose running statistics are the source's, and
    ``target_running_mean``, ``target_running_var``. Weights without the latter, such as
    pretrained ones, start the target from the source's.
    """

    norm: DomainNorm

    def set_domain_norm(self, norm: DomainNorm) -> None:
        """Add the target's statistics."""
        self.norm = norm
        self.register_buffer('target_running_mean', self.running_mean.clone())
        self.register_buffer('target_running_var', self.running_var.clone())

    def _statistics(self, domain: str) -> tuple[Tensor, Tensor]:
        if domain == 'source':
            return self.running_mean, self.running_var
        return self.target_running_mean, self.target_running_var

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, …)``, every row by its domain's statistics."""
        parts = [self._normalise(part, domain) for domain, part in self.norm.rows(x)]
        if not parts:
            return x
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _normalise(self, x: Tensor, domain: str) -> Tensor:
        mean, var = self._statistics(domain)
        if not self.training and domain == 'target' and self.norm.num_source is not None:
            self._follow(x)
        return nn.functional.batch_norm(
            x, mean, var, self.weight, self.bias, self.training, self.momentum, self.eps
        )

    @torch.no_grad()
    def _follow(self, x: Tensor) -> None:
        """Move the target's running statistics towards a batch."""
        axes = [axis for axis in range(x.ndim) if axis != 1]
        var, mean = torch.var_mean(x.float(), dim=axes, correction=0)
        self.target_running_mean.lerp_(mean, self.momentum)
        self.target_running_var.lerp_(var, self.momentum)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        for name in ('running_mean', 'running_var'):
            if f'{prefix}{name}' in state_dict:
                state_dict.setdefault(f'{prefix}target_{name}', state_dict[f'{prefix}{name}'])
        super()._load_from_state_dict(state_dict, prefix, *args)


class DomainBatchNorm2d(_DomainBatchNorm, nn.BatchNorm2d):
    """Of maps ``(N, C, H, W)``."""


class DomainBatchNorm3d(_DomainBatchNorm, nn.BatchNorm3d):
    """Of clips ``(N, C, T, H, W)``."""


KINDS = {nn.BatchNorm2d: DomainBatchNorm2d, nn.BatchNorm3d: DomainBatchNorm3d}


def convert(module: nn.Module, norm: DomainNorm) -> int:
    """Give every batch norm of a module per-domain statistics, in place.

    Args:
        module: Its batch norms are replaced; weights, names and modes stay.
        norm: Shared by the new layers.

    Returns:
        Number of layers.
    """
    count = 0
    for child_name, child in list(module.named_children()):
        kind = KINDS.get(type(child))
        if kind is None:
            count += convert(child, norm)
            continue
        layer = kind(child.num_features, child.eps, child.momentum, affine=child.affine)
        layer.set_domain_norm(norm)
        layer.load_state_dict(child.state_dict())
        for name, parameter in child.named_parameters():
            getattr(layer, name).requires_grad_(parameter.requires_grad)
        layer.train(child.training)
        setattr(module, child_name, layer)
        count += 1
    return count
