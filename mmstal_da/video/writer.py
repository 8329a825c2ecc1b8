"""Writes clips as H.264 in MP4, reproducibly."""

import math
import os
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain

import av
import cv2
import numpy as np


def write_video(
    path: str | os.PathLike[str], frames: Iterable[np.ndarray], fps: float, crf: int = 14
) -> None:
    """Encode frames with one thread, without B-frames and without the current time in the file.

    PyAV, OpenCV and Decord decode exactly as many frames as are written. The same frames give the
    same bytes with the same build of PyAV.

    Args:
        path: Destination, ``*.mp4``.
        frames: (H, W, 3) uint8 RGB each, of one size; height and width even. They are taken one
            by one.
        fps: Frames per second.
        crf: x264's constant rate factor; less gives better quality.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f'{path}: there is no frame to write')
    shape = np.shape(first)
    if len(shape) != 3 or shape[2] != 3:
        raise ValueError(f'{path}: frames are (H, W, 3) uint8 each, not {shape}')
    height, width = shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f'{path}: H.264 needs an even width and height, not {width}x{height}')
    # x264's macroblock tree sometimes gave other bytes at nine sizes. At the six tested sizes whose
    # number of macroblocks is a multiple of 16 it never did. There it stays on: the presets have
    # 128 x 96.
    macroblocks = math.ceil(width / 16) * math.ceil(height / 16)
    with av.open(os.fspath(path), 'w', format='mp4', options={'fflags': '+bitexact'}) as container:
        stream = container.add_stream('libx264', rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        stream.codec_context.thread_count = 1
        stream.options = {
            'crf': str(crf),
            'preset': 'veryfast',
            'bf': '0',
            'g': '12',
            'threads': '1',
            'flags': '+bitexact',
            'x264-params': f'mbtree={int(macroblocks % 16 == 0)}',
        }
        for image in chain([first], frames):
            if np.shape(image) != shape or image.dtype != np.uint8:
                raise ValueError(
                    f'{path}: frames are {shape} uint8 each, not {np.shape(image)} {image.dtype}'
                )
            planar = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)  # BT.601, as decoders assume
            for packet in stream.encode(_frame(planar, width, height)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _frame(planar: np.ndarray, width: int, height: int) -> av.VideoFrame:
    """A frame whose rows are filled to the end of their memory.

    PyAV does not set the bytes between a row's last pixel and the next row. If the width is not a
    multiple of 64, x264 reads them, and the same frames then gave other bytes.
    """
    frame = av.VideoFrame(width, height, 'yuv420p')
    start = 0
    for plane in frame.planes:
        size = plane.height * plane.width
        rows = planar.reshape(-1)[start : start + size].reshape(plane.height, plane.width)
        start += size
        padding = plane.line_size - plane.width
        whole = np.pad(rows, ((0, 0), (0, padding)), mode='edge').reshape(-1)
        plane.update(np.pad(whole, (0, plane.buffer_size - whole.size)).tobytes())
    return frame
