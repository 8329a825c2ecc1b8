"""The parser of CVAT's XML for :mod:`.cvat`: what a file holds, as it stands there.

A file may be gigabytes: it is read element by element, and of a track only numbers are kept. A
file with a DOCTYPE is refused, and with it every entity that a parser would expand.
"""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from xml.parsers import expat

import numpy as np

from mmstal_da.errors import AnnotationError

from .archives import zip_member
from .fractions import decode
from .tracks import LONGEST

EXTRA = 'mmstal_da'  # element of <meta> with what the format has no place for
EDGES = ('xtl', 'ytl', 'xbr', 'ybr')
SHAPES = ('polygon', 'polyline', 'points', 'ellipse', 'cuboid', 'skeleton', 'mask', 'tag')
TRACK_ATTRIBUTES = ('track_id', 'trackid', 'track id', 'track')
ARCHIVES = ('annotations.xml',)
PLACES = (['annotations', 'track'], ['annotations', 'image'])


def _refuse_doctype(path: Path) -> None:
    """Look at what stands before the first element: a DOCTYPE would bring entities."""
    parser, inside = expat.ParserCreate(), []

    def refuse(*_: object) -> None:
        raise AnnotationError(f'{path} has a DOCTYPE, which CVAT does not write: delete it')

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda *_: inside.append(True)
    with _opened(path) as file:
        while not inside and (piece := file.read(4096)):
            parser.Parse(piece)


@dataclass
class Task:
    """One ``<task>`` or ``<job>`` of ``<meta>``."""

    name: str = ''
    source: str = ''
    size: int = 0
    start: int = 0
    stop: int | None = None
    step: int = 1
    mode: str = ''
    width: int | None = None
    height: int | None = None

    def num_frames(self) -> int:
        """Frames of the video up to the task's last one; 0 if the task does not say."""
        if self.size:
            return self.start + (self.size - 1) * self.step + 1
        return 0 if self.stop is None else self.stop + 1


@dataclass
class Track:
    """A ``<track>``.

    Attributes:
        label: Class.
        name: ``'track 3'``, for messages.
        task: Id of its task.
        frames: 0-based, in the order of the file.
        edges: Texts of ``xtl ytl xbr ybr``, while the track is read.
        outside: Whether the object is not there.
        boxes: (n, 4) float32 ``x1 y1 x2 y2``, ends inclusive.
    """

    label: str
    name: str
    task: str
    frames: list[int] = field(default_factory=list)
    edges: list[list[str]] = field(default_factory=list)
    outside: list[bool] = field(default_factory=list)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))

    def close(self) -> None:
        """Keep numbers in place of the texts of all boxes."""
        self.boxes, self.edges = _boxes(self.edges), []


@dataclass
class Image:
    """An ``<image>``.

    Attributes:
        name: Name of its file.
        number: Its id, 0-based.
        task: Id of its task.
        size: Width and height in pixels.
        labels: Class and track of every box; the track is None if it has none.
        edges: Texts of ``xtl ytl xbr ybr``, while the image is read.
        boxes: ``x1 y1 x2 y2``, ends inclusive.
    """

    name: str
    number: int
    task: str
    size: tuple[int | None, int | None]
    labels: list[tuple[str, str | None]] = field(default_factory=list)
    edges: list[list[str]] = field(default_factory=list)
    boxes: list[tuple[float, ...]] = field(default_factory=list)

    def close(self) -> None:
        """Keep numbers in place of the texts of all boxes."""
        self.boxes = [tuple(box) for box in _boxes(self.edges).tolist()]
        self.edges = []


