"""Clips that overlap, as the frames that they share.

At inference every frame may be a key frame, so a frame lies in as many clips as a clip has frames.
Layers whose output at one time step depends on few frames compute the same again and again. Here
they compute every different output once. Which outputs are the same is exact: those that cover the
same frames, and as much padding at the clip's ends. So sharing changes nothing but rounding, and
ends where no two clips have an output in common.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .inception_blocks import MaxPool3dSame, Unit3D, pad_same, same_padding

PADDING = -1


@dataclass(frozen=True)
class ClipWindows:
    """N clips of T frames, made of F different frames.

    Attributes:
        frames: ``(F, 3, H, W)``.
        index: ``(N, T)`` int64: of which frames the clips consist.
        videos: ``(N,)`` int, number of each clip's video.
        key_frames: ``(N,)`` int, number of the key frame in the video.
    """

    frames: Tensor
    index: np.ndarray
    videos: np.ndarray
    key_frames: np.ndarray

    def take(self, rows: np.ndarray) -> 'ClipWindows':
        """Some of the clips, and the frames that they need."""
        used, index = np.unique(self.index[rows], return_inverse=True)
        return ClipWindows(
            self.frames[torch.from_numpy(used).to(self.frames.device)],
            index.reshape(len(rows), -1),
            self.videos[rows],
            self.key_frames[rows],
        )

    def clips(self) -> Tensor:
        """The clips as a batch ``(N, 3, T, H, W)``."""
        return expand(self)


def expand(steps: ClipWindows) -> Tensor:
    """Time steps ``(F, C, h, w)`` in the order of the clips, ``(N, C, T, h, w)``."""
    index = torch.from_numpy(steps.index).to(steps.frames.device)
    n, length = steps.index.shape
    rows = steps.frames.permute(0, 2, 3, 1).contiguous()[index.flatten()]
    return rows.view(n, length, *rows.shape[1:]).permute(0, 4, 1, 2, 3)


def run_unit(unit: Unit3D | MaxPool3dSame, steps: ClipWindows) -> ClipWindows:
    """A convolution or a pool over single time steps, every different output once.

    Args:
        unit: If it spans several time steps, a :class:`Unit3D`.
        steps: Its input.

    Returns:
        Its output, ``ceil(T / stride)`` time steps per clip.
    """
    if not isinstance(unit, Unit3D) or unit.conv3d.kernel_size[0] == unit.conv3d.stride[0] == 1:
        return replace(steps, frames=unit(steps.frames))
    kernel, stride = unit.conv3d.kernel_size, unit.conv3d.stride
    covered, index = np.unique(
        covered_steps(steps.index, kernel[0], stride[0]).reshape(-1, kernel[0]),
        axis=0, return_inverse=True,
    )  # fmt: skip
    frames, padding = pad_same(steps.frames, kernel[1:], stride[1:])
    frames = frames.contiguous()
    outputs: list[Tensor] = []
    order = []
    inside = covered != PADDING
    for taps in np.unique(inside, axis=0):  # of which the padding is the same
        rows = np.flatnonzero((inside == taps).all(1))
        used = torch.from_numpy(covered[np.ix_(rows, taps)]).to(frames.device)
        # one output per row: a convolution in two dimensions, with time among the channels
        x = frames[used].flatten(1, 2).contiguous(memory_format=torch.channels_last)
        weight = unit.conv3d.weight[:, :, torch.from_numpy(taps).to(frames.device)]
        weight = weight.transpose(1, 2).flatten(1, 2)
        outputs.append(unit.activate(F.conv2d(x, weight, unit.conv3d.bias, stride[1:], padding)))
        order.append(rows)
    place = np.empty(len(covered), np.int64)
    place[np.concatenate(order)] = np.arange(len(covered))
    n, length = steps.index.shape[0], -(-steps.index.shape[1] // stride[0])
    return replace(steps, frames=torch.cat(outputs), index=place[index.reshape(n, length)])


def covered_steps(index: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    """What a kernel over time covers, with "SAME" padding.

    Args:
        index: ``(N, T)``, time steps of N clips.
        kernel: Length of the kernel.
        stride: Its stride.

    Returns:
        ``(N, ceil(T / stride), kernel)``: the time steps, and ``PADDING`` beyond a clip's ends.
    """
    front, back = same_padding(index.shape[1], kernel, stride)
    padded = np.pad(index, ((0, 0), (front, back)), constant_values=PADDING)
    return np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=1)[:, ::stride]
