"""TF1 of many overlapping clips from a few long segments: fast, and not exact.

A network over time gives one map per so many frames. Over a whole video it gives the maps of all
clips at once. Two things differ from a clip's own maps: where a clip has zeros beyond its ends, a
segment has the video's frames; and a clip that begins between two maps of the segment takes both in
part. The mean over time of a clip's maps, which is all that the detector uses, hides most of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .clip_windows import ClipWindows

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Segment:
    """Frames that follow each other, and the clips among them.

    Attributes:
        frames: (L,) rows of ``ClipWindows.frames``.
        clips: (n,) rows of ``ClipWindows.index``.
        begins: (n,) where in ``frames`` each clip begins.
    """

    frames: np.ndarray
    clips: np.ndarray
    begins: np.ndarray


def find_segments(index: np.ndarray) -> list[Segment]:
    """The segments of clips.

    Args:
        index: ``(N, T)``, frames of N clips in the order of time. Where a clip reaches beyond its
            video, it repeats the first or the last frame.

    Returns:
        Every clip in one of them. Clips of several videos, or of frames in steps of two around even
        and odd key frames, are in several.
    """
    following: dict[int, int] = {}
    for before, after in zip(index[:, :-1].flat, index[:, 1:].flat, strict=True):
        if before != after:  # what follows a repeated first frame is nearer than one step
            following[int(before)] = max(int(after), following.get(int(before), -1))
    chains: list[np.ndarray] = []
    for first in sorted({*index.flat} - {*following.values()}):
        numbers = [int(first)]
        while numbers[-1] in following:
            numbers.append(following[numbers[-1]])
        chains.append(np.array(numbers))
    length = index.shape[1]
    keys = index[:, length // 2]
    held = np.stack(
        [np.isin(index, chain).sum(1) + np.isin(keys, chain) * length for chain in chains]
    )
    segments = []
    for number, chain in enumerate(chains):
        clips = np.flatnonzero(held.argmax(0) == number)
        if not len(clips):
            continue
        place = {frame: position for position, frame in enumerate(chain.tolist())}
        begins = np.array([place[frame] - length // 2 for frame in keys[clips].tolist()])
        # beyond the video's ends its first and last frame are repeated, as in the clips
        span = np.arange(begins.min(), begins.max() + length)
        frames = chain[np.clip(span, 0, len(chain) - 1)]
        segments.append(Segment(frames, clips, begins - begins.min()))
    return segments


def mean_maps(network: Network, clips: ClipWindows, stride: int, phases: int = 1) -> Tensor:
    """The mean over time of every clip's maps, from segments.

    Args:
        network: ``(1, 3, L, H, W)`` to ``(1, C, L / stride, h, w)``.
        clips: N clips of T frames.
        stride: Frames per map.
        phases: Times that a segment is computed, each from another frame on. With as many as
            ``stride``, no clip begins between two maps.

    Returns:
        ``(N, C, h, w)``.
    """
    count = -(-clips.index.shape[1] // stride)
    found: list[Tensor | None] = [None] * len(clips.index)
    for segment in find_segments(clips.index):
        starts = [round(phase * stride / phases) for phase in range(phases)]
        maps = [_maps(network, clips.frames, segment, start, stride, count) for start in starts]
        for clip, begin in zip(segment.clips.tolist(), segment.begins.tolist(), strict=True):
            # the last phase that begins with or before the clip, within a stride
            phase = max(i for i, start in enumerate(starts) if start <= begin % stride)
            first, rest = divmod(begin - starts[phase], stride)
            own = maps[phase]
            mean = own[first : first + count].mean(0)
            if rest:
                later = own[first + 1 : first + 1 + count].mean(0)
                mean = torch.lerp(mean, later, rest / stride)
            found[clip] = mean
    return torch.stack([mean for mean in found if mean is not None])


def _maps(
    network: Network, frames: Tensor, segment: Segment, start: int, stride: int, count: int
) -> Tensor:
    """``(M, C, h, w)``, the maps from a frame on; enough for every clip and one more."""
    last = segment.begins.max() - start
    needed = (max(last, 0) // stride + count + 1) * stride
    rows = np.clip(start + np.arange(needed), 0, len(segment.frames) - 1)
    index = torch.from_numpy(segment.frames[rows]).to(frames.device)
    clip = frames[index].transpose(0, 1).unsqueeze(0)
    return network(clip)[0].transpose(0, 1)
