"""The project's annotation file: videos, splits and action tubes as JSON.

One file describes one dataset::

    {
      "format": "mmstal_da.tubes", "version": 1,
      "dataset": "jhmdb",
      "classes": ["golf", "walk"],          # their order is the label order within this file
      "videos": {
        "golf/clip_a": {
          "path": "golf/clip_a.avi",        # a video file, or a folder of images
          "filename_tmpl": "{:05d}.png",    # image folders only; the first image is number 1
          "num_frames": 40,
          "width": 320, "height": 240,      # the resolution the boxes refer to (optional)
          "fps": 30.0                       # optional
        }
      },
      "splits": {"train": ["golf/clip_a"], "test": []},
      "tubes": {
        "golf/clip_a": [
          {"label": "golf", "frames": [1, 2], "boxes": [[10, 20, 59, 119], [11, 20, 60, 119]]}
        ]
      }
    }

``path`` is relative to the ``data_prefix`` of the dataset. Frames are 1-based and strictly
increasing. Boxes are ``x1 y1 x2 y2`` in 0-based absolute pixels of ``width`` x ``height``, with
``x2 = x1 + w - 1``. ``width`` and ``height`` are given together or not at all. Without them, boxes
refer to the resolution at which the video decodes. With them, boxes are scaled if the video has
another resolution. A video without tubes may be left out of ``tubes``, and a dataset without
labels has no ``tubes`` at all.

A file of ``tools/data/pseudo_tubes.py`` has also ``"pseudo"``, a dict that says which model found
its tubes. Some of its tubes may have ``"ignored": true``: plausible, but not sure enough to be
learnt, neither as this action nor as background. Such a file is trained on as
``source_and_pseudo``; it is refused where a person's labels are expected.

Numbers survive a round trip exactly: boxes are float32, written in their shortest form.
"""

import json
import math
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmstal_da.errors import AnnotationError
from mmstal_da.utils import atomic_write
from mmstal_da.utils.io import load_json

FORMAT = 'mmstal_da.tubes'
VERSION = 1
LARGEST = 10_000_000  # frames of four days, or pixels


@dataclass
class Video:
    """The path, length and size of a video according to its annotation.

    Attributes:
        path: File, or folder of images, relative to the dataset's ``data_prefix``.
        num_frames: Frames of the video.
        width: Width in pixels that boxes refer to. None (then ``height`` is None too) means the
            video's own size.
        height: Height in pixels, likewise.
        filename_tmpl: Pattern of the image names in a folder of images; None for a video file.
        fps: Frames per second; None if not known.
    """

    path: str
    num_frames: int
    width: int | None = None
    height: int | None = None
    filename_tmpl: str | None = None
    fps: float | None = None


@dataclass(eq=False)
class Tube:
    """One action instance: a box per frame. Equal tubes have the same numbers, to the last bit.

    Attributes:
        label: Class name.
        frames: (n,) int64, 1-based, strictly increasing.
        boxes: (n, 4) float32 ``x1 y1 x2 y2``, 0-based absolute pixels, ends inclusive.
        ignored: Neither an example of the action nor of background; only in pseudo-labels.
    """

    label: str
    frames: np.ndarray
    boxes: np.ndarray
    ignored: bool = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tube):
            return NotImplemented
        return (
            (self.label, self.ignored) == (other.label, other.ignored)
            and np.array_equal(self.frames, other.frames)
            and np.array_equal(self.boxes, other.boxes)
        )


@dataclass
class Annotation:
    """The contents of one annotation file.

    Attributes:
        pseudo: Which model found the tubes, and how; None: a person marked them.
    """

    dataset: str
    classes: list[str]
    videos: dict[str, Video] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)
    tubes: dict[str, list[Tube]] = field(default_factory=dict)
    pseudo: dict[str, Any] | None = None

    def split(self, name: str) -> list[str]:
        """Video names of a split, in the order of the file."""
        if name not in self.splits:
            raise AnnotationError(
                f'dataset {self.dataset!r} has no split {name!r}; it has {sorted(self.splits)}'
            )
        return self.splits[name]


