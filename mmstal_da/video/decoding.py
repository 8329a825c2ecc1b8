"""Opens a video file and decodes its frames; what FFmpeg would pass over is an error here.

FFmpeg conceals damage: it shows a picture made up from its neighbours, or fewer frames, and writes
a line to a log that PyAV does not show. These are errors of this module:

- a frame that the decoder marks as corrupt, and what it reports as an error in its log;
- a file that is cut off, where its container says so (AVI, Matroska and WebM, FLV, GIF, MP4);
- a frame of another size than the first;
- a display matrix (rotated, mirrored or flipped by the player): boxes do not follow it.

Decoders have no checksum. A wrong byte that still reads as video gives another picture, which no
decoder finds: see ``mmstal_da/utils/README.md``.

Streams (URLs) lose packets as a matter of course; for them nothing of this is an error.
"""

import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
from av.stream import Disposition

from mmstal_da.errors import VideoError

# FFmpeg's own names of what decoders look for. `explode`, which ends decoding there, found nothing
# that the log does not have
DETECT = 'crccheck+bitstream+buffer+careful'
# their log also has what does no harm, such as a message (SEI) that is cut off
LENIENT = ('h264', 'hevc')
CUT_OFF = re.compile(r'ended prematurely|partial file|Truncating packet|Packet mismatch')
PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails
_SLACK = 64  # bytes by which an AVI's header may be wrong


class FrameSizeError(VideoError):
    """A frame has another size than the first.

    Args:
        message: All of it.
        frame: 1-based.
        problem: The part that compares the sizes.
    """

    def __init__(self, message: str, frame: int, problem: str) -> None:
        super().__init__(message)
        self.frame, self.problem = frame, problem


def is_stream(path: str) -> bool:
    """Whether a path is a URL, whose end and losses are not known."""
    return '://' in path


def open_video(path: str) -> av.container.InputContainer:
    """Open a video with one decoding thread.

    Raises:
        VideoError: Not a regular file, or nothing that FFmpeg can open.
    """
    if not is_stream(path):
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            raise VideoError(f'{path} cannot be opened ({error.strerror})') from error
        if not stat.S_ISREG(mode):  # a pipe would be waited for
            raise VideoError(f'{path} is no file: give a video file')
    try:
        with _listening('') as heard:  # short files are read to their end here
            container = av.open(path)
    except av.error.FFmpegError as error:
        raise VideoError(f'{path} is not a video FFmpeg can open ({error.strerror})') from error
    if heard and not is_stream(path):
        container.close()
        raise VideoError(f'{path} is cut off ({heard[0]}); get the video again')
    try:
        context = video_stream(container, path).codec_context
    except VideoError:
        container.close()
        raise
    context.thread_count = 1
    context.options = {} if is_stream(path) else {'err_detect': DETECT}
    return container


def video_stream(container: av.container.InputContainer, path: str) -> av.video.stream.VideoStream:
    """The video track: not a cover picture, and of several the one with the most pixels.

    Raises:
        VideoError: No track, a picture alone, or several of one size.
    """
    tracks = [s for s in container.streams.video if not int(s.disposition) & int(PICTURE)]
    if not tracks:
        what = 'only a cover picture' if container.streams.video else 'no video stream'
        raise VideoError(f'{path} has {what}')

    def pixels(track: av.video.stream.VideoStream) -> int:
        return int(track.codec_context.width * track.codec_context.height)

    tracks.sort(key=pixels, reverse=True)
    if len(tracks) > 1 and pixels(tracks[0]) == pixels(tracks[1]):
        size = f'{tracks[0].codec_context.width}x{tracks[0].codec_context.height}'
        raise VideoError(
            f'{path} has several video tracks of {size} pixels: keep one'
            f' (ffmpeg -i IN -map 0:{tracks[0].index} -c copy OUT)'
        )
    return tracks[0]


