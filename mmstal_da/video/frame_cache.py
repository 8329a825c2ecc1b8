"""Decoded frames kept in memory: a small data set is decoded once, not once an epoch.

Off, unless the environment variable ``MMSTAL_DA_FRAME_CACHE`` gives a limit in MiB. The limit is of
each process that reads, so of each worker of a data loader. It pays where it holds all videos
(height x width x 3 bytes a frame); the frames are the same.
"""

import os
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np

from mmstal_da.errors import ConfigError

VARIABLE = 'MMSTAL_DA_FRAME_CACHE'
MIB = 2**20
SHARE = 10  # a video that fills more than this part of the limit is not kept

Frames = dict[int, np.ndarray]
"""Frame number -> (H, W, 3) uint8 RGB."""


class FrameCache:
    """The videos read last, as far as the limit goes.

    Attributes:
        used: Bytes of the frames that are held.
    """

    def __init__(self) -> None:
        self.videos: OrderedDict[Hashable, Frames] = OrderedDict()
        self.used = 0

    def find(self, video: Hashable, indices: list[int]) -> Frames | None:
        """Copies of frames; None if one of them is not held."""
        held = self.videos.get(video)
        if held is None or not held.keys() >= set(indices):
            return None
        self.videos.move_to_end(video)
        return {index: held[index].copy() for index in indices}

    def keep(self, video: Hashable, frames: Frames, limit: int) -> None:
        """Hold the frames of a video in place of those that were held, and forget the oldest."""
        self._forget(video)
        self.videos[video] = frames
        self.used += _size(frames)
        while self.used > limit:
            self._forget(next(iter(self.videos)))

    def _forget(self, video: Hashable) -> None:
        self.used -= _size(self.videos.pop(video, {}))


def _size(frames: Frames) -> int:
    return sum(frame.nbytes for frame in frames.values())


def limit_in_bytes() -> int:
    """The limit, 0 if the cache is off.

    Raises:
        ConfigError: The variable is no whole number of at least 0.
    """
    text = os.environ.get(VARIABLE, '') or '0'
    if not text.isdecimal():
        raise ConfigError(f'{VARIABLE}={text} is no number of MiB; set it to 500, say, or unset it')
    return int(text) * MIB
