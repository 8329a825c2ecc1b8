"""Clips around key frames of frames that arrive one by one."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

Frame = TypeVar('Frame')


class Window(NamedTuple):
    """Where a clip lies around its key frame.

    Attributes:
        clip_len: Frames of the clip.
        frame_interval: Step between them.
    """

    clip_len: int
    frame_interval: int

    @property
    def key_index(self) -> int:
        """Place of the key frame in the clip."""
        return self.clip_len // 2

    def numbers(self, key_frame: int, last: int) -> np.ndarray:
        """Frame numbers (clip_len,) of the clip, clamped to 1 and ``last``."""
        offsets = (np.arange(self.clip_len) - self.key_index) * self.frame_interval
        return np.clip(key_frame + offsets, 1, last)


def clips_of(
    frames: Iterable[np.ndarray],
    window: Window,
    stride: int = 1,
    # a type variable cannot have a default type
    prepare: Callable[[np.ndarray], Frame] = lambda frame: frame,  # type: ignore[assignment,return-value]
) -> Iterator[tuple[int, list[Frame]]]:
    """The clip around every key frame, as soon as its frames are there.

    Holds no more frames than a clip spans, so a stream may go on for ever.

    Args:
        frames: (H, W, 3) uint8 RGB each, in order.
        window: The clip, as :class:`~mmstal_da.datasets.transforms.SampleKeyFrameClip` has it.
        stride: Every so many-th frame is a key frame, from the first on.
        prepare: Is applied once to every frame that a clip needs.

    Yields:
        Number of the key frame, from 1, and the prepared frames of its clip.
    """
    before = window.key_index * window.frame_interval
    after = (window.clip_len - 1 - window.key_index) * window.frame_interval
    held: dict[int, Frame] = {}
    key_frame, last = 1, 0
    for frame in frames:
        last += 1
        if last >= key_frame - before:
            held[last] = prepare(frame)
        while key_frame + after <= last:
            yield key_frame, [held[number] for number in window.numbers(key_frame, last).tolist()]
            key_frame += stride
            for number in [n for n in held if n < key_frame - before]:
                del held[number]
    while key_frame <= last:
        yield key_frame, [held[number] for number in window.numbers(key_frame, last).tolist()]
        key_frame += stride
