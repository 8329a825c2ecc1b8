"""Frame-exact reading of a few frames from a video file or a folder of images.

Frames are counted as a full decode from the start of the file yields them, from 1, whatever
the container's header claims (JHMDB's AVI headers say 48 where 40 frames follow). A clip deep
inside a long video is reached by seeking to the key frame before it; the time stamps of the
decoded frames must then be the ones that the file's packets announce, and where they are not
(or the file has none) the video is decoded from its start.

PyAV is used with one thread: data-loader workers are the parallelism. It was chosen over OpenCV
and decord with ``tools/analysis_tools/benchmark_video_reader.py``.
"""

import bisect
import functools
import os
from collections.abc import Iterable, Iterator, Sequence

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

SEEK_FROM = 48  # first frame from which seeking is tried; nearer ones are decoded through


class VideoError(RuntimeError):
    """A video or image that cannot be read as asked."""


def read_frames(
    path: str | os.PathLike,
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
        VideoError: A frame beyond the end, or data that cannot be decoded.
    """
    path = os.fspath(path)
    indices = [int(index) for index in frame_indices]
    if not indices or min(indices) < 1:
        raise ValueError(f'{path}: frames are counted from 1, asked were {indices}')
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


def count_frames(path: str | os.PathLike, filename_tmpl: str | None = None) -> int:
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
        raise VideoError(f'{file} (frame {index}) is no image that can be decoded')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_video(path: str, indices: list[int]) -> dict[int, np.ndarray]:
    """Decode the frames of a sorted list of distinct numbers; seek if that is exact."""
    if indices[0] >= SEEK_FROM:
        stat = os.stat(path)
        stamps, keys = _packet_index(path, stat.st_mtime_ns, stat.st_size)
        if indices[-1] <= len(stamps):
            found = _read_after_seek(path, indices, stamps, keys)
            if found is not None:
                return found
    with _open(path) as container:
        return _collect(enumerate(_decode(container, path), 1), indices, path)


def _read_after_seek(
    path: str, indices: list[int], stamps: Sequence[int], keys: Sequence[int]
) -> dict[int, np.ndarray] | None:
    """Decode from the last key frame before the first index.

    Args:
        path: Video file.
        indices: Sorted distinct frame numbers.
        stamps: Time stamps of all frames, ascending.
        keys: Time stamps of the key frames, ascending.

    Returns:
        Frame number -> (H, W, 3) uint8 RGB, or None if the frames that follow the seek do not
        carry the announced time stamps in their order.
    """
    before = bisect.bisect_right(keys, stamps[indices[0] - 1])
    if before < 2:  # the video's only key frame so far is its first: nothing to gain
        return None
    number_of = {stamp: number for number, stamp in enumerate(stamps, 1)}
    numbered, expected = [], None
    with _open(path) as container:
        container.seek(keys[before - 1], stream=container.streams.video[0])
        for frame in _decode(container, path):
            number = number_of.get(frame.pts)
            if expected is None:
                if number is None or number > indices[0]:
                    return None
            elif number != expected:
                return None
            expected = number + 1
            if number >= indices[0]:
                numbered.append((number, frame))
            if number == indices[-1]:
                return _collect(numbered, indices, path)
    return None


def _collect(
    numbered: Iterable[tuple[int, av.VideoFrame]], indices: list[int], path: str
) -> dict[int, np.ndarray]:
    """Convert the frames asked out of a stream of (number, frame)."""
    wanted, found, number = set(indices), {}, 0
    reformatter = VideoReformatter()  # reused: a new one for every frame costs more than decoding
    for number, frame in numbered:
        if number in wanted:
            if frame.rotation:
                raise VideoError(
                    f'{path} asks players to rotate it by {frame.rotation} degrees;'
                    ' boxes cannot follow that. Re-encode it upright (ffmpeg -i IN OUT)'
                )
            found[number] = reformatter.reformat(frame, format='rgb24', threads=1).to_ndarray()
        if number == indices[-1]:
            return found
    raise VideoError(
        f'{path}: frame {indices[-1]} asked, but the video ends after {number} frames. It is'
        ' truncated, or the annotation counts another version of it: get the video again, or'
        ' correct "num_frames"'
    )


@functools.lru_cache(maxsize=4096)
def _packet_index(path: str, mtime_ns: int, size: int) -> tuple[list[int], list[int]]:
    """Time stamps of all packets and of the key frames, ascending; empty if unusable.

    The file is read, not decoded. ``mtime_ns`` and ``size`` are there for the cache only.
    """
    with _open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    stamps = [packet.pts for packet in packets]
    if None in stamps or len(set(stamps)) != len(stamps):
        return [], []
    return sorted(stamps), sorted(packet.pts for packet in packets if packet.is_keyframe)


def _open(path: str) -> av.container.InputContainer:
    try:
        container = av.open(path)
    except av.error.FFmpegError as error:
        raise VideoError(f'{path} is no video that FFmpeg can open ({error.strerror})') from error
    if not container.streams.video:
        container.close()
        raise VideoError(f'{path} has no video stream')
    container.streams.video[0].codec_context.thread_count = 1
    return container


def _decode(container: av.container.InputContainer, path: str) -> Iterator[av.VideoFrame]:
    """Frames in presentation order; decoding errors name the file and how far it went."""
    number = 0
    try:
        for frame in container.decode(video=0):
            number += 1
            yield frame
    except av.error.FFmpegError as error:
        raise VideoError(
            f'{path} is damaged: decoding stopped {number} frames on ({error.strerror});'
            ' get the video again'
        ) from error