@dataclass
class Content:
    """What a file holds.

    Attributes:
        tasks: By their ids.
        labels: Classes, as declared.
        tracks: In the order of the file.
        images: In the order of the file.
        extra: What this project put into ``<meta>``.
        ignored: (task, what, class) -> how many were not read.
        first: The same -> 1-based frame of the first.
    """

    tasks: dict[str, Task] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    ignored: dict[tuple[str, str, str], int] = field(default_factory=dict)
    first: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def ignore(self, task: str, what: str, label: str, frame: int) -> None:
        """Count what is not read, by task, kind and label."""
        key = (task, what, label)
        self.ignored[key] = self.ignored.get(key, 0) + 1
        self.first.setdefault(key, frame)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The XML, also inside of a zip."""
    if path.suffix.lower() != '.zip':
        with open(path, 'rb') as file:
            yield file
        return
    with zip_member(path, ARCHIVES, 'an export of CVAT') as file:
        yield file


def _boxes(edges: Sequence[Sequence[str]]) -> np.ndarray:
    """(n, 4) float32 boxes with inclusive ends."""
    if not edges:
        return np.zeros((0, 4), np.float32)
    columns = zip(*edges, strict=True)
    return np.stack([decode(texts, 1, k // 2) for k, texts in enumerate(columns)], 1)


def parse(path: Path) -> Content:
    """Read a file, element by element."""
    content = Content()
    reader = _Reader(path, content)
    try:
        _refuse_doctype(path)
        with _opened(path) as file:
            for event, element in ElementTree.iterparse(file, ('start', 'end')):
                if event == 'start':
                    reader.start(element)
                else:
                    reader.end(element)
    except (ElementTree.ParseError, expat.ExpatError) as error:
        raise AnnotationError(
            f'{path}: no XML, or cut off ({error}){reader.position()}; export it again'
        ) from error
    return content


class _Reader:
    """Gathers a file's content from the parser's events."""

    def __init__(self, path: Path, content: Content) -> None:
        self.path = path
        self.content = content
        self.root: ElementTree.Element | None = None
        self.stack: list[str] = []
        self.task = Task()
        self.task_id = ''
        self.label: dict[str, str] = {}
        self.track: Track | None = None
        self.image: Image | None = None
        self.frame = 0  # of the shape that is read, 0-based
        self.shapes = 0  # of the track that is read, but for boxes

    def position(self) -> str:
        """Where the reader is, for messages."""
        if self.track is not None:
            return f' in {self.track.name}, frame {self.frame + 1}'
        return '' if self.image is None else f' in image {self.image.name!r}'

    def start(self, element: ElementTree.Element) -> None:
        """An element begins: its attributes are there, its content is not."""
        tag = element.tag
        if not self.stack:
            self.root = element
            if tag != 'annotations':
                raise AnnotationError(
                    f"{self.path} is no XML of CVAT: it begins with <{tag}>; export 'CVAT for"
                    " video 1.1'"
                )
        parent = self.stack[-1] if self.stack else ''
        self.stack.append(tag)
        if parent == 'annotations' and tag == 'track':
            name = f'track {element.get("id", str(len(self.content.tracks)))}'
            where = f'{self.path}: {name}'
            self.track = Track(_get(element, 'label', where), name, self._task_of(element, where))
            self.frame = self.shapes = 0
        elif parent == 'annotations' and tag == 'image':
            name = element.get('name', '')
            where = f'{self.path}: image {name!r}'
            sizes = [element.get(key) for key in ('width', 'height')]
            width, height = (_whole(text, where) if text else None for text in sizes)
            number = _whole(_get(element, 'id', where), where)
            task = self._task_of(element, where)
            self.image = Image(name or f'frame_{number:06d}', number, task, (width, height))
        elif tag in ('task', 'job') and 'meta' in self.stack[:-1]:
            self.task, self.task_id = Task(), ''
        elif tag == 'label' and parent == 'labels':
            self.label = {}

    def end(self, element: ElementTree.Element) -> None:
        """An element is complete."""
        tag = self.stack.pop()
        parent = self.stack[-1] if self.stack else ''
        if 'meta' in self.stack:
            self._meta(tag, parent, (element.text or '').strip())
        elif tag in ('box', *SHAPES) and self.stack in PLACES:
            self._shape(tag, element)
            element.clear()
        if self.stack == ['annotations'] and self.root is not None:
            if tag == 'track' and self.track is not None:
                self.track.close()
                if self.track.frames or not self.shapes:
                    self.content.tracks.append(self.track)
                self.track = None
            elif tag == 'image' and self.image is not None:
                self.image.close()
                self.content.images.append(self.image)
                self.image = None
            self.root.clear()  # what was read is let go

    def _meta(self, tag: str, parent: str, text: str) -> None:
        where = f'{self.path}: <{tag}> of <{parent}>'
        task = self.task
        if parent in ('task', 'job'):
            if tag == 'id':
                self.task_id = text
            elif tag in ('name', 'source', 'mode'):
                setattr(task, tag, text)
            elif tag == 'size' and text:
                task.size = _whole(text, where)
            elif tag == 'start_frame' and text:
                task.start = _whole(text, where)
            elif tag == 'stop_frame' and text:
                task.stop = _whole(text, where)
            elif tag == 'frame_filter':
                match = re.search(r'step\s*=\s*(\d+)', text)
                task.step = max(int(match[1]), 1) if match else 1
        elif parent == 'original_size' and tag in ('width', 'height') and text:
            setattr(task, tag, _whole(text, where))
        elif parent == 'label' and tag in ('name', 'parent'):
            self.label[tag] = text
        elif tag == 'label' and parent == 'labels' and 'parent' not in self.label:
            name = self.label.get('name', '')
            if name and name not in self.content.labels:
                self.content.labels.append(name)
        elif tag == 'source' and parent == 'meta':
            for known in self.content.tasks.values():
                known.source = known.source or text
        elif tag == EXTRA and parent == 'meta':
            try:
                self.content.extra = dict(json.loads(text))
            except (ValueError, TypeError) as error:
                raise AnnotationError(f'{where} is damaged ({error}); delete it') from error
        if tag in ('task', 'job'):
            self.content.tasks[self.task_id] = task

    def _task_of(self, element: ElementTree.Element, where: str) -> str:
        """The id of the task that a track or image belongs to."""
        tasks = self.content.tasks
        if not tasks:
            tasks[''] = Task()
        if len(tasks) == 1:
            return next(iter(tasks))
        task = element.get('task_id')
        if task is None or task not in tasks:
            raise AnnotationError(
                f'{where}: task_id {task!r} is none of the tasks {sorted(tasks)} of <meta>'
            )
        return task

    def _shape(self, tag: str, element: ElementTree.Element) -> None:
        """A shape of a track or an image."""
        track, image, content = self.track, self.image, self.content
        if track is not None:
            where = f'{self.path}: {track.name}'
            self.frame = _whole(_get(element, 'frame', where), where)
            where, label, task = f'{where}, frame {self.frame + 1}', track.label, track.task
        elif image is not None:
            where = f'{self.path}: image {image.name!r}, frame {image.number + 1}'
            label, task = _get(element, 'label', where), image.task
            self.frame = image.number
        else:
            return
        if tag != 'box':
            self.shapes += 1
            content.ignore(task, f'shapes <{tag}>', label, self.frame + 1)
            return
        edges = [_get(element, key, where) for key in EDGES]
        for key, text in zip(EDGES, edges, strict=True):
            try:
                finite = abs(float(text)) < float('inf')
            except ValueError:
                finite = False
            if not finite:
                raise AnnotationError(f'{where}: {key}={text!r} is no number; correct it')
        if float(element.get('rotation') or 0):
            content.ignore(task, 'rotated boxes', label, self.frame + 1)
        number = None
        for attribute in element.iterfind('attribute'):
            name = attribute.get('name', '')
            if name.lower() in TRACK_ATTRIBUTES:
                number = (attribute.text or '').strip() or None
            else:
                content.ignore(task, f'values of the attribute {name!r}', label, self.frame + 1)
        outside = element.get('outside') == '1'
        if track is not None:
            track.frames.append(self.frame)
            track.edges.append(edges)
            track.outside.append(outside)
        elif image is not None and not outside:
            image.labels.append((label, number))
            image.edges.append(edges)


def _get(element: ElementTree.Element, key: str, where: str) -> str:
    text = element.get(key)
    if text is None:
        raise AnnotationError(f'{where}: <{element.tag}> lacks {key}; export it again')
    return text


def _whole(text: str, where: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise AnnotationError(f'{where}: {text!r} is no whole number; correct it') from error
    if abs(number) > LONGEST:
        raise AnnotationError(f'{where}: {text} is too large a number; correct it')
    return number
