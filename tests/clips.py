"""Tiny videos and annotations whose contents are known exactly."""

from pathlib import Path

import av
import numpy as np

from mmstal_da.tubes.annotation import Annotation, Tube, Video, save_annotation

RED = np.array([255, 0, 0], np.uint8)


def write_video(path: Path, frames: list[np.ndarray], codec: str = 'ffv1', **options) -> Path:
    """Encode (H, W, 3) uint8 RGB frames; ffv1 is lossless but for the colour conversion."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pix_fmt = {'ffv1': 'bgr0', 'gif': 'rgb8', 'mjpeg': 'yuvj420p'}.get(codec, 'yuv420p')
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.options = {'threads': '1'}
        for key, value in options.items():
            setattr(stream.codec_context, key, value)
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode())
    return path


def numbered_frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frame i (from 1) shows i in binary: eight vertical bars, black or white."""
    bar = width // 8
    frames = []
    for number in range(1, count + 1):
        image = np.zeros((height, width, 3), np.uint8)
        for bit in range(8):
            image[:, bit * bar : (bit + 1) * bar] = 255 * (number >> bit & 1)
        frames.append(image)
    return frames


def number_shown(image: np.ndarray) -> int:
    """Read the number of a frame of :func:`numbered_frames`, whatever its size."""
    bar = image.shape[1] / 8
    middle = image[image.shape[0] // 2, :, 0]
    return sum((int(middle[int((bit + 0.5) * bar)]) > 127) << bit for bit in range(8))


def actor_frames(boxes: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """A red rectangle on grey; boxes (n, 4) ``x1 y1 x2 y2``, whole pixels, ends inclusive."""
    frames = []
    for x1, y1, x2, y2 in np.asarray(boxes, int):
        image = np.full((height, width, 3), 90, np.uint8)
        image[y1 : y2 + 1, x1 : x2 + 1] = RED
        frames.append(image)
    return frames


def write_dataset(
    folder: Path,
    names: list[str],
    classes: list[str],
    num_frames: int = 12,
    suffix: str = '.mkv',
    seed: int = 0,
) -> Path:
    """Videos of 64x48 with one moving red actor, annotated from frame 3 on.

    Video i has class ``i % len(classes)``; all are in split ``train``.
    """
    rng = np.random.default_rng(seed)
    annotation = Annotation('tiny', classes, splits={'train': list(names)})
    for number, name in enumerate(names):
        x = np.linspace(*rng.integers(0, 40, 2), num_frames).astype(int)
        y = np.linspace(*rng.integers(0, 20, 2), num_frames).astype(int)
        boxes = np.stack([x, y, x + 20, y + 25], 1).astype(np.float32)
        write_video(folder / f'{name}{suffix}', actor_frames(boxes, 48, 64))
        annotation.videos[name] = Video(f'{name}{suffix}', num_frames, 64, 48)
        label = classes[number % len(classes)]
        annotation.tubes[name] = [Tube(label, np.arange(3, num_frames + 1), boxes[2:])]
    save_annotation(annotation, folder / 'annotation.json')
    return folder / 'annotation.json'
