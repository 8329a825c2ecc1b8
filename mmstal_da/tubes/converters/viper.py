"""UCF101-24 from the original THUMOS annotations: one ViPER file (XML, ``.xgtf``) per video.

``UCF101_24_Annotations/<Class>/v_Class_gXX_cYY.xgtf`` describes its attributes. It also holds a
``sourcefile`` with

- ``<file name="Information">``: ``NUMFRAMES``, and often ``H-FRAME-SIZE`` and ``V-FRAME-SIZE``;
- ``<object>``, one per actor: the attribute ``Location`` with one ``bbox`` (``framespan="a:b"``,
  ``x``, ``y``, ``width``, ``height``) per frame or run of frames, and the action as an attribute
  of ``bvalue`` (``framespan``, ``value="true"``): when the actor performs it.

A framespan is 1-based with both ends inclusive, ``"a:b"`` or several of them separated by blanks.
Pixels are 0-based, so ``x2 = x + width - 1``. Every run of frames with the action true is one
tube. An actor without a ``bvalue`` acts all the time. Boxes that extend beyond the frame are cut at
its border. Everything that is cut or left out is noted.
"""

import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from mmstal_da.errors import AnnotationError

from ..annotation import Annotation, Tube, Video
from ..walk import files_below
from .problems import Conversion, Problem, large_enough, note
from .tracks import LONGEST
from .ucf101_24 import HEIGHT, WIDTH


class ViperError(ValueError):
    """A file that is not ViPER ground truth."""


def from_xgtf(
    folder: str | os.PathLike[str], problems: list[Problem] | None = None
) -> tuple[Annotation, set[str]]:
    """Read a tree of ``.xgtf`` files.

    Args:
        folder: Searched at any depth; the folder of a file names its class.
        problems: List for notes on unreadable files, actors without an action and boxes that were
            cut or left out; None raises at the first.

    Returns:
        Annotation without splits, whose videos are expected at ``Class/v_Class_gXX_cYY.avi``; and
        the videos whose files do not give the number of frames.

    Raises:
        AnnotationError: There are no such files, or a file's folder is not its video's class.
    """
    folder = Path(folder)
    paths = files_below(folder, ('.xgtf',))
    if not paths:
        raise AnnotationError(f'{folder} holds no .xgtf files')
    annotation, counted = Annotation('ucf101_24', []), set()
    for path in paths:
        # v_RopeClimbing_g02_C01.xgtf: only this video's name is written with a capital
        stem = re.sub(r'_C(\d+)$', r'_c\1', path.stem)
        label, name = path.parent.name, f'{path.parent.name}/{stem}'
        if f'_{label}_' not in stem:
            raise AnnotationError(
                f'{path}: expected at <Class>/v_<Class>_gXX_cYY.xgtf; the folder names the class'
            )
        if name in annotation.videos:
            raise AnnotationError(f'{path}: another file describes video {name!r} already')
        try:
            video, known, tubes = _read(path, name, label, problems)
        except (ElementTree.ParseError, ViperError) as error:
            note(problems, Problem(name, f'{path} is not readable: {error}', 'video left out'))
            continue
        annotation.videos[name] = video
        if tubes:
            annotation.tubes[name] = tubes
        else:
            note(problems, Problem(name, f'{path.name} has no tube', 'kept as background'))
        if not known:
            counted.add(name)
    if not annotation.videos:
        first = '' if not problems else f', such as {problems[0].problem}'
        raise AnnotationError(f'{folder}: none of {len(paths)} files is readable{first}')
    annotation.classes = sorted({name.split('/')[0] for name in annotation.videos})
    return annotation, counted


def convert(path: str | os.PathLike[str]) -> Conversion:
    """Read a tree of ``.xgtf`` files, with notes on what was wrong in them."""
    problems: list[Problem] = []
    annotation, counted = from_xgtf(path, problems)
    return Conversion(annotation, 'THUMOS XML (ViPER)', problems, counted)


