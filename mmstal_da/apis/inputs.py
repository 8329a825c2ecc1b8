"""What an inferencer is given -> videos with names."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from mmstal_da.errors import UsageError, VideoError
from mmstal_da.tubes.index import find_videos
from mmstal_da.video.reader import VIDEO_SUFFIXES, frame_rate, iter_frames

Input = str | os.PathLike[str] | int | np.ndarray
DEFAULT_FPS = 25.0


@dataclass
class Clip:
    """One video to look at.

    Attributes:
        name: Unique among the inputs; results are written under it.
        source: A path, a stream's URL, a camera's number, or frames (T, H, W, 3) uint8 RGB.
        filename_tmpl: Pattern of the image names of a folder of images.
    """

    name: str
    source: str | int | np.ndarray
    filename_tmpl: str | None = None

    @property
    def is_stream(self) -> bool:
        """Whether its end is not known: a camera or a URL."""
        return isinstance(self.source, int) or (
            isinstance(self.source, str) and '://' in self.source
        )

    @property
    def place(self) -> str:
        """What an annotation calls it: the absolute path, the URL, or the name."""
        if not isinstance(self.source, str):
            return self.name
        return self.source if self.is_stream else os.path.abspath(self.source)

    def frames(self) -> Iterator[np.ndarray]:
        """Frames (H, W, 3) uint8 RGB in order.

        A stream that breaks off has ended; what came before counts.

        Raises:
            VideoError: What cannot be read.
        """
        if isinstance(self.source, np.ndarray):
            yield from self.source
        elif isinstance(self.source, int):
            yield from _camera(self.source)
        elif self.is_stream:
            yield from _until_it_breaks(self.source)
        else:
            yield from iter_frames(self.source, self.filename_tmpl)

    def fps(self) -> float:
        """Frames per second; 25 where nothing says it."""
        if isinstance(self.source, str) and self.filename_tmpl is None and not self.is_stream:
            return frame_rate(self.source) or DEFAULT_FPS
        return DEFAULT_FPS


def _until_it_breaks(url: str) -> Iterator[np.ndarray]:
    seen = 0
    try:
        for frame in iter_frames(url):
            seen += 1
            yield frame
    except VideoError as error:
        if not seen:
            raise
        print_log(f'the stream has ended: {error}', logger='current')


def _camera(number: int) -> Iterator[np.ndarray]:
    import cv2

    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise VideoError(f'no camera {number} that OpenCV can open')
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def find_clips(inputs: Input | Sequence[Input]) -> list[Clip]:
    """The videos that inputs stand for.

    Args:
        inputs: A video file; a folder, which is searched at any depth; a glob; an array
            (T, H, W, 3) uint8 RGB; a camera's number; a stream's URL; or a list of these. A file
            that does not exist is kept, so that the others are done and it is named.

    Raises:
        UsageError: A folder or glob without videos, an array of another kind, something else, or
            nothing at all.
    """
    if isinstance(inputs, str | os.PathLike | np.ndarray) or not isinstance(inputs, Iterable):
        inputs = [inputs]
    clips: list[Clip] = []
    for number, item in enumerate(inputs):
        clips += _find(item, number)
    if not clips:
        raise UsageError('no input: name video files, folders, globs or streams')
    return _with_names_of_their_own(clips)


def _find(item: Input, number: int) -> list[Clip]:
    if isinstance(item, np.ndarray):
        if item.ndim != 4 or item.shape[3] != 3 or item.dtype != np.uint8 or not len(item):
            raise UsageError(
                f'input {number}: frames are (T, H, W, 3) uint8 RGB, not {item.shape} {item.dtype}'
            )
        return [Clip(f'array_{number}', item)]
    if isinstance(item, int) and not isinstance(item, bool):
        return [Clip(f'camera_{item}', item)]
    if not isinstance(item, str | os.PathLike):
        raise UsageError(
            f'input {number}: a path, a URL, frames or a number of a camera, not {item!r}'
        )
    text = os.fspath(item)
    if '://' in text:
        return [Clip(text.partition('://')[2].replace('/', '_').replace(':', '_'), text)]
    if os.path.isdir(text):
        try:
            found = find_videos(Path(text))
        except ValueError as error:
            raise UsageError(str(error)) from error
        return [
            Clip(name, os.path.join(text, path), pattern) for name, (path, pattern) in found.items()
        ]
    if glob.has_magic(text) and not os.path.exists(text):
        paths = sorted(
            path
            for path in glob.glob(text, recursive=True)
            if os.path.isdir(path) or path.lower().endswith(VIDEO_SUFFIXES)
        )
        if not paths:
            raise UsageError(f'{text!r} matches no video; quote it so that the shell leaves it')
        return [clip for path in paths for clip in _find(path, number)]
    return [Clip(Path(text).stem, text)]


def _with_names_of_their_own(clips: list[Clip]) -> list[Clip]:
    """Clips of equal names get the folders before them, or a number."""
    names = [clip.name for clip in clips]
    for index, clip in enumerate(clips):
        if names.count(names[index]) > 1 and isinstance(clip.source, str):
            clip.name = Path(clip.source).with_suffix('').as_posix().strip('/').replace('..', '_')
    taken = {clip.name for clip in clips}
    seen: set[str] = set()
    for clip in clips:
        if clip.name in seen:
            numbered = (f'{clip.name}_{number}' for number in count(1))
            clip.name = next(name for name in numbered if name not in taken)
            taken.add(clip.name)
        seen.add(clip.name)
    return clips
