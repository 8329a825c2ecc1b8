"""Inception-v1 I3D (Carreira & Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017)."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from mmstal_da.models.layers.batch_layout import is_recomputed
from mmstal_da.registry import MODELS
from mmstal_da.utils.values import SWITCH, check_values, number, optional, whole

from .clip_windows import ClipWindows, covered_steps, expand, run_unit
from .inception_blocks import InceptionModule, MaxPool3dSame, Unit3D

# name: ('unit', channels, kernel, stride) | ('pool', kernel, stride) | ('mixed', branch widths)
# Order and numbers are those of the paper's Inception-v1; strides are (t, h, w).
ENDPOINTS: dict[str, tuple] = {
    'Conv3d_1a_7x7': ('unit', 64, (7, 7, 7), (2, 2, 2)),
    'MaxPool3d_2a_3x3': ('pool', (1, 3, 3), (1, 2, 2)),
    'Conv3d_2b_1x1': ('unit', 64, (1, 1, 1), (1, 1, 1)),
    'Conv3d_2c_3x3': ('unit', 192, (3, 3, 3), (1, 1, 1)),
    'MaxPool3d_3a_3x3': ('pool', (1, 3, 3), (1, 2, 2)),
    'Mixed_3b': ('mixed', (64, 96, 128, 16, 32, 32)),
    'Mixed_3c': ('mixed', (128, 128, 192, 32, 96, 64)),
    'MaxPool3d_4a_3x3': ('pool', (3, 3, 3), (2, 2, 2)),
    'Mixed_4b': ('mixed', (192, 96, 208, 16, 48, 64)),
    'Mixed_4c': ('mixed', (160, 112, 224, 24, 64, 64)),
    'Mixed_4d': ('mixed', (128, 128, 256, 24, 64, 64)),
    'Mixed_4e': ('mixed', (112, 144, 288, 32, 64, 64)),
    'Mixed_4f': ('mixed', (256, 160, 320, 32, 128, 128)),
    'MaxPool3d_5a_2x2': ('pool', (2, 2, 2), (2, 2, 2)),
    'Mixed_5b': ('mixed', (256, 160, 320, 32, 128, 128)),
    'Mixed_5c': ('mixed', (384, 192, 384, 48, 128, 128)),
}

SHARED = 3  # endpoints that overlapping clips share: the next one would copy more than it spares


def scaled(channels: int, width: float) -> int:
    """Channels times the width multiplier, at least 1."""
    return max(1, round(channels * width))


def endpoint_channels(name: str, width: float = 1.0, in_channels: int = 3) -> int:
    """Channels of the feature map at an endpoint (of the layer before it, for a pool)."""
    channels = in_channels
    for endpoint, (kind, *spec) in ENDPOINTS.items():
        if kind == 'unit':
            channels = scaled(spec[0], width)
        elif kind == 'mixed':
            channels = sum(scaled(spec[0][branch], width) for branch in (0, 2, 4, 5))
        if endpoint == name:
            return channels
    raise ValueError(f'{name!r} is no endpoint of I3D; the endpoints are {", ".join(ENDPOINTS)}')


def build_endpoints(
    names: Iterable[str], in_channels: int, width: float
) -> dict[str, Unit3D | MaxPool3dSame | InceptionModule]:
    """Build consecutive endpoints.

    Args:
        names: Names in order; each takes the output of the one before it.
        in_channels: Channels into the first.
        width: Multiplier of every layer's channels.
    """
    layers: dict[str, Unit3D | MaxPool3dSame | InceptionModule] = {}
    for name in names:
        kind, *spec = ENDPOINTS[name]
        if kind == 'unit':
            channels, kernel, stride = spec
            layers[name] = Unit3D(in_channels, scaled(channels, width), kernel, stride)
            in_channels = scaled(channels, width)
        elif kind == 'pool':
            layers[name] = MaxPool3dSame(*spec)
        else:
            module = InceptionModule(in_channels, [scaled(c, width) for c in spec[0]])
            layers[name], in_channels = module, module.out_channels
    return layers


class EndpointSequence(BaseModule):
    """Some consecutive endpoints of I3D, which can be frozen.

    Args:
        names: The endpoints, in order.
        in_channels: Channels into the first.
        width: Multiplier of every layer's channels.
        norm_eval: Keep batch norm on its running statistics in training.
        norm_momentum: Share of a batch in the running statistics. In a short training from random
            weights use 0.1, so that they can follow.
        frozen: Number of leading endpoints whose parameters do not train.
        with_cp: Gradient checkpointing of the endpoints that train: backward computes each again
            from its input. Less memory, more time; gradients and statistics are the same.
        init_cfg: MMEngine initialisation.
    """

    value_rules = dict(
        in_channels=whole(),
        width=number(above=0),
        num_classes=optional(whole()),
        norm_eval=SWITCH,
        norm_momentum=number(above=0, most=1),
        with_cp=SWITCH,
    )

    def __init__(
        self,
        names: Iterable[str],
        in_channels: int,
        width: float = 1.0,
        norm_eval: bool = False,
        norm_momentum: float = 0.01,
        frozen: int = 0,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        check_values(self.value_rules, locals())
        super().__init__(init_cfg=init_cfg)
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.endpoint_names = list(names)
        for name, layer in build_endpoints(self.endpoint_names, in_channels, width).items():
            self.add_module(name, layer)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.momentum = norm_momentum
        self.frozen_names = self.endpoint_names[:frozen]
        for name in self.frozen_names:
            getattr(self, name).requires_grad_(False)
        # CPU and GPU convolve fastest in this layout; copying weights into it keeps it
        self.to(memory_format=torch.channels_last_3d)

    def train(self, mode: bool = True) -> 'EndpointSequence':
        """As :meth:`torch.nn.Module.train`; kept or frozen batch norm stays in eval mode."""
        super().train(mode)
        kept = [self] if self.norm_eval else [getattr(self, name) for name in self.frozen_names]
        for module in kept:
            for layer in module.modules():
                if isinstance(layer, nn.BatchNorm3d):
                    layer.eval()
        return self

    def run_endpoints(self, x: Tensor, first: int = 0) -> Tensor:
        """The endpoints from the ``first`` on, one after another."""
        for name in self.endpoint_names[first:]:
            layer = getattr(self, name)
            if self.with_cp and torch.is_grad_enabled() and name not in self.frozen_names:
                # to the end: a hook of a layer that is left in the middle would not be undone
                with set_checkpoint_early_stop(False):
                    x = checkpoint(
                        _compute, layer, x, use_reentrant=False, preserve_rng_state=False
                    )
            else:
                x = layer(x)
        return x


def _compute(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer's output; if backward computes it again, nothing is counted twice."""
    if not is_recomputed():
        return layer(x)
    with _statistics_kept(layer):
        return layer(x)


