"""Frame-exact reading of a few frames from a video file or a folder of images.

Frames are counted from 1, as a full decode from the start of the file returns them. The container's
header is ignored (JHMDB's AVI headers say 48 where 40 frames follow). The time stamps of decoded
frames are remembered, so later calls can seek to a key frame near the clip. If the frames there
have other time stamps or pixels than before, or seem damaged, the file is decoded from its start.

What is damaged is an error (:mod:`.decoding`, :mod:`.images`). :mod:`.frame_cache` keeps frames of
small data sets in memory.

PyAV is used with one thread, because data-loader workers run in parallel. It was chosen over OpenCV
and decord with ``tools/analysis_tools/benchmark.py loader``.
"""

import array
import bisect
import functools
import os
import zlib
from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from mmstal_da.errors import VideoError

from .decoding import decode_video, is_stream, open_video, refuse_cut_off, video_stream
from .frame_cache import SHARE, FrameCache, limit_in_bytes
from .images import count_images, read_image

VIDEO_SUFFIXES = (
    '.avi', '.mp4', '.gif', '.mkv', '.mov', '.webm', '.mpg', '.mpeg', '.m4v', '.mts', '.m2ts',
    '.ts', '.wmv', '.asf', '.flv', '.f4v', '.3gp', '.3g2', '.ogv', '.ogg', '.vob', '.mxf', '.divx',
    '.m2v', '.mjpg', '.mjpeg', '.mp4v', '.qt', '.rm', '.rmvb', '.dv', '.y4m',
)  # fmt: skip
SEEK_FROM = 25  # nearer frames are reached by decoding: seeking costs about as much


def read_frames(
    path: str | os.PathLike[str],
    frame_indices: Sequence[int],
    filename_tmpl: str | None = None,
) -> list[np.ndarray]:
    """Read frames of a video.

    Args:
        path: A video file (anything FFmpeg reads: .avi, .mp4, .gif, ...), or with
            ``filename_tmpl`` a folder of images.
        frame_indices: 1-based frame numbers, in any order, repeats allowed.
        filename_tmpl: Pattern of the image names, for instance ``'{:05d}.jpg'``.

    Returns:
        One (H, W, 3) uint8 RGB array per index. No two share memory.

    Raises:
        FileNotFoundError: No such file or folder.
        VideoError: A frame is beyond the end, or data are damaged or cannot be decoded.
    """
    path = os.fspath(path)
    indices = [int(index) for index in frame_indices]
    if not indices or min(indices) < 1:
        raise ValueError(f'{path}: frames are counted from 1, requested were {indices}')
    if not os.path.exists(path):
        raise FileNotFoundError(
            f'no video {path!r}: check `data_prefix` and the "path" in the annotation file'
        )
    if filename_tmpl is not None:
        found = {index: read_image(path, filename_tmpl, index) for index in set(indices)}
    elif os.path.isdir(path):
        raise VideoError(
            f'{path} is a folder: give its images\' "filename_tmpl" in the annotation file'
        )
    else:
        found = _read_video(path, sorted(set(indices)))
    # transforms may work in place, so a repeated frame is copied
    frames, used = [], set()
    for index in indices:
        frames.append(found[index].copy() if index in used else found[index])
        used.add(index)
    return frames


def count_frames(path: str | os.PathLike[str], filename_tmpl: str | None = None) -> int:
    """Number of frames: of a video by decoding it, of a folder by its images 1, 2, 3, ...

    Raises:
        VideoError: The video is damaged or cut off, or a number among the images is missing.
    """
    path = os.fspath(path)
    if filename_tmpl is not None:
        return count_images(path, filename_tmpl)
    with open_video(path) as container:
        count = sum(1 for _ in decode_video(container, path))
    if not is_stream(path):
        refuse_cut_off(path)
    return count


class _OtherFramesError(Exception):
    """After seeking, other frames come than those that are known."""


class _Timeline:
    """What decoding has shown about a video so far.

    Attributes:
        stamps: Time stamps of frames 1, 2, ... up to the last that any call has decoded.
        keys: Numbers of the key frames among them, ascending.
        looks: :func:`_look` of each key frame.
        size: Width and height of frame 1.
        usable: False after a frame had no time stamp or one that did not increase.
    """

    def __init__(self) -> None:
        self.stamps = array.array('q')
        self.keys: list[int] = []
        self.looks: list[int] = []
        self.size: tuple[int, int] | None = None
        self.usable = True

    def note(self, number: int, frame: av.VideoFrame) -> None:
        """Record a frame, unless it is known."""
        if number == 1:
            self.size = (frame.width, frame.height)
        if number <= len(self.stamps):
            return
        if frame.pts is None or (self.stamps and frame.pts <= self.stamps[-1]):
            self.usable = False
        elif self.usable:
            self.stamps.append(frame.pts)
            if frame.key_frame:
                self.keys.append(number)
                self.looks.append(_look(frame))

    def is_known(self, number: int, frame: av.VideoFrame) -> bool:
        """Whether a frame with a known number has its time stamp, and a key frame its pixels."""
        if number > len(self.stamps):
            return True
        if frame.pts != self.stamps[number - 1]:
            return False
        place = bisect.bisect_left(self.keys, number)
        is_key = place < len(self.keys) and self.keys[place] == number
        return not is_key or self.looks[place] == _look(frame)


