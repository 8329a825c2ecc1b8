"""Writes clips as H.264 in MP4, reproducibly."""

import math
import os
from fractions import Fraction

import av
import cv2
import numpy as np


def write_video(
    path: str | os.PathLike[str], frames: np.ndarray, fps: float, crf: int = 14
) -> None:
    """Encode frames, one thread, no B-frames, no time stamps of the day.

    PyAV, OpenCV and Decord decode exactly as many frames as are written. The same frames give the
    same bytes with the same build of PyAV.

    Args:
        path: Destination, ``*.mp4``.
        frames: (T, H, W, 3) uint8 RGB; height and width even.
        fps: Frames per second.
        crf: x264's constant rate factor, less is better.
    """
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(
            f'{path}: frames are (T, H, W, 3) uint8, not {frames.shape} {frames.dtype}'
        )
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(f'{path}: H.264 needs an even width and height, not {width}x{height}')
    # x264's macroblock tree now and then gave other bytes at nine sizes, never at the six seen
    # whose number of macroblocks is a multiple of 16. There it stays on: 128 x 96 is the presets'.
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
        for image in frames:
            planar = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)  # BT.601, as decoders assume
            for packet in stream.encode(_frame(planar, width, height)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _frame(planar: np.ndarray, width: int, height: int) -> av.VideoFrame:
    """A frame whose rows are filled to the end of their memory.

    PyAV leaves the bytes between a row's last pixel and the next row as they were, and x264 reads
    them where the width is no multiple of 64: the same frames then gave other bytes.
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
