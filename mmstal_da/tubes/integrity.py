"""Checks that the videos of a prepared dataset agree with its annotation.

Every video and every image of a folder is decoded once, because a header does not show whether
its file is damaged. (Few formats have checksums: some wrong bytes only change pixels, and nothing
finds them; see ``mmstal_da/utils/README.md``.) A damaged clip gets one complaint, about the first
thing that is wrong with it, because the rest follows from that.
"""

import io
import os
import signal
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from mmstal_da.errors import AnnotationError, VideoError
from mmstal_da.video.decoding import FrameSizeError, decode_video, open_video, refuse_cut_off
from mmstal_da.video.images import count_images, refuse_image

from .annotation import Annotation, Tube, Video
from .duplicates import find_duplicates
from .plausible import look_like_fractions

# an encoder rounds sizes: 320x240 may become 340x256
ASPECT_TOLERANCE = 0.02
# ACT's caches count x2 = x + w: a box may end one pixel beyond the last
BORDER = 1


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong with a dataset.

    Attributes:
        kind: ``missing``, ``unreadable``, ``frames``, ``size``, ``box``, ``class``, ``twice`` or
            ``unit``.
        problem: What is wrong.
        remedy: What to do.
        video: Name of the video, if the complaint concerns one.
        file: Its file or folder, or the wrong image.
        frame: 1-based frame, if one can be named.
    """

    kind: str
    problem: str
    remedy: str
    video: str | None = None
    file: str | None = None
    frame: int | None = None

    def __str__(self) -> str:
        where = [] if self.video is None else [f'video {self.video!r}']
        where += [] if self.file is None else [self.file]
        where += [] if self.frame is None else [f'frame {self.frame}']
        return f'{", ".join(where)}: {self.problem}. {self.remedy}'.removeprefix(': ')

    def to_json(self) -> dict[str, Any]:
        """The attributes that are set."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class _Pixels:
    """What decoding showed: the number of frames, and the (width, height) of all of them."""

    num_frames: int
    size: tuple[int, int]


class _DamagedError(Exception):
    """Carries the complaint about a video that cannot be decoded as a whole."""

    def __init__(self, kind: str, problem: str, remedy: str, file: str, frame: int | None = None):
        super().__init__(problem)
        self.complaint = Complaint(kind, problem, remedy, file=file, frame=frame)


