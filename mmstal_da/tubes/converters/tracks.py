"""What the readers of annotation tools share: tracks of key boxes, names of images, JSON.

A tool stores a track as boxes at key frames, and what lies between follows by a rule of the tool.
Here boxes are ``x1 y1 x2 y2`` with inclusive ends already (the edge of a box on the right is
``x2 + 1``), and frames are 1-based.

Boxes that nobody gave a track to are linked only where that is certain: if a video never has two
boxes of one class in a frame, they are one tube, else each of them is a tube of one frame. Either
is noted.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmstal_da.errors import AnnotationError
from mmstal_da.utils import io
from mmstal_da.video.reader import VIDEO_SUFFIXES

from ..annotation import Annotation, Tube, Video
from ..walk import files_below
from .problems import Problem, note

Placed = tuple[int, tuple[float, ...]]  # 1-based frame, box x1 y1 x2 y2
LONGEST = 10_000_000  # frames, four days; a number beyond is a mistake
LONG = 25  # a float64 is shorter; longer numerals are exact decimals


@dataclass
class Hints:
    """What is known of the videos from elsewhere, for formats that do not say it.

    Attributes:
        sizes: Video -> (width, height) in pixels.
        fps: Video -> frames per second.
        any_fps: Frames per second of the others; None if not known.
        absent: Videos to leave out.
        label_attribute: Which attribute of a box is its class; None looks for one.
    """

    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    fps: Mapping[str, float] = field(default_factory=dict)
    any_fps: float | None = None
    absent: frozenset[str] = frozenset()
    label_attribute: str | None = None


@dataclass
class ImageName:
    """What the name of an image says.

    Attributes:
        video: The folder it lies in, or the text before its number, or ``''``.
        number: Its number; None if the name has none.
        template: Pattern of the file's name with the number; ``''`` without a number.
    """

    video: str
    number: int | None
    template: str


def load_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON; numerals too long for a float64 come as text, as :mod:`.coco_video` writes some.

    Raises:
        AnnotationError: Not JSON, cut off, or a key twice in one object.
    """

    def number(text: str) -> float | str:
        return text if len(text) > LONG else float(text)

    try:
        return io.load_json(path, number)
    except AnnotationError as error:
        raise AnnotationError(f'{error}; export it again') from error


@contextmanager
def expecting(what: str) -> Iterator[None]:
    """Say what a file is not, where its content has another structure.

    Args:
        what: The beginning of the message, which names the file.

    Raises:
        AnnotationError: In place of the errors of missing keys and values of other types.
    """
    try:
        yield
    except AnnotationError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise AnnotationError(f'{what}: {error!r}; export it again') from error


def json_files(path: str | os.PathLike[str]) -> list[Path]:
    """The file, or all ``.json`` files of a folder, at any depth.

    Raises:
        AnnotationError: A folder without any.
    """
    path = Path(path)
    files = files_below(path, ('.json',)) if path.is_dir() else [path]
    if not files:
        raise AnnotationError(f'{path} holds no .json files')
    return files


def video_name(path: str) -> str:
    """A video's name: its path without a video's suffix and without a leading ``./`` or ``/``."""
    name = path.replace('\\', '/').strip()
    if name.lower().endswith(VIDEO_SUFFIXES):
        name = os.path.splitext(name)[0]
    return re.sub(r'^(\.{0,2}/)+', '', name)


def image_name(path: str) -> ImageName:
    """Take the name of an image apart: ``walk/clip/img_00012.jpg`` is image 12 of ``walk/clip``.

    An image outside of any folder belongs to the video of the text before its number
    (``clip_a_00012.jpg``: ``clip_a``), unless that is a word for frames.
    """
    pure = PurePosixPath(re.sub(r'^(\.{0,2}/)+', '', path.replace('\\', '/')))
    match = re.fullmatch(r'(.*?)(\d+)', pure.stem)
    folder = '' if str(pure.parent) == '.' else str(pure.parent)
    if match is None:
        return ImageName(folder, None, '')
    before, digits = match[1], match[2]
    prefix = re.sub(r'[_\-. ]+$', '', before)
    if not folder and prefix.lower() not in ('', 'frame', 'frames', 'img', 'image', 'images'):
        folder = prefix
    braces = before.replace('{', '{{').replace('}', '}}')
    return ImageName(folder, int(digits), f'{braces}{{:0{len(digits)}d}}{pure.suffix}')


