"""Frame-exact reading of a few frames from a video file or a folder of images.

Frames are counted from 1, as a full decode from the start of the file returns them. The container's
header is ignored (JHMDB's AVI headers say 48 where 40 frames follow). The time stamps of decoded
frames are remembered, so later calls can seek to a key frame near the clip. If the frames there
have other time stamps than before, the file is decoded from its start.

PyAV is used with one thread, because data-loader workers run in parallel. It was chosen over OpenCV
and decord with ``tools/analysis_tools/benchmark_video_reader.py``.
"""

import array
import bisect
import functools
import os
from collections.abc import Iterator, Sequence

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from mmstal_da.errors import VideoError

VIDEO_SUFFIXES = ('.avi', '.mp4', '.gif', '.mkv', '.mov', '.webm', '.mpg', '.mpeg', '.m4v')
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
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
        VideoError: A frame is beyond the end, or data cannot be decoded.
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
        found = {index: _read_image(path, filename_tmpl, index) for index in set(indices)}
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
    """Number of frames: of a video by decoding it, of a folder by its images 1, 2, 3, ..."""
    path = os.fspath(path)
    if filename_tmpl is not None:
        count = 0
        while os.path.isfile(os.path.join(path, filename_tmpl.format(count + 1))):
            count += 1
        return count
    with _open(path) as container:
        return sum(1 for _ in _decode(container, path))


def _read_image(folder: str, filename_tmpl: str, index: int) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB."""
    file = os.path.join(folder, filename_tmpl.format(index))
    if not os.path.isfile(file):
        raise VideoError(
            f'no image {file!r} for frame {index}: the folder holds frames 1 to '
            f'{count_frames(folder, filename_tmpl)} of pattern {filename_tmpl!r}'
        )
    image = cv2.imread(file, cv2.IMREAD_COLOR)
    if image is None:
        raise VideoError(f'{file} (frame {index}) is not an image that can be decoded')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class _OtherStampsError(Exception):
    """After seeking, frames do not come with the time stamps they are known by."""


class _Timeline:
    """What decoding has shown about a video so far.

    Attributes:
        stamps: Time stamps of frames 1, 2, ... up to the last that any call has decoded.
        keys: Numbers of the key frames among them, ascending.
        usable: False after a frame had no time stamp or one that did not increase.
    """

    def __init__(self) -> None:
        self.stamps = array.array('q')
        self.keys: list[int] = []
        self.usable = True

    def note(self, number: int, frame: av.VideoFrame) -> bool:
        """Record a new frame; for a known one, return whether it is the same."""
        if number <= len(self.stamps):
            return frame.pts == self.stamps[number - 1]
        if frame.pts is None or (self.stamps and frame.pts <= self.stamps[-1]):
            self.usable = False
        elif self.usable:
            self.stamps.append(frame.pts)
            if frame.key_frame:
                self.keys.append(number)
        return True


@functools.lru_cache(maxsize=4096)
def _timeline(path: str, mtime_ns: int, size: int) -> _Timeline:
    """The timeline of a file, forgotten when the file changes."""
    return _Timeline()


def _read_video(path: str, indices: list[int]) -> dict[int, np.ndarray]:
    """Decode the frames of a sorted list of distinct numbers."""
    stat = os.stat(path)
    timeline = _timeline(path, stat.st_mtime_ns, stat.st_size)
    known = bisect.bisect_right(timeline.keys, indices[0])
    if timeline.usable and known > 1 and indices[0] >= SEEK_FROM:
        try:
            return _read_from(path, indices, timeline, timeline.keys[known - 1])
        except _OtherStampsError:
            timeline.usable = False
    return _read_from(path, indices, timeline, 1)


def _read_from(
    path: str, indices: list[int], timeline: _Timeline, start: int
) -> dict[int, np.ndarray]:
    """Decode from frame ``start``, which is 1 or a known key frame.

    Returns:
        Frame number -> (H, W, 3) uint8 RGB.

    Raises:
        _OtherStampsError: ``start`` is not 1, and the frames there are not those that are known.
    """
    wanted, found, number = set(indices), {}, start - 1
    reformatter = VideoReformatter()  # reused: a new one for every frame costs more than decoding
    with _open(path) as container:
        if start > 1:
            stamp = timeline.stamps[start - 1]
            container.seek(stamp, stream=container.streams.video[0])
        for frame in _decode(container, path, start):
            if start > 1 and frame.pts is not None and frame.pts < stamp:
                continue  # belongs to the group before the key frame
            number += 1
            if not timeline.note(number, frame) and start > 1:
                raise _OtherStampsError
            if number in wanted:
                found[number] = _to_rgb(frame, reformatter, path)
            if number == indices[-1]:
                return found
    if start > 1:
        raise _OtherStampsError
    raise VideoError(
        f'{path}: frame {indices[-1]} requested, but the video ends after {number} frames. It is'
        ' truncated, or the annotation counts another version of it: get the video again, or'
        ' correct "num_frames"'
    )


def _to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter, path: str) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB."""
    if frame.rotation:
        raise VideoError(
            f'{path} asks players to rotate it by {frame.rotation} degrees; boxes cannot follow'
            ' that. Re-encode it upright (ffmpeg -i IN OUT)'
        )
    return reformatter.reformat(frame, format='rgb24', threads=1).to_ndarray()


def _open(path: str) -> av.container.InputContainer:
    try:
        container = av.open(path)
    except av.error.FFmpegError as error:
        raise VideoError(f'{path} is not a video FFmpeg can open ({error.strerror})') from error
    if not container.streams.video:
        container.close()
        raise VideoError(f'{path} has no video stream')
    container.streams.video[0].codec_context.thread_count = 1
    return container


def _decode(
    container: av.container.InputContainer, path: str, start: int = 1
) -> Iterator[av.VideoFrame]:
    """Frames in presentation order; decoding errors name the file and the last good frame."""
    number = start - 1
    try:
        for frame in container.decode(video=0):
            number += 1
            yield frame
    except av.error.FFmpegError as error:
        raise VideoError(
            f'{path} is damaged: decoding failed after frame {number} ({error.strerror});'
            ' get the video again'
        ) from error


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
        VideoError: What cannot be opened or decoded, or has no frame at all.
    """
    path = os.fspath(path)
    number = 0
    if filename_tmpl is not None:
        for number in range(1, count_frames(path, filename_tmpl) + 1):
            yield _read_image(path, filename_tmpl, number)
    else:
        reformatter = VideoReformatter()
        with _open(path) as container:
            for frame in _decode(container, path):
                number += 1
                yield _to_rgb(frame, reformatter, path)
    if not number:
        raise VideoError(f'{path} has no frames')


def frame_rate(path: str | os.PathLike[str]) -> float | None:
    """Average frames per second that a video file claims; None if it claims none."""
    with _open(os.fspath(path)) as container:
        rate = container.streams.video[0].average_rate
        return None if not rate else round(float(rate), 3)