@contextmanager
def _statistics_kept(layer: nn.Module) -> Iterator[None]:
    """Batch norm normalises as it does, and leaves its running statistics as they are."""
    norms = [part for part in layer.modules() if isinstance(part, nn.BatchNorm3d) and part.training]
    counts = [part.get_buffer('num_batches_tracked') for part in norms]
    before = [(part.momentum, count.clone()) for part, count in zip(norms, counts, strict=True)]
    for part in norms:
        part.momentum = 0.0
    try:
        yield
    finally:
        for part, count, (momentum, value) in zip(norms, counts, before, strict=True):
            part.momentum = momentum
            count.copy_(value)


@MODELS.register_module()
class InceptionI3D(EndpointSequence):
    """Inception-v1 I3D up to a named endpoint.

    Parameter names are those of the public PyTorch port, so its ``rgb_imagenet.pt`` loads
    unchanged. Padding is TensorFlow's "SAME": every output axis is ``ceil(size / stride)`` long.
    At ``Mixed_4f`` (the default, [derived]) the strides are (4, 16, 16) and the width is 832.

    Args:
        end_point: The last layer, one of ``ENDPOINTS``, or ``'Logits'`` for the classifier.
        width: Multiplier of every layer's channels; 1 is the paper's network.
        in_channels: Channels of the clip.
        num_classes: Classes of the classifier, with ``end_point='Logits'``.
        norm_eval: Keep batch norm on its running statistics in training.
        norm_momentum: Share of a batch in the running statistics.
        frozen_end_point: Parameters up to this endpoint do not train. ``None`` freezes nothing.
        with_cp: Gradient checkpointing of the other endpoints: less memory, more time.
        init_cfg: MMEngine initialisation, e.g. ``dict(type='StrictPretrained', …)``.

    Raises:
        ValueError: An endpoint is unknown, or a classifier has no ``num_classes``.
    """

    def __init__(
        self,
        end_point: str = 'Mixed_4f',
        width: float = 1.0,
        in_channels: int = 3,
        num_classes: int | None = None,
        norm_eval: bool = False,
        norm_momentum: float = 0.01,
        frozen_end_point: str | None = None,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        check_values(self.value_rules, locals())
        names = list(ENDPOINTS)
        last = 'Mixed_5c' if end_point == 'Logits' else end_point
        for name in (last, frozen_end_point):
            if name is not None and name not in ENDPOINTS:
                raise ValueError(
                    f'{name!r} is no endpoint of I3D; the endpoints are {", ".join(names)}, Logits'
                )
        if (end_point == 'Logits') != (num_classes is not None):
            raise ValueError("InceptionI3D: num_classes goes with end_point='Logits'")
        frozen = 0 if frozen_end_point is None else names.index(frozen_end_point) + 1
        super().__init__(
            names[: names.index(last) + 1],
            in_channels,
            width,
            norm_eval,
            norm_momentum,
            frozen,
            with_cp,
            init_cfg,
        )
        self.out_channels = endpoint_channels(last, width, in_channels)
        self.logits = None
        if num_classes is not None:
            self.logits = Unit3D(self.out_channels, num_classes, use_bn=False)

    def forward(self, clip: Tensor | ClipWindows) -> Tensor:
        """Features of a clip.

        Args:
            clip: ``(N, 3, T, H, W)``, RGB in [-1, 1]; or, at inference, clips that share frames.
                Then the layers up to ``Conv3d_2b_1x1`` compute once what several clips have in
                common.

        Returns:
            ``(N, out_channels, ceil(T/4), ceil(H/16), ceil(W/16))`` at ``Mixed_4f``;
            ``(N, num_classes)``, averaged over time and space, at ``Logits``.
        """
        if isinstance(clip, ClipWindows):
            shared = SHARED if self._is_worth_sharing(clip) else 0
            for name in self.endpoint_names[:shared]:
                clip = run_unit(getattr(self, name), clip)
            x = expand(clip).contiguous(memory_format=torch.channels_last_3d)
            x = self.run_endpoints(x, len(self.endpoint_names[:shared]))
        else:
            x = self.run_endpoints(clip.contiguous(memory_format=torch.channels_last_3d))
        if self.logits is None:
            return x
        # average pool of 2 over time, the whole map over space, then the mean over time
        x = nn.functional.avg_pool3d(x, (min(2, x.shape[2]), *x.shape[3:]), stride=1)
        return self.logits(x).flatten(2).mean(2)

    @staticmethod
    def _is_worth_sharing(clips: ClipWindows) -> bool:
        """Whether the first layer has few outputs that differ; in clips of 8 frames most do."""
        _, _, kernel, stride = ENDPOINTS['Conv3d_1a_7x7']
        outputs = covered_steps(clips.index, kernel[0], stride[0]).reshape(-1, kernel[0])
        return len(np.unique(outputs, axis=0)) < 0.7 * len(outputs)