def _look(frame: av.VideoFrame) -> int:
    """A checksum of some of a frame's pixels."""
    found = 0
    for plane in frame.planes:
        data = np.frombuffer(memoryview(plane), np.uint8)
        if plane.line_size:  # else a palette
            rows = data[: plane.line_size * plane.height].reshape(plane.height, plane.line_size)
            data = rows[::4, : plane.width]  # what lies after a row's last pixel is not set
        found = zlib.crc32(data.tobytes(), found)
    return found


@functools.lru_cache(maxsize=4096)
def _timeline(path: str, mtime_ns: int, size: int) -> _Timeline:
    """The timeline of a file, forgotten when the file changes."""
    return _Timeline()


_kept = FrameCache()


def _read_video(path: str, indices: list[int]) -> dict[int, np.ndarray]:
    """The frames of a sorted list of distinct numbers, decoded or remembered."""
    stat = os.stat(path)
    file = (path, stat.st_mtime_ns, stat.st_size)
    timeline, limit = _timeline(*file), limit_in_bytes()
    # the first call shows how large frames are
    if not limit or not timeline.size:
        return _decode(path, indices, timeline)
    found = _kept.find(file, indices)
    if found is None:
        width, height = timeline.size
        if indices[-1] * width * height * 3 > limit // SHARE:
            return _decode(path, indices, timeline)
        frames = _read_from(path, list(range(1, indices[-1] + 1)), timeline, 1)
        found = {index: frames[index].copy() for index in indices}
        _kept.keep(file, frames, limit)
    return found


def _decode(path: str, indices: list[int], timeline: _Timeline) -> dict[int, np.ndarray]:
    """Decode frames, from the start or from a known key frame."""
    known = bisect.bisect_right(timeline.keys, indices[0])
    if timeline.usable and known > 1 and indices[0] >= SEEK_FROM:
        try:
            return _read_from(path, indices, timeline, timeline.keys[known - 1])
        # what is damaged only after seeking is seen from the start as well, or is whole
        except (_OtherFramesError, VideoError):
            timeline.usable = False
    return _read_from(path, indices, timeline, 1)


def _read_from(
    path: str, indices: list[int], timeline: _Timeline, start: int
) -> dict[int, np.ndarray]:
    """Decode from frame ``start``, which is 1 or a known key frame.

    Returns:
        Frame number -> (H, W, 3) uint8 RGB.

    Raises:
        _OtherFramesError: ``start`` is not 1, and the frames there are not those that are known.
    """
    wanted, found, number = set(indices), {}, start - 1
    reformatter = VideoReformatter()  # reused: a new one for every frame costs more than decoding
    with open_video(path) as container:
        if start > 1:
            stamp = timeline.stamps[start - 1]
            container.seek(stamp, stream=video_stream(container, path))
        size = timeline.size if start > 1 else None
        for frame in decode_video(container, path, start, size):
            if start > 1 and frame.pts is not None and frame.pts < stamp:
                continue  # belongs to the group before the key frame
            number += 1
            if start > 1 and not timeline.is_known(number, frame):
                raise _OtherFramesError
            timeline.note(number, frame)
            if number in wanted:
                found[number] = _to_rgb(frame, reformatter)
            if number == indices[-1]:
                return found
    if start > 1:
        raise _OtherFramesError
    raise VideoError(
        f'{path}: frame {indices[-1]} requested, but the video ends after {number} frames. It is'
        ' truncated, or the annotation counts another version of it: get the video again, or'
        ' correct "num_frames"'
    )


def _to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB."""
    return reformatter.reformat(frame, format='rgb24', threads=1).to_ndarray()


def iter_frames(
    path: str | os.PathLike[str], filename_tmpl: str | None = None
) -> Iterator[np.ndarray]:
    """All frames in order, one at a time.

    Args:
        path: A video file, a stream's URL, or with ``filename_tmpl`` a folder of images.
        filename_tmpl: Pattern of the image names, numbered from 1.

    Yields:
        (H, W, 3) uint8 RGB.

    Raises:
        VideoError: What is damaged, cannot be opened or decoded, or has no frame at all.
    """
    path = os.fspath(path)
    number = 0
    if filename_tmpl is not None:
        for number in range(1, count_images(path, filename_tmpl) + 1):
            yield read_image(path, filename_tmpl, number)
    else:
        reformatter = VideoReformatter()
        with open_video(path) as container:
            if not is_stream(path):
                refuse_cut_off(path)
            for frame in decode_video(container, path):
                number += 1
                yield _to_rgb(frame, reformatter)
    if not number:
        raise VideoError(f'{path} has no frames')


def frame_rate(path: str | os.PathLike[str]) -> float | None:
    """Average frames per second that a video file claims; None if it claims none."""
    path = os.fspath(path)
    with open_video(path) as container:
        rate = video_stream(container, path).average_rate
        return None if not rate else round(float(rate), 3)


def frame_size(path: str | os.PathLike[str], filename_tmpl: str | None = None) -> tuple[int, int]:
    """Width and height in pixels, of frame 1 as it decodes.

    Raises:
        FileNotFoundError: No such file or folder.
        VideoError: It cannot be decoded.
    """
    height, width = read_frames(path, [1], filename_tmpl)[0].shape[:2]
    return int(width), int(height)
