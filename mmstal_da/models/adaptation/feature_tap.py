"""Features from inside a network, for discriminators that align an earlier layer."""

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
        self._caught: Tensor | None = None
        self.module.register_forward_hook(self._catch)

    def _catch(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if torch.is_grad_enabled():
            self._caught = output

    def take(self) -> Tensor:
        """The layer's last output, for a clip averaged over time: ``(N, C, h, w)``.

        Raises:
            RuntimeError: No gradient flows into the layer, so there is nothing to adapt.
        """
        caught, self._caught = self._caught, None
        if caught is None or not caught.requires_grad:
            raise RuntimeError(
                f'{self.key}: no gradient reaches {self.layer!r}, or what is before it is frozen, '
                'so the discriminator can change nothing; tap a later layer or freeze fewer'
            )
        return caught.mean(2) if caught.dim() == 5 else caught
