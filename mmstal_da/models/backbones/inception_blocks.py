"""The building blocks of the Inception-v1 I3D network, with TensorFlow's "SAME" padding.

Every block takes a clip ``(N, C, T, H, W)`` or a single time step ``(N, C, H, W)``. The second is
the first with T = 1, computed in two dimensions. Over a length-1 axis only the centre slice of a
kernel covers anything but padding. So the result is the same and costs a third.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME" padding of one axis: the output has ``ceil(size / stride)`` entries.

    Args:
        size: Length of the axis.
        kernel: Length of the kernel.
        stride: Stride.

    Returns:
        Number of zeros before and after; if the total is odd, one more after.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Pad the trailing ``len(kernel)`` axes of ``x`` for a "SAME" operation.

    The operation itself adds the part of the padding that is the same on both sides, because that
    needs no copy.

    Args:
        x: ``(N, C, *spatial)``.
        kernel: Kernel size per spatial axis.
        stride: Stride per spatial axis.

    Returns:
        The tensor, padded where front and back differ, and the symmetric padding per axis for the
        operation.
    """
    pads = [
        same_padding(size, k, s) for size, k, s in zip(x.shape[2:], kernel, stride, strict=True)
    ]
    symmetric = [front for front, _ in pads]
    extra = [back - front for front, back in pads]
    if any(extra):
        x = F.pad(x, [p for e in reversed(extra) for p in (0, e)])
    return x, symmetric


class Unit3D(nn.Module):
    """Convolution, batch norm and ReLU, as in the public PyTorch port of I3D.

    The parameter names (``conv3d.weight``, ``bn.weight``, …) are the port's.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Kernel over (t, h, w); odd.
        stride: Stride over (t, h, w).
        use_bn: Whether batch norm and ReLU follow. Without them the convolution has a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int, int] = (1, 1, 1),
        stride: tuple[int, int, int] = (1, 1, 1),
        use_bn: bool = True,
    ) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, kernel_size, stride, bias=not use_bn)
        self.bn = nn.BatchNorm3d(out_channels, eps=1e-3, momentum=0.01) if use_bn else None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, T, H, W)`` or ``(N, C, H, W)`` to the same with ``ceil(size / stride)``."""
        weight, bias = self.conv3d.weight, self.conv3d.bias
        kernel, stride = self.conv3d.kernel_size, self.conv3d.stride
        if x.ndim == 4:
            x, padding = pad_same(x, kernel[1:], stride[1:])
            x = F.conv2d(x, weight[:, :, kernel[0] // 2], bias, stride[1:], padding)
        else:
            x = self._convolve(x)
        return self.activate(x)

    def _convolve(self, x: Tensor) -> Tensor:
        """The convolution of a clip.

        PyTorch gives a 1x1x1 convolution of one thread on a CPU to an implementation that copies
        the clip into another memory format, and the layers behind it are slower in that. As a
        product of matrices it needs no copy, and is as fast with several threads.
        """
        conv = self.conv3d
        pointwise = conv.kernel_size == conv.stride == (1, 1, 1)
        if pointwise and x.device.type == 'cpu' and not torch.onnx.is_in_onnx_export():
            return F.linear(x.movedim(1, -1), conv.weight.flatten(1), conv.bias).movedim(-1, 1)
        x, padding = pad_same(x, conv.kernel_size, conv.stride)
        return F.conv3d(x, conv.weight, conv.bias, conv.stride, padding)

    def activate(self, x: Tensor) -> Tensor:
        """Batch norm and ReLU, if there are any; may change ``x``."""
        if self.bn is None:
            return x
        x = self.bn(x) if x.ndim == 5 else self.bn(x.unsqueeze(2)).squeeze(2)
        return F.relu(x, inplace=True)


class MaxPool3dSame(nn.Module):
    """Max pooling with "SAME" padding.

    No zeros are added. The operation's own padding and a last window beyond the end (``ceil_mode``)
    ignore missing values. The input comes from a ReLU, so the result is the same as with zeros.

    Args:
        kernel_size: Kernel over (t, h, w).
        stride: Stride over (t, h, w).
    """

    keeps_zeros = True  # see models/layers/batch_layout.py

    def __init__(self, kernel_size: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, T, H, W)`` or ``(N, C, H, W)`` to the same with ``ceil(size / stride)``."""
        first = 5 - x.ndim  # axis of the kernel
        kernel, stride = self.kernel_size[first:], self.stride[first:]
        sizes = zip(x.shape[2:], kernel, stride, strict=True)
        padding = [same_padding(size, k, s)[0] for size, k, s in sizes]
        pool = F.max_pool2d if x.ndim == 4 else F.max_pool3d
        return pool(x, kernel, stride, padding, ceil_mode=True)


class InceptionModule(nn.Module):
    """Four branches whose outputs are concatenated: 1x1, 1x1-3x3, 1x1-3x3, pool-1x1.

    Args:
        in_channels: Channels in.
        widths: Channels of ``b0``, ``b1a``, ``b1b``, ``b2a``, ``b2b``, ``b3b``.
    """

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = widths
        self.b0 = Unit3D(in_channels, b0)
        self.b1a = Unit3D(in_channels, b1a)
        self.b1b = Unit3D(b1a, b1b, (3, 3, 3))
        self.b2a = Unit3D(in_channels, b2a)
        self.b2b = Unit3D(b2a, b2b, (3, 3, 3))
        self.b3a = MaxPool3dSame((3, 3, 3), (1, 1, 1))
        self.b3b = Unit3D(in_channels, b3b)
        self.out_channels = b0 + b1b + b2b + b3b

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, …)`` to ``(N, b0 + b1b + b2b + b3b, …)`` at the same size."""
        branches = [
            self.b0(x),
            self.b1b(self.b1a(x)),
            self.b2b(self.b2a(x)),
            self.b3b(self.b3a(x)),
        ]
        return torch.cat(branches, dim=1)
