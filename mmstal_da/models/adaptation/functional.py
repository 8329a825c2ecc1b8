"""Domain-adversarial learning as functions: gradient reversal and the domain losses.

Logits are raw, before the sigmoid; p = sigmoid(logit) is the probability of "target". Domains are
0 (source) or 1 (target), one per image. All losses are computed in float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

REDUCTIONS = ('mean', 'sum')


class _GradReverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, coeff: float) -> Tensor:
        ctx.coeff = coeff
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return -ctx.coeff * grad, None


def grad_reverse(x: Tensor, coeff: float = 1.0) -> Tensor:
    """Gradient-reversal layer: the identity forward, ``-coeff`` times the gradient backward.

    Source: Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 2016.

    Args:
        x: Any tensor.
        coeff: Factor on the reversed gradient.

    Returns:
        A tensor equal to ``x``.
    """
    return _GradReverse.apply(x, coeff)


def domain_bce(
    logits: Tensor,
    domains: Tensor,
    map_reduction: str = 'mean',
    image_index: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of a domain discriminator, Eqs. 4 and 5 of the paper.

    ``-( 1/n_s sum_i sum_k (1-d_i) log(1-p_ik) + 1/n_t sum_j sum_k d_j log p_jk )``: k runs over
    the cells of a map (Eq. 4) or the proposals of an image (Eq. 5), n_s and n_t count the images
    of each domain in the batch. With ``map_reduction='mean'`` the inner sum is a mean, as in the
    public code of the works on which the paper builds **[derived]**.

    Args:
        logits: ``(N, …)``, one row per image; or ``(R,)``/``(R, 1)`` with ``image_index``.
        domains: ``(N,)``, 0 source, 1 target.
        map_reduction: ``'sum'`` (the equations to the letter) or ``'mean'`` over k.
        image_index: ``(R,)``, the image to which each row of ``logits`` belongs. An image without
            rows adds 0 and still counts in n_s or n_t.
        mask: As ``logits``, True where a cell counts (False: padding). Not with ``image_index``.

    Returns:
        A scalar. A domain absent from the batch adds 0.

    Raises:
        ValueError: Shapes, domains or the reduction do not fit.
    """
    per_element = _cross_entropy(logits, domains, image_index)
    return _reduce(per_element, domains, map_reduction, image_index, mask)


def domain_focal(
    logits: Tensor,
    domains: Tensor,
    gamma: float = 5.0,
    map_reduction: str = 'mean',
    image_index: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Focal loss of a domain discriminator **[derived]**: easy samples have little weight.

    ``-( 1/n_s sum_i p_i^gamma log(1-p_i) + 1/n_t sum_j (1-p_j)^gamma log p_j )``.
    Source: Saito et al., "Strong-Weak Distribution Alignment", CVPR 2019 (weak global alignment).

    Args:
        logits: As :func:`domain_bce`; for one logit per image ``(N,)`` or ``(N, 1)``.
        domains: ``(N,)``, 0 source, 1 target.
        gamma: Focusing exponent, >= 0. At 0 this is :func:`domain_bce`.
        map_reduction: As :func:`domain_bce`.
        image_index: As :func:`domain_bce`.
        mask: As :func:`domain_bce`.

    Returns:
        A scalar. A domain absent from the batch adds 0.

    Raises:
        ValueError: As :func:`domain_bce`, or a negative ``gamma``.
    """
    if gamma < 0:
        raise ValueError(f'domain_focal: gamma must be >= 0, got {gamma}')
    cross_entropy = _cross_entropy(logits, domains, image_index)
    # the probability of the wrong answer is 1 - exp(-cross entropy): p on source, 1-p on target
    wrong = -torch.expm1(-cross_entropy)
    # gamma = 0 is a separate case, to avoid the gradient of 0^0
    weighted = cross_entropy if gamma == 0 else wrong**gamma * cross_entropy
    return _reduce(weighted, domains, map_reduction, image_index, mask)


def domain_accuracy(
    logits: Tensor,
    domains: Tensor,
    image_index: Tensor | None = None,
    mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """Share of logits with the correct sign, per domain.

    Args:
        logits: As :func:`domain_bce`.
        domains: ``(N,)``, 0 source, 1 target.
        image_index: As :func:`domain_bce`.
        mask: As :func:`domain_bce`.

    Returns:
        ``{'source': scalar, 'target': scalar}``, without a domain that has no logits.
    """
    with torch.no_grad():
        d = _rowwise(logits, domains, image_index).expand_as(logits)
        right = (logits > 0) == (d > 0.5)
        if mask is not None:
            counts = mask.expand_as(logits)
            right, d = right[counts], d[counts]
        return {
            name: right[d == domain].float().mean()
            for domain, name in ((0, 'source'), (1, 'target'))
            if bool((d == domain).any())
        }


def _rowwise(logits: Tensor, domains: Tensor, image_index: Tensor | None) -> Tensor:
    """The domain of each row of ``logits``, shaped to broadcast over the rest of it."""
    if domains.ndim != 1 or not bool(((domains == 0) | (domains == 1)).all()):
        raise ValueError(
            f'domains must be a vector of 0 (source) and 1 (target), got {tuple(domains.shape)}: '
            f'{domains.unique().tolist()}'
        )
    if image_index is not None:
        if logits.shape[0] != image_index.shape[0] or logits.numel() != logits.shape[0]:
            raise ValueError(
                'with image_index, logits must be (R,) or (R, 1) for R indices, got '
                f'{tuple(logits.shape)} and {tuple(image_index.shape)}'
            )
        domains = domains[image_index]
    elif logits.shape[0] != domains.shape[0]:
        raise ValueError(f'{logits.shape[0]} rows of logits but {domains.shape[0]} domains')
    return domains.to(torch.float32).reshape(-1, *[1] * (logits.ndim - 1))


def _cross_entropy(logits: Tensor, domains: Tensor, image_index: Tensor | None) -> Tensor:
    """``-log(1-p)`` on source rows, ``-log p`` on target rows, without overflow."""
    d = _rowwise(logits, domains, image_index)
    return F.softplus(logits.float() * (1 - 2 * d))


def _reduce(
    values: Tensor,
    domains: Tensor,
    map_reduction: str,
    image_index: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    """Sum or mean within each image, mean over the images of a domain, sum over the domains."""
    if map_reduction not in REDUCTIONS:
        raise ValueError(f'map_reduction is one of {REDUCTIONS}, not {map_reduction!r}')
    n = domains.shape[0]
    if image_index is None:
        valid = torch.ones_like(values) if mask is None else mask.to(values).expand_as(values)
        per_image = (values * valid).reshape(n, -1).sum(1)  # (N,)
        count = valid.reshape(n, -1).sum(1)
    else:
        if mask is not None:
            raise ValueError('mask and image_index do not go together')
        per_image = values.new_zeros(n).index_add(0, image_index, values.reshape(-1))
        count = torch.bincount(image_index, minlength=n).to(values)
    if map_reduction == 'mean':
        per_image = per_image / count.clamp(min=1)
    target = domains.to(values)
    source = 1 - target
    return (per_image * source).sum() / source.sum().clamp(min=1) + (
        per_image * target
    ).sum() / target.sum().clamp(min=1)