def check_videos(
    annotation: Annotation, folder: str | os.PathLike[str], workers: int = 1
) -> Iterator[tuple[str, Complaint | None]]:
    """Check all videos of an annotation.

    Args:
        annotation: The annotation.
        folder: Folder that the videos' paths are relative to (a dataset's ``data_prefix``).
        workers: Number of processes; 1 checks in this process.

    Yields:
        Name of a video and what is wrong with it, in the order of the annotation.
    """
    names = list(annotation.videos)
    check = partial(check_video, folder=os.fspath(folder))
    arguments = (
        names,
        list(annotation.videos.values()),
        [annotation.tubes.get(name, []) for name in names],
    )
    if workers == 1:
        yield from zip(names, map(check, *arguments), strict=True)
        return
    # Ctrl-C is for this process, which then gives the videos back that no other has begun
    ignore = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(workers, initializer=signal.signal, initargs=ignore)
    try:
        yield from zip(names, pool.map(check, *arguments), strict=True)
    except BrokenProcessPool as error:
        raise AnnotationError(
            f'{folder}: a process that decoded was killed (is memory short?); try fewer --workers'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def check_video(
    name: str, video: Video, tubes: Sequence[Tube], folder: str | os.PathLike[str]
) -> Complaint | None:
    """Decode one video and compare it with its annotation.

    Args:
        name: Name of the video.
        video: What the annotation says about it.
        tubes: Its tubes.
        folder: Folder that ``video.path`` is relative to.

    Returns:
        The first thing that is wrong, in this order: the file, the number of frames, the size,
        a box outside the frame. None if nothing is wrong.
    """
    path = os.path.join(folder, video.path)
    try:
        pixels = _read(path, video)
    except _DamagedError as error:
        return replace(error.complaint, video=name)
    complain = partial(Complaint, video=name, file=path)
    if pixels.num_frames != video.num_frames:
        fewer = pixels.num_frames < video.num_frames
        return complain(
            'frames',
            f'{pixels.num_frames} frames, the annotation counts {video.num_frames}',
            'The file is truncated or another version: get it again, or correct num_frames'
            if fewer
            else 'It is another version of the video: get the one that was annotated, or correct'
            ' num_frames',
            frame=min(pixels.num_frames, video.num_frames) + 1,
        )
    width, height = pixels.size
    if video.width is not None and video.height is not None:
        stretch = (width / height) / (video.width / video.height)
        if abs(stretch - 1) > ASPECT_TOLERANCE:
            return complain(
                'size',
                f'{width}x{height} pixels, the annotation is for {video.width}x{video.height}:'
                ' another shape',
                'Boxes can be scaled, not cropped or padded: get the video that was annotated',
            )
        width, height = video.width, video.height
    found = _off_frame(tubes, width, height)
    if found is not None:
        frame, box = found
        text = ' '.join(f'{value:g}' for value in box)
        return complain(
            'box',
            f'box {text} reaches beyond the frame of {width}x{height} pixels',
            'Correct the annotation, or its width and height',
            frame=frame,
        )
    return None


def check_tubes(annotation: Annotation) -> list[Complaint]:
    """Complain about tubes that mark the same action twice, and boxes in another unit."""
    complaints = []
    for name, tubes in annotation.tubes.items():
        for first, second in find_duplicates(tubes):
            common = np.intersect1d(tubes[first].frames, tubes[second].frames)
            problem = f'tubes {first} and {second} of {tubes[first].label!r} mark the same boxes'
            remedy = 'Delete one, or prepare the dataset with --merge-duplicates'
            complaints.append(Complaint('twice', problem, remedy, name, frame=int(common[0])))
    boxes = [tube.boxes for tubes in annotation.tubes.values() for tube in tubes]
    if boxes and all(look_like_fractions(items) for items in boxes):
        problem = 'all boxes lie between 0 and 1: they seem to be fractions of the frame'
        complaints.append(Complaint('unit', problem, 'Multiply them by width and height'))
    return complaints


def check_classes(annotation: Annotation) -> list[Complaint]:
    """Complain about splits without videos, classes without a tube, and names that look alike.

    A class that no split has a tube of is one complaint. A dataset without any tube is
    unlabelled: nothing is said about its classes.
    """
    complaints = [
        Complaint(
            'class',
            f'classes {first!r} and {second!r} differ only in case, blanks or signs',
            'Give one action one name, or leave one out with --classes',
        )
        for first, second in similar_names(annotation.classes)
    ]
    present: dict[str, set[str]] = {}
    for split, names in annotation.splits.items():
        if names:
            tubes = [tube for name in names for tube in annotation.tubes.get(name, [])]
            present[split] = {tube.label for tube in tubes}
        else:
            problem, remedy = f'split {split!r} has no videos', 'Prepare the dataset with its lists'
            complaints.append(Complaint('class', problem, remedy))
    for label in annotation.classes if any(annotation.tubes.values()) else ():
        lacking = [split for split, labels in present.items() if label not in labels]
        where = [f'split {split!r}' for split in lacking]
        if present and len(lacking) == len(present):
            where = ['the dataset']
        complaints += [
            Complaint(
                'class',
                f'{place} has no sample of class {label!r}',
                'Check the split lists, or leave the class out with --classes',
            )
            for place in where
        ]
    return complaints


def similar_names(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that are equal but for case, blanks, signs and forms of Unicode."""
    first: dict[str, str] = {}
    pairs = []
    for name in names:
        plain = unicodedata.normalize('NFKC', name).casefold()
        plain = ''.join(letter for letter in plain if letter.isalnum()) or name
        if first.setdefault(plain, name) != name:
            pairs.append((first[plain], name))
    return pairs


def _read(path: str, video: Video) -> _Pixels:
    """Decode everything.

    Raises:
        _DamagedError: It is missing or cannot be decoded.
    """
    again = 'Get it again'
    if not os.path.exists(path):
        raise _DamagedError('missing', 'no such file', f'{again}, or correct its path', path)
    if video.filename_tmpl is not None:
        return _read_images(path, video.filename_tmpl, video.num_frames)
    if os.path.isdir(path):
        remedy = 'Prepare the dataset again with --frames'
        raise _DamagedError('unreadable', 'a folder where a video file is expected', remedy, path)
    if not os.path.getsize(path):
        raise _DamagedError('unreadable', 'the file is empty', again, path)
    count, size = 0, (0, 0)
    try:
        with open_video(path) as container:
            for frame in decode_video(container, path):
                count += 1
                size = (frame.width, frame.height)
        refuse_cut_off(path)
    except FrameSizeError as error:
        raise _DamagedError('size', error.problem, again, path, error.frame) from error
    except VideoError as error:
        # the reader's message begins with the path, which the complaint names already
        problem = str(error).removeprefix(path).lstrip(': ').removeprefix('is ').split(';')[0]
        raise _DamagedError('unreadable', problem, again, path, count + 1) from error
    if not count:
        raise _DamagedError('unreadable', 'no frame can be decoded', again, path)
    return _Pixels(count, size)


def _read_images(folder: str, filename_tmpl: str, num_frames: int) -> _Pixels:
    """Decode the images of a folder, which are as many as the annotation counts.

    Raises:
        _DamagedError: The first image that is missing, cannot be decoded, or has another size.
    """
    again = 'Extract the frames again'
    if not os.path.isdir(folder):
        raise _DamagedError('missing', 'a file where a folder of images is expected', again, folder)
    size = (0, 0)
    for number in range(1, num_frames + 1):
        file = os.path.join(folder, filename_tmpl.format(number))
        if not os.path.isfile(file):
            problem = f'no such image; the annotation counts {num_frames} frames'
            raise _DamagedError('frames', problem, again, file, number)
        try:
            with open(file, 'rb') as opened:
                data = opened.read()
            refuse_image(data, file)
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                found = image.size
        except VideoError as error:
            problem = str(error).removeprefix(file).strip().split(':')[0]
            raise _DamagedError('unreadable', problem, again, file, number) from error
        # what Pillow raises on damaged data depends on the format
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            problem = f'the image cannot be decoded ({error})'
            raise _DamagedError('unreadable', problem, again, file, number) from error
        if number > 1 and found != size:
            problem = f'{found[0]}x{found[1]} pixels after {size[0]}x{size[1]}'
            raise _DamagedError('size', problem, again, file, number)
        size = found
    try:
        count = count_images(folder, filename_tmpl)
    except VideoError as error:  # images follow after a gap
        problem = str(error).partition(': ')[2]
        raise _DamagedError('frames', problem, again, folder, num_frames + 1) from error
    return _Pixels(count, size)


def _off_frame(
    tubes: Sequence[Tube], width: int, height: int
) -> tuple[int, tuple[float, ...]] | None:
    """Frame and numbers of the first box that reaches beyond the frame."""
    limit = np.array([width - 1, height - 1]) + BORDER
    for tube in tubes:
        off = (tube.boxes[:, :2] < 0).any(1) | (tube.boxes[:, 2:] > limit).any(1)
        if off.any():
            row = int(np.flatnonzero(off)[0])
            return int(tube.frames[row]), tuple(tube.boxes[row].tolist())
    return None
