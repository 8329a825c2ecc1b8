"""How strongly detection and discriminators pull at a feature map, in one training step."""

from collections.abc import Mapping

import torch
from torch import Tensor

LossDict = Mapping[str, Tensor | list[Tensor]]
MODULES = {'spatial': 'spatial', 'timg': 'temporal_image', 'tinst': 'temporal_instance'}
"""Discriminator in the keys of losses -> attribute of ``model.adaptation``."""

MAPS = {'spatial': 'SF', 'timg': 'TF1', 'tinst': 'TF1'}
"""Discriminator -> the map at which its reversed gradient arrives, if it taps no other layer."""


def gradient_norm(loss: Tensor, feature_map: Tensor, loss_scale: float = 1.0) -> float | None:
    """Norm of a loss's gradient at a feature map; the graph is kept for the step's own backward.

    No parameter gets a gradient, and nothing before the map is computed.

    Args:
        loss: Scalar.
        feature_map: A tensor that the loss was computed from.
        loss_scale: Factor that keeps gradients in float16 from vanishing; the norm is without it.

    Returns:
        The L2 norm over all images; None if no gradient of the loss reaches the map.
    """
    if not (loss.requires_grad and feature_map.requires_grad):
        return None
    with torch.autocast(feature_map.device.type, enabled=False):
        (grad,) = torch.autograd.grad(
            loss * loss_scale, feature_map, retain_graph=True, allow_unused=True
        )
    return None if grad is None else grad.float().norm().item() / loss_scale


def gradient_shares(
    losses: LossDict, places: Mapping[str, tuple[str, Tensor]], loss_scale: float = 1.0
) -> dict[str, float]:
    """How strongly each discriminator pulls at the features, compared with the detection losses.

    Args:
        losses: What ``DomainAdaptiveDetector.loss`` returns; lambda is in the losses already, or in
            their reversed gradients.
        places: Discriminator (``spatial``, ``timg``, ``tinst``) -> name of the feature map at which
            its reversed gradient arrives, and the map.
        loss_scale: See :func:`gradient_norm`.

    Returns:
        ``{'<discriminator>_<map>': share}``, the norm of the reversed gradient over the norm of the
        gradient of all detection losses. 1 is equally strong. A share that cannot be formed, since
        no gradient arrives or the detection's is 0, is left out.
    """
    maps = {name: feature_map for name, (_, feature_map) in places.items()}
    norms = gradient_norms(losses, maps, loss_scale)
    return {
        f'{name}_{places[name][0]}': reverse / task
        for name, (task, reverse) in norms.items()
        if task and reverse is not None
    }


def gradient_norms(
    losses: LossDict, maps: Mapping[str, Tensor], loss_scale: float = 1.0
) -> dict[str, tuple[float | None, float | None]]:
    """Of every discriminator: norms of the detection's and of its reversed gradient at its map.

    Args:
        losses: As :func:`gradient_shares`.
        maps: Discriminator -> its map.
        loss_scale: See :func:`gradient_norm`.
    """
    detection = total(value for key, value in losses.items() if is_detection_loss(key))
    at_map: dict[int, float | None] = {}
    norms = {}
    for name, feature_map in maps.items():
        if id(feature_map) not in at_map:
            at_map[id(feature_map)] = gradient_norm(detection, feature_map, loss_scale)
        reverse = gradient_norm(total([losses[f'loss_da_{name}']]), feature_map, loss_scale)
        norms[name] = at_map[id(feature_map)], reverse
    return norms


def is_detection_loss(key: str) -> bool:
    """Whether a key of the model's losses is one of L_act."""
    return 'loss' in key and not key.startswith('loss_da_')


def total(losses) -> Tensor:
    """Sum of losses; some are lists of one tensor per level."""
    flat = [part for loss in losses for part in (loss if isinstance(loss, list) else [loss])]
    return torch.stack([part.mean() for part in flat]).sum()