def load_annotation(path: str | os.PathLike[str], with_tubes: bool = True) -> Annotation:
    """Read and validate an annotation file.

    Args:
        path: A file of the format above.
        with_tubes: False does not read the tubes and leaves :attr:`Annotation.tubes` empty, for
            domains whose labels must not be used.

    Raises:
        FileNotFoundError: No such file.
        AnnotationError: Names the wrong file, video, tube and frame, and says what is wrong.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'no annotation file {path!r}: check `ann_file`, or make it with tools/data/prepare.py'
        )
    raw = load_json(path)
    if not isinstance(raw, dict) or raw.get('format') != FORMAT:
        raise AnnotationError(
            f'{path}: "format" is not {FORMAT!r}; convert the file with tools/data/prepare.py'
        )
    if raw.get('version') != VERSION:
        raise AnnotationError(f'{path}: version {raw.get("version")!r}, this code reads {VERSION}')
    needed = {'dataset', 'classes', 'videos', 'splits'}
    _check_keys(raw, path, needed, needed | {'format', 'version', 'tubes', 'pseudo'})
    raw_tubes = raw['tubes'] if with_tubes and 'tubes' in raw else {}
    _check_type(raw['dataset'], str, f'{path}: "dataset"')
    for key, kind in (('classes', list), ('videos', dict), ('splits', dict)):
        _check_type(raw[key], kind, f'{path}: "{key}"')
    _check_type(raw_tubes, dict, f'{path}: "tubes"')
    videos = {
        name: _read_video(video, f'{path}: video {name!r}') for name, video in raw['videos'].items()
    }
    tubes = {}
    for name, items in raw_tubes.items():
        where = f'{path}: video {name!r}'
        _check_type(items, list, f'{where}: tubes')
        tubes[name] = [_read_tube(item, f'{where}, tube {i}') for i, item in enumerate(items)]
    if raw.get('pseudo') is not None:
        _check_type(raw['pseudo'], dict, f'{path}: "pseudo"')
    annotation = Annotation(
        raw['dataset'], raw['classes'], videos, raw['splits'], tubes, raw.get('pseudo')
    )
    validate(annotation, path)
    return annotation


def save_annotation(annotation: Annotation, path: str | os.PathLike[str]) -> None:
    """Validate an annotation and write it, completely or not at all; one line per video."""
    validate(annotation, os.fspath(path))
    head = {
        'format': FORMAT,
        'version': VERSION,
        'dataset': annotation.dataset,
        'classes': annotation.classes,
    }
    if annotation.pseudo is not None:
        head['pseudo'] = annotation.pseudo
    lines = [json.dumps(head, indent=1, ensure_ascii=False)[:-2]]
    videos = {
        name: {key: value for key, value in vars(video).items() if value is not None}
        for name, video in annotation.videos.items()
    }
    tubes = {
        name: [_tube_to_json(tube) for tube in items]
        for name, items in annotation.tubes.items()
        if items
    }
    for key, mapping in (('videos', videos), ('splits', annotation.splits), ('tubes', tubes)):
        rows = ',\n  '.join(
            f'{json.dumps(name, ensure_ascii=False)}: '
            f'{json.dumps(value, ensure_ascii=False, separators=(",", ":"))}'
            for name, value in mapping.items()
        )
        lines.append(f' "{key}": {{\n  {rows}\n }}' if rows else f' "{key}": {{}}')
    with atomic_write(path) as file:
        file.write(',\n'.join(lines) + '\n}\n')


def validate(annotation: Annotation, where: str) -> None:
    """Check what a well-formed annotation must satisfy.

    Args:
        annotation: The annotation.
        where: The file's name, for messages.

    Raises:
        AnnotationError: Names the wrong video, tube and frame.
    """
    classes = annotation.classes
    if not classes or not all(isinstance(name, str) and name for name in classes):
        raise AnnotationError(f'{where}: "classes" is a list of class names, not {classes!r}')
    if len(set(classes)) != len(classes):
        raise AnnotationError(f'{where}: "classes" names a class twice: {classes}')
    for name, video in annotation.videos.items():
        _validate_video(video, f'{where}: video {name!r}')
    for split, names in annotation.splits.items():
        _check_type(names, list, f'{where}: split {split!r}')
        for name in names:
            _check_type(name, str, f'{where}: split {split!r}: {name!r}')
        unknown = [name for name in names if name not in annotation.videos]
        if unknown:
            raise AnnotationError(
                f'{where}: split {split!r} names videos that "videos" lacks: {unknown[:5]}'
            )
        if len(set(names)) != len(names):
            twice = sorted(name for name, count in Counter(names).items() if count > 1)
            raise AnnotationError(f'{where}: split {split!r} names videos twice: {twice[:5]}')
    for name, tubes in annotation.tubes.items():
        if name not in annotation.videos:
            raise AnnotationError(f'{where}: "tubes" has video {name!r}, which "videos" lacks')
        for number, tube in enumerate(tubes):
            position = f'{where}: video {name!r}, tube {number}'
            if tube.ignored and annotation.pseudo is None:
                raise AnnotationError(
                    f'{position}: "ignored" is for pseudo-labels, and the file has no "pseudo";'
                    ' remove the tube'
                )
            _validate_tube(tube, annotation.videos[name], classes, position)


def _read_video(raw: dict[str, Any], where: str) -> Video:
    _check_type(raw, dict, where)
    required = {'path', 'num_frames'}
    _check_keys(raw, where, required, required | {'width', 'height', 'filename_tmpl', 'fps'})
    return Video(**raw)


def _read_tube(raw: dict[str, Any], where: str) -> Tube:
    _check_type(raw, dict, where)
    keys = {'label', 'frames', 'boxes'}
    _check_keys(raw, where, keys, keys | {'ignored'})
    ignored = raw.get('ignored', False)
    _check_type(ignored, bool, f'{where}: "ignored"')
    try:
        frames = np.array(raw['frames'])
        numbers = np.array(raw['boxes'])
        if numbers.dtype.kind not in 'iuf' and numbers.size:
            raise ValueError('not numbers')
        with np.errstate(over='ignore'):  # what is too large is found below
            boxes = numbers.astype(np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise AnnotationError(f'{where}: "frames" or "boxes" is ragged ({error})') from error
    return Tube(raw['label'], frames, boxes, ignored)


def _tube_to_json(tube: Tube) -> dict[str, Any]:
    boxes = np.asarray(tube.boxes, dtype=np.float32)
    whole = boxes.astype(np.int64)
    if np.array_equal(whole, boxes):
        rows = whole.tolist()
    else:  # the shortest decimals that give the same float32 back
        rows = [[float(str(value)) for value in box] for box in boxes]
    written = {'label': tube.label, 'frames': np.asarray(tube.frames).tolist(), 'boxes': rows}
    return {**written, 'ignored': True} if tube.ignored else written


def _validate_video(video: Video, where: str) -> None:
    if (video.width is None) != (video.height is None):
        raise AnnotationError(f'{where}: "width" and "height" are given both or not at all')
    for key in ('num_frames', 'width', 'height'):
        value = getattr(video, key)
        if value is None and key != 'num_frames':
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise AnnotationError(f'{where}: "{key}" is a positive integer, not {value!r}')
        if value > LARGEST:
            raise AnnotationError(f'{where}: "{key}" is {value}, more than any video has')
    if not isinstance(video.path, str) or not video.path:
        raise AnnotationError(f'{where}: "path" is a file or folder name, not {video.path!r}')
    tmpl = video.filename_tmpl
    if tmpl is not None:
        try:
            # a width of millions of digits would be that much memory
            narrow = not re.search(r'\{[^{}]*\d{4}', tmpl)
            distinct = narrow and tmpl.format(1) != tmpl.format(2)
        except (AttributeError, LookupError, ValueError, TypeError):
            distinct = False
        if not distinct:
            raise AnnotationError(
                f'{where}: "filename_tmpl" is a pattern such as "{{:05d}}.jpg", not {tmpl!r}'
            )
    fps = video.fps
    number = isinstance(fps, (int, float)) and not isinstance(fps, bool)
    if fps is not None and not (number and 0 < fps < math.inf):
        raise AnnotationError(f'{where}: "fps" is a positive number, not {fps!r}')


def _validate_tube(tube: Tube, video: Video, classes: list[str], where: str) -> None:
    frames, boxes = tube.frames, tube.boxes
    if not isinstance(tube.label, str) or tube.label not in classes:
        raise AnnotationError(f'{where}: label {tube.label!r} is not one of {classes}')
    if frames.ndim != 1 or not len(frames) or not np.issubdtype(frames.dtype, np.integer):
        raise AnnotationError(f'{where}: "frames" is a non-empty list of integers')
    if boxes.shape != (len(frames), 4):
        raise AnnotationError(
            f'{where}: {len(frames)} frames, but "boxes" has shape {boxes.shape}'
            f' instead of ({len(frames)}, 4)'
        )
    # cast first: differences of unsigned integers wrap around
    backwards = np.flatnonzero(np.diff(frames.astype(np.int64)) <= 0)
    if len(backwards):
        before, after = frames[backwards[0]], frames[backwards[0] + 1]
        raise AnnotationError(f'{where}: frame {after} follows frame {before}; sort the frames')
    outside = (frames < 1) | (frames > video.num_frames)
    if outside.any():
        raise AnnotationError(
            f'{where}: frame {frames[outside][0]} is outside 1..{video.num_frames};'
            ' frames are counted from 1'
        )
    bad = ~np.isfinite(boxes).all(1) | (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])
    if bad.any():
        raise AnnotationError(
            f'{where}, frame {frames[bad][0]}: {boxes[bad][0].tolist()} is not a box'
            ' x1 y1 x2 y2 with x1 <= x2 and y1 <= y2'
        )


def _check_keys(raw: dict[str, Any], where: str, required: set[str], known: set[str]) -> None:
    missing, unknown = sorted(required - set(raw)), sorted(set(raw) - known)
    if missing:
        raise AnnotationError(f'{where}: lacks {missing}')
    if unknown:
        raise AnnotationError(f'{where}: unknown {unknown}; known are {sorted(known)}')


def _check_type(value: object, kind: type, where: str) -> None:
    if not isinstance(value, kind):
        raise AnnotationError(f'{where} is a {kind.__name__}, not {type(value).__name__}')
