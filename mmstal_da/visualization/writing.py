"""Writes rendered frames: MP4, animated GIF, PNG. Files are written completely or not at all."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmstal_da.utils import atomic_write
from mmstal_da.video.writer import write_video


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write an image, (H, W, 3) uint8 RGB."""
    with atomic_write(path, 'wb') as file:
        Image.fromarray(image).save(file, format='PNG')


def write_gif(path: str | os.PathLike[str], frames: Sequence[np.ndarray], fps: float) -> None:
    """Write an endless animation with one palette for all frames.

    Args:
        path: Destination.
        frames: (H, W, 3) uint8 RGB each.
        fps: Frames per second; GIF rounds the time per frame to 0.01 s.
    """
    images = [Image.fromarray(frame) for frame in frames]
    chosen = images[:: max(1, len(images) // 8)]
    sample = Image.new('RGB', (chosen[0].width, chosen[0].height * len(chosen)))
    for index, image in enumerate(chosen):
        sample.paste(image, (0, index * image.height))
    palette = sample.quantize(256, method=Image.Quantize.MEDIANCUT)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    with atomic_write(path, 'wb') as file:
        images[0].save(
            file,
            format='GIF',
            save_all=True,
            append_images=images[1:],
            duration=max(20, round(100 / fps) * 10),
            loop=0,
        )


def write_mp4(
    path: str | os.PathLike[str], frames: Iterable[np.ndarray], fps: float, crf: int = 18
) -> None:
    """Write an H.264 video, frame by frame; an odd width or height loses its last column or row.

    Args:
        path: Destination.
        frames: (H, W, 3) uint8 RGB each.
        fps: Frames per second.
        crf: x264's constant rate factor; less gives better quality.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    even = (frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2] for frame in frames)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'.{path.name}.') as folder:
        partial = Path(folder) / path.name
        write_video(partial, even, fps, crf)
        os.replace(partial, path)


WRITERS = {'mp4': write_mp4, 'gif': write_gif}
"""Animation writers by file ending."""