def fill(
    frames: np.ndarray,
    boxes: np.ndarray,
    shown: np.ndarray,
    follow: np.ndarray,
    linear: np.ndarray,
    last: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of all frames from those of key frames.

    Args:
        frames: (n,) int64 key frames, 1-based, strictly increasing.
        boxes: (n, 4) float32 ``x1 y1 x2 y2``.
        shown: (n,) bool, whether the box is there at the key frame itself.
        follow: (n,) bool, whether it is there between the key frame and the next one.
        linear: (n,) bool, whether it moves on a straight line there, or stays where it is.
        last: Frame up to which the last box stays if it follows; None ends the track with it.

    Returns:
        (m,) int64 and (m, 4) float32; key boxes to the last bit.
    """
    found_frames, found_boxes = [], []
    for row in range(len(frames)):
        if shown[row]:
            found_frames.append(frames[row : row + 1])
            found_boxes.append(boxes[row : row + 1])
        end = frames[row + 1] if row + 1 < len(frames) else (last or frames[row]) + 1
        between = np.arange(frames[row] + 1, end)
        if not follow[row] or not len(between):
            continue
        start = boxes[row].astype(np.float64)
        goal = boxes[row + 1] if row + 1 < len(frames) and linear[row] else start
        share = ((between - frames[row]) / (end - frames[row]))[:, None]
        found_frames.append(between)
        found_boxes.append((start + (goal - start) * share).astype(np.float32))
    if not found_frames:
        return np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
    return np.concatenate(found_frames).astype(np.int64), np.concatenate(found_boxes)


def in_order(frames: Iterable[int], where: str) -> np.ndarray:
    """Indices that sort the frames of a track.

    Args:
        frames: 1-based.
        where: File, video and track, for the message.

    Raises:
        AnnotationError: A frame twice, or one before the first.
    """
    frames = list(frames)
    if max(frames, default=0) > LONGEST:
        raise AnnotationError(f'{where}, frame {max(frames)}: no video is as long; correct it')
    numbers = np.array(frames, np.int64)
    order = np.argsort(numbers, kind='stable')
    twice = np.flatnonzero(np.diff(numbers[order]) == 0)
    if len(twice):
        frame = numbers[order][twice[0]]
        raise AnnotationError(
            f'{where}, frame {frame}: two boxes in one frame; delete one, or make it another track'
        )
    if len(numbers) and numbers.min() < 1:
        raise AnnotationError(f'{where}, frame {numbers.min()}: frames are counted from 1')
    return order


def add_tube(
    annotation: Annotation,
    video: str,
    tube: Tube,
    track: str,
    problems: list[Problem] | None,
) -> None:
    """Add a track to a video, without boxes that are none; what is odd about it is noted.

    Args:
        annotation: Gets the tube.
        video: Name of the video.
        tube: The track's boxes, frames in order.
        track: Its name, for notes: ``'track 3'``.
        problems: Where to note; None raises at the first.
    """
    boxes = tube.boxes.astype(np.float64)
    bad = ~np.isfinite(boxes).all(1) | (boxes[:, 2:] < boxes[:, :2]).any(1)
    for row in np.flatnonzero(bad):
        left, top, right, bottom = (float(value) for value in boxes[row])
        text = f'{track}: box {left:g} {top:g} {right:g} {bottom:g} is less than a pixel'
        box, frame = (left, top, right, bottom), int(tube.frames[row])
        note(problems, Problem(video, text, 'left out', tube.label, frame, box, 1))
    tube = Tube(tube.label, tube.frames[~bad], tube.boxes[~bad])
    if not len(tube.frames):
        if not bad.any():
            note(problems, Problem(video, f'{track} has no box', 'left out', tube.label))
        return
    facts = annotation.videos[video]
    longest = int(tube.frames[-1])
    if longest > facts.num_frames:
        text = f'{track} goes up to frame {longest}, the video has {facts.num_frames}'
        note(problems, Problem(video, text, f'num_frames is {longest}', tube.label, longest))
        facts.num_frames = longest
    annotation.tubes.setdefault(video, []).append(tube)


def add_tracks(
    annotation: Annotation,
    video: str,
    tracks: Mapping[tuple[str, str], list[Placed]],
    where: str,
    problems: list[Problem] | None,
) -> None:
    """Make a tube of every track of a video, frames without a box a gap.

    Args:
        annotation: Gets the tubes.
        video: Name of the video.
        tracks: (class, track) -> boxes, frames in any order.
        where: File and video, for messages.
        problems: Where to note; None raises.

    Raises:
        AnnotationError: A track with two boxes in one frame.
    """
    for (label, track), placed in tracks.items():
        order = in_order([frame for frame, _ in placed], f'{where}, track {track}')
        frames = np.array([placed[row][0] for row in order], np.int64)
        boxes = np.array([placed[row][1] for row in order], np.float32)
        add_tube(annotation, video, Tube(label, frames, boxes), f'track {track}', problems)


def add_untracked(
    annotation: Annotation,
    video: str,
    boxes: Mapping[str, list[Placed]],
    problems: list[Problem] | None,
) -> None:
    """Make tubes of boxes that belong to no track (see the module).

    Args:
        annotation: Gets the tubes.
        video: Name of the video.
        boxes: Class -> (frame, box), in the order of the file.
        problems: Where to note; None raises.
    """
    for label, items in boxes.items():
        if max(frame for frame, _ in items) > LONGEST:
            raise AnnotationError(f'video {video!r}, class {label!r}: a frame beyond {LONGEST}')
        items = sorted(items, key=lambda item: item[0])
        frames = np.array([frame for frame, _ in items], np.int64)
        rows = np.array([box for _, box in items], np.float32)
        alone = len(set(frames.tolist())) == len(frames)
        text = f'{len(frames)} boxes of {label!r} have no track'
        done = 'linked to one tube: no frame has two of them'
        if not alone:
            done = f'{len(frames)} tubes of one frame: some frames have several of them'
        note(problems, Problem(video, text, done, label))
        parts = [slice(None)] if alone else [slice(n, n + 1) for n in range(len(frames))]
        for part in parts:
            track = f'box of {label!r}'
            add_tube(annotation, video, Tube(label, frames[part], rows[part]), track, problems)


def numbered_frames(
    names: Mapping[str, ImageName], video: str, problems: list[Problem] | None
) -> tuple[dict[str, int], str | None]:
    """Frames of the images of one video.

    Args:
        names: Image -> what its name says, in the order of the file.
        video: Name of the video, for notes.
        problems: Where it is noted that images have no numbers, or count from 0.

    Returns:
        Image -> 1-based frame, and the pattern of the names if they are numbered from 1 on.
    """
    numbers = [name.number for name in names.values()]
    if any(number is None for number in numbers) or len(set(numbers)) < len(numbers):
        text = f'images have no numbers of their own, such as {next(iter(names))!r}'
        note(problems, Problem(video, text, 'frames counted in the order of the file'))
        return {name: frame for frame, name in enumerate(names, 1)}, None
    first = min(number for number in numbers if number is not None)
    shift = int(first == 0)
    if shift:
        note(problems, Problem(video, 'images are numbered from 0', 'frame is number + 1'))
    frames = {key: (name.number or 0) + shift for key, name in names.items()}
    templates = {name.template for name in names.values()}
    return frames, templates.pop() if len(templates) == 1 and not shift else None


def unsized(path: str, num_frames: int, template: str | None) -> Video:
    """A video of which the source says no size: a folder of images, or a file."""
    name = path if template else f'{path}.avi'
    return Video(name, max(num_frames, 1), filename_tmpl=template)