def _read(
    path: Path, name: str, label: str, problems: list[Problem] | None
) -> tuple[Video, bool, list[Tube]]:
    """The video, whether its length is known, and its tubes."""
    root = ElementTree.parse(path).getroot()
    for element in root.iter():  # drop the namespaces: there are several versions of them
        element.tag = element.tag.rpartition('}')[2]
    sources = [source for source in root.iter('sourcefile') if len(source)]
    if not sources:
        raise ViperError('no <sourcefile> with content')
    facts: dict[str, int] = {}
    tubes: list[Tube] = []
    actors: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for source in sources:
        for attribute in source.iterfind('file/attribute'):
            for value in attribute.iterfind('dvalue'):
                facts[attribute.get('name', '').upper()] = _number(value, 'value')
        for actor in source.iterfind('object'):
            number = actor.get('id', str(len(actors)))
            found = _boxes(actor)
            if number in actors or not found:
                text = 'has no box' if not found else 'is described twice'
                done = 'left out' if not found else 'the first description kept'
                note(problems, Problem(name, f'actor {number} {text}', done, label))
                continue
            frames = np.array(sorted(found))
            actors[number] = (frames, np.array([found[f] for f in frames]), _acting(actor, frames))
    width, height = facts.get('H-FRAME-SIZE', 0), facts.get('V-FRAME-SIZE', 0)
    width, height = (width, height) if width and height else (WIDTH, HEIGHT)
    last = max((int(frames[-1]) for frames, _, _ in actors.values()), default=1)
    num_frames = facts.get('NUMFRAMES', 0)
    for number, (frames, boxes, acting) in actors.items():
        if not acting.any():
            problem = Problem(name, f'actor {number} never acts', 'left out', label)
            note(problems, problem)
        # a run also ends where frames are missing
        new = acting & ~np.r_[False, acting[:-1] & (np.diff(frames) == 1)]
        run = np.cumsum(new)
        for index in range(1, run.max(initial=0) + 1):
            rows = acting & (run == index)
            tube = _tube(frames[rows], boxes[rows], (width, height), name, label, problems)
            if len(tube.frames):
                tubes.append(tube)
    if num_frames and last > num_frames:
        problem = Problem(
            name, f'boxes up to frame {last}, NUMFRAMES is {num_frames}', f'num_frames is {last}'
        )
        note(problems, problem)
    video = Video(f'{name}.avi', max(num_frames, last), width, height)
    return video, bool(num_frames), tubes


def _boxes(actor: ElementTree.Element) -> dict[int, tuple[int, int, int, int]]:
    """Frame -> x, y, width, height."""
    boxes: dict[int, tuple[int, int, int, int]] = {}
    for box in actor.iterfind('attribute/bbox'):
        x, y, width, height = (_number(box, key) for key in ('x', 'y', 'width', 'height'))
        for first, last in _spans(box):
            if last > LONGEST:
                raise ViperError(f'frame {last} is in no video')
            boxes.update(dict.fromkeys(range(first, last + 1), (x, y, width, height)))
    return boxes


def _acting(actor: ElementTree.Element, frames: np.ndarray) -> np.ndarray:
    """(n,) bool: whether the actor performs the action in each of the frames."""
    values = list(actor.iterfind('attribute/bvalue'))
    acting = np.full(len(frames), not values)
    for value in values:
        if value.get('value', '').lower() == 'true':
            spans = _spans(value) if value.get('framespan') else [(frames[0], frames[-1])]
            for first, last in spans:
                acting |= (frames >= first) & (frames <= last)
    return acting


def _tube(
    frames: np.ndarray,
    raw: np.ndarray,
    size: tuple[int, int],
    name: str,
    label: str,
    problems: list[Problem] | None,
) -> Tube:
    """Cut (n, 4) ``x y w h`` at the border of the frame; leave out boxes outside the frame."""
    x, y, w, h = raw.T
    boxes = np.stack([x, y, x + w - 1, y + h - 1], 1)
    limit = np.array(size * 2) - 1
    inside = np.clip(boxes, 0, limit)
    # boxes outside the frame are found before clipping, which would leave their border
    beyond = np.any(boxes[:, :2] > limit[:2], axis=1) | np.any(boxes[:, 2:] < 0, axis=1)
    sizes = np.where(beyond[:, None], 0, inside[:, 2:] - inside[:, :2] + 1)
    sizes = np.where(raw[:, 2:] < 1, raw[:, 2:], sizes)
    keep = large_enough(sizes, raw, frames, name, label, problems)
    cut = keep & (inside != boxes).any(1)
    if cut.any():
        first = frames[cut][0]
        text = f'{cut.sum()} boxes stick out of {size[0]} x {size[1]} pixels'
        note(problems, Problem(name, text, 'cut at the border', label, int(first)))
    return Tube(label, frames[keep].astype(np.int64), inside[keep].astype(np.float32))


def _spans(element: ElementTree.Element) -> list[tuple[int, int]]:
    """First and last frame of every span of ``framespan``."""
    text = element.get('framespan', '')
    parts = text.split()
    spans = [span for part in parts if (span := re.fullmatch(r'(\d+):(\d+)', part))]
    if not spans or len(spans) < len(parts):
        raise ViperError(f'framespan {text!r} of <{element.tag}> is not "first:last"')
    found = [(int(span[1]), int(span[2])) for span in spans]
    if any(first < 1 or last < first for first, last in found):
        raise ViperError(f'framespan {text!r} of <{element.tag}>: frames count from 1, ascending')
    return found


def _number(element: ElementTree.Element, key: str) -> int:
    text = element.get(key)
    try:
        return int(text or '')
    except ValueError as error:
        raise ViperError(f'{key}={text!r} of <{element.tag}> is not a whole number') from error
