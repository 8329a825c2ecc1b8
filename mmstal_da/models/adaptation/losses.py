"""The domain losses as modules, for use in configs."""

from torch import Tensor, nn

from mmstal_da.registry import MODELS
from mmstal_da.utils.values import check_values, number

from .functional import domain_bce, domain_focal


@MODELS.register_module()
class DomainBCELoss(nn.Module):
    """Binary cross-entropy per domain, Eqs. 4 and 5; see :func:`functional.domain_bce`."""

    def forward(self, logits: Tensor, domains: Tensor, **kwargs) -> Tensor:
        """Scalar loss; the arguments are :func:`functional.domain_bce`'s."""
        return domain_bce(logits, domains, **kwargs)


@MODELS.register_module()
class DomainFocalLoss(nn.Module):
    """Focal loss per domain **[derived]**; see :func:`functional.domain_focal`.

    Args:
        gamma: Focusing exponent.
    """

    value_rules = dict(gamma=number(0))

    def __init__(self, gamma: float = 5.0) -> None:
        check_values(self.value_rules, locals())
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, domains: Tensor, **kwargs) -> Tensor:
        """Scalar loss; the arguments are :func:`functional.domain_focal`'s."""
        return domain_focal(logits, domains, gamma=self.gamma, **kwargs)