def decode_video(
    container: av.container.InputContainer,
    path: str,
    start: int = 1,
    size: tuple[int, int] | None = None,
) -> Iterator[av.VideoFrame]:
    """Frames in presentation order.

    Args:
        container: Of :func:`open_video`.
        path: Its path, for messages.
        start: Number of the frame that comes first.
        size: Width and height of the video's first frame, if it is known.

    Raises:
        VideoError: See the module; names the file and the frame.
    """
    stream, strict = video_stream(container, path), not is_stream(path)
    frames, number = container.decode(stream), start - 1
    while True:
        try:
            with _listening(stream.codec_context.name) as heard:
                frame = next(frames, None)
        except av.error.FFmpegError as error:
            raise VideoError(
                f'{path} is damaged: decoding failed after frame {number} ({error.strerror});'
                ' get the video again'
            ) from error
        if strict and heard:
            raise _damaged(path, number + 1, heard[0])
        if frame is None:
            return
        number += 1
        if strict:
            if frame.is_corrupt:
                raise _damaged(path, number, 'the decoder calls the frame corrupt')
            size = _check(frame, path, number, size)
        yield frame


def _check(
    frame: av.VideoFrame, path: str, number: int, size: tuple[int, int] | None
) -> tuple[int, int]:
    """Compare a frame with the size of the first, which is returned; refuse a display matrix."""
    found = (frame.width, frame.height)
    if size is not None and found != size:
        problem = f'{found[0]}x{found[1]} pixels after {size[0]}x{size[1]}'
        raise FrameSizeError(
            f'{path}: frame {number} has {problem}; all must have one size: re-encode it'
            ' (ffmpeg -i IN OUT)',
            number,
            problem,
        )
    if size is None or frame.rotation:
        matrix: Any = frame.side_data.get('DISPLAYMATRIX')
        how = None if matrix is None else describe_matrix(bytes(matrix))
        if how:
            raise VideoError(
                f'{path} asks players to show it {how}; boxes cannot follow that. Re-encode it'
                ' upright (ffmpeg -i IN OUT)'
            )
    return found


def describe_matrix(data: bytes) -> str | None:
    """What a display matrix does to a picture, in words; None if it is shown as it is.

    Args:
        data: Nine 32-bit integers, rows of ``(a, b, u; c, d, v; x, y, w)`` in 16.16 fixed point
            (u, v and w in 2.30), in this machine's order. A pixel (p, q) goes to
            ``(a p + c q + x, b p + d q + y)``.
    """
    a, b, _, c, d, *_ = struct.unpack('=9i', data[:36])
    if b == c == 0 and a > 0 and d > 0:
        return None
    if b == c == 0:
        kinds = {(-1, 1): 'mirrored', (1, -1): 'upside down and mirrored (flipped vertically)'}
        return kinds.get((_sign(a), _sign(d)), 'rotated by 180 degrees')
    if a == d == 0:
        kinds = {(1, -1): 'rotated by 90 degrees clockwise',
                 (-1, 1): 'rotated by 90 degrees counter-clockwise'}  # fmt: skip
        return kinds.get((_sign(b), _sign(c)), 'transposed: rotated by 90 degrees and mirrored')
    return 'turned by a matrix of its own'


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _damaged(path: str, number: int, what: str) -> VideoError:
    return VideoError(
        f'{path} is damaged: near frame {number} ({what}); get the video again. To take its'
        ' pictures as they are, re-encode it (ffmpeg -i IN OUT)'
    )


@contextmanager
def _listening(codec: str) -> Iterator[list[str]]:
    """Collect what FFmpeg reports as damage in this thread."""
    level, repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    heard: list[str] = []
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as logs:
            yield heard
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(repeated)
        for _, name, message in logs:
            if (codec and name == codec and codec not in LENIENT) or CUT_OFF.search(message):
                heard.append(message.strip())


def refuse_cut_off(path: str) -> None:
    """Compare the length that an AVI or GIF gives itself with the file's.

    Raises:
        VideoError: The file ends before.
    """
    total = os.path.getsize(path)
    with open(path, 'rb') as file:
        head = file.read(8)
        if head.startswith(b'GIF8'):
            file.seek(max(total - 4096, 0))
            if not file.read().rstrip(b'\0').endswith(b'\x3b'):
                raise VideoError(f'{path} is cut off: the end of a GIF is missing; get it again')
        position = 0
        while head.startswith(b'RIFF') and len(head) == 8:
            length = int.from_bytes(head[4:], 'little')
            if length in (0, 0xFFFFFFFF):  # written to a pipe
                return
            position += 8 + length + length % 2
            if position > total + _SLACK:
                raise VideoError(
                    f'{path} is cut off: its header announces {position} bytes, it has {total};'
                    ' get it again'
                )
            file.seek(position)
            head = file.read(8)
