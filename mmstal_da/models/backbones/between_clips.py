"""TF1 of every so many-th key frame, interpolated between: fast, and not exact.

A clip's features change little from one key frame to the next, since two clips of 20 frames have 19
in common. The key frames between, their proposals and their RoIs are still looked at one by one.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .clip_windows import ClipWindows


def interpolated_maps(
    network: Callable[[ClipWindows], Tensor], clips: ClipWindows, stride: int
) -> Tensor:
    """The mean over time of every clip's maps, most of them interpolated.

    Args:
        network: TF1, to ``(n, C, T', h, w)``.
        clips: N clips; of every video those are computed whose key frames are the first, the last,
            and at least ``stride`` frames behind the one before.
        stride: In frames.

    Returns:
        ``(N, C, h, w)``.
    """
    chosen, before, after, share = plan(clips.videos, clips.key_frames, stride)
    maps = network(clips.take(chosen)).mean(2)
    weight = torch.from_numpy(share).to(maps).view(-1, 1, 1, 1)
    earlier, later = (maps[torch.from_numpy(rows).to(maps.device)] for rows in (before, after))
    return torch.lerp(earlier, later, weight)


def plan(
    videos: np.ndarray, key_frames: np.ndarray, stride: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which clips are computed, and what the others are made of.

    Args:
        videos: (N,) int, number of the video of each clip.
        key_frames: (N,) int, number of its key frame.
        stride: Frames from one computed clip to the next.

    Returns:
        (M,) clips to compute; for each of the N clips the places of two of them, (N,) and (N,), and
        the second one's share (N,), float32 in [0, 1].
    """
    order = np.lexsort((key_frames, videos))
    chosen: list[int] = []
    before, after = np.zeros(len(order), np.int64), np.zeros(len(order), np.int64)
    share = np.zeros(len(order), np.float32)
    for video in np.unique(videos):
        rows = order[videos[order] == video]
        times = key_frames[rows]
        anchors = [0]
        for place in range(1, len(rows)):
            if times[place] - times[anchors[-1]] >= stride or place == len(rows) - 1:
                anchors.append(place)
        later = np.searchsorted(anchors, np.arange(len(rows)))
        earlier = np.where(np.take(anchors, later) == np.arange(len(rows)), later, later - 1)
        a, b = times[np.take(anchors, earlier)], times[np.take(anchors, later)]
        share[rows] = (times - a) / np.maximum(b - a, 1)
        before[rows], after[rows] = len(chosen) + earlier, len(chosen) + later
        chosen += rows[anchors].tolist()
    return np.array(chosen), before, after, share
