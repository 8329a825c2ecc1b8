"""Features from inside a network, for discriminators that align an earlier layer."""

from typing import Any

import torch
from torch import Tensor, nn


class FeatureTap:
    """Keeps the output of one layer of a network in every forward pass with gradients.

    Args:
        network: The network, e.g. SF.
        layer: Name of one of its submodules, e.g. ``'layer2'`` or ``'Mixed_3c'``.
        key: The config key that requested it, for messages.

    Raises:
        ValueError: The network has no such layer.
    """

    def __init__(self, network: nn.Module, layer: str, key: str) -> None:
        layers = dict(network.named_modules())
        if not layer or layer not in layers:
            outer = ', '.join(name for name, _ in network.named_children())
            raise ValueError(
                f'{key}: {type(network).__name__} has no layer {layer!r}; it has {outer}, and '
                'layers within these as named_modules() calls them'
            )
        self.layer = layer
        self.module = layers[layer]
        self.key = key
        self._caught: Any = None
        self.module.register_forward_hook(self._catch)

    def _catch(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if torch.is_grad_enabled():
            self._caught = output

    def take(self) -> Tensor:
        """The layer's last output, for a clip averaged over time: ``(N, C, h, w)``.

        Raises:
            RuntimeError: The layer gives no map, or no gradient flows into it, so that there is
                nothing to adapt.
        """
        caught, self._caught = self._caught, None
        if caught is not None and (not isinstance(caught, Tensor) or caught.dim() not in (4, 5)):
            shape = tuple(caught.shape) if isinstance(caught, Tensor) else type(caught).__name__
            raise RuntimeError(
                f'{self.key}: {self.layer!r} gives {shape}, no map (N, C, h, w) or (N, C, T, h, w);'
                ' tap another layer, such as a stage of a convolutional network'
            )
        if caught is None or not caught.requires_grad:
            raise RuntimeError(
                f'{self.key}: no gradient reaches {self.layer!r}, or what is before it is frozen, '
                'so the discriminator can change nothing; tap a later layer or freeze fewer'
            )
        return caught.mean(2) if caught.dim() == 5 else caught
