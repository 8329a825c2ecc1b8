"""A video with the tubes that were found in it."""

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mmstal_da.evaluation.functional import TubeSet

from .overlays import tube_overlays
from .render import render_frames
from .writing import write_mp4


def write_tube_video(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    tubes: TubeSet,
    classes: Sequence[str],
    fps: float,
    score_thr: float = 0.3,
    min_height: int = 384,
    note: str = '',
) -> None:
    """Write frames with the box, class and score of every tube; holds one frame at a time.

    Args:
        path: Destination, ``*.mp4``.
        frames: (H, W, 3) uint8 RGB each, from the first on.
        tubes: Of this video alone; boxes in pixels of the frames.
        classes: Names that their labels refer to; a class keeps its colour.
        fps: Frames per second.
        score_thr: Tubes with a lower score are left out.
        min_height: Lower frames are enlarged to this height.
        note: Written below every frame, as that nothing was found; empty: no line.
    """
    shown = tube_overlays(tubes, 0, classes, score_thr)

    def rendered() -> Iterator[np.ndarray]:
        for number, frame in enumerate(frames, 1):
            yield from render_frames(
                [frame], [number], shown, {}, classes, frame.shape[:2], note, min_height
            )

    write_mp4(path, rendered(), fps)
