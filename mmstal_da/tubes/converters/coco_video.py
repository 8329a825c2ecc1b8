"""To and from COCO-style JSON of videos: ``videos``, ``images``, ``annotations``, ``categories``.

Sources: COCO's format of detections (``bbox`` is ``x y width height`` in pixels from 0, so that
``x2 = x + width - 1`` here), and its extensions to videos, which differ in names:

- **CocoVID** (MMTracking), **TAO**: ``images`` have ``video_id`` and the frame's number,
  ``annotations`` have ``image_id``, ``bbox``, ``category_id`` and ``instance_id`` or ``track_id``;
- **YouTube-VIS**: ``videos`` have ``length`` and ``file_names``, an annotation is a track with
  ``video_id`` and ``bboxes``, a box or null per frame of the video;
- exports of still images (CVAT, Datumaro): no ``videos``; ``file_name`` has the folder and the
  number of the frame, ``attributes`` have ``track_id`` and ``outside`` (true: no box there).

**Frame numbers** are looked for under ``frame_index``, ``frame_id``, ``frame``, ``frame_number``,
then in ``file_name``. Whether they begin at 0 or 1 is one answer for the whole file: the one that
``info`` gives as ``first_frame``; else 0 if there is a frame 0; else 1 if some video has a frame
of its last number (``length``), or frame 1 but no frame 0. If nothing of this holds, 1 is assumed
and noted. What was taken is said in the kind of the conversion.

**Tracks** are annotations of one video, one track id and one category; a track id with two
categories is a tube of each. Annotations without a track id are linked as :mod:`.tracks` says. No
box is interpolated: frames between annotated ones are a gap.

**The variant that is written** is CocoVID's: ``frame_id`` from 0, ``instance_id`` and the same as
``track_id``, an image for every frame that has a box, all categories numbered from 1. It goes
beyond it by ``info`` (``dataset``, ``first_frame``, ``splits``) and by ``length``, ``fps``,
``file_name`` and ``filename_tmpl`` of videos. ``bbox`` has the digits that give the same float32
back, so that a round trip is exact.
"""

import json
import os
import re
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np

from mmstal_da.errors import AnnotationError
from mmstal_da.utils import atomic_write

from ..annotation import Annotation, Video, validate
from .numbers import whole, whole_text
from .problems import Conversion, Problem, note
from .tracks import (
    ImageName,
    Placed,
    add_tracks,
    add_untracked,
    expecting,
    image_name,
    load_json,
    numbered_frames,
    video_name,
)

FORMAT = 'mmstal_da.coco_video'
FRAME_KEYS = ('frame_index', 'frame_id', 'frame', 'frame_number')
TRACK_KEYS = ('track_id', 'instance_id')
DIGITS = 400  # of exact decimals
EXACT = 25  # a longer text of a number is not computed with as a float


def from_coco_video(
    path: str | os.PathLike[str], problems: list[Problem] | None = None
) -> Annotation:
    """Read COCO-style JSON of videos.

    Args:
        path: The file.
        problems: Where annotations without a box, degenerate boxes and assumptions are noted;
            None raises :class:`AnnotationError` at the first.

    Raises:
        AnnotationError: Not such a file; names file, video, track and frame.
    """
    return convert(path, problems).annotation


def convert(path: str | os.PathLike[str], problems: list[Problem] | None = None) -> Conversion:
    """Read COCO-style JSON, as :func:`from_coco_video` does, with what was noted about it."""
    path = os.fspath(path)
    raw = load_json(path)
    if not is_coco(raw):
        raise AnnotationError(
            f'{path} is no COCO-style JSON: it lacks some of "annotations", "categories" and'
            ' "images" or "videos"'
        )
    reader = _Reader(path, raw, problems)
    with expecting(f'{path} is no COCO-style JSON of videos'):
        annotation = reader.read()
    validate(annotation, path)
    kind = f'COCO-style JSON, frames by {reader.said}'
    return Conversion(annotation, kind, [] if problems is None else problems, reader.counted)


def is_coco(raw: object) -> bool:
    """Whether a JSON is in COCO's style."""
    if not isinstance(raw, dict) or not isinstance(raw.get('annotations'), list):
        return False
    return 'categories' in raw and ('images' in raw or 'videos' in raw)


def save_coco_video(annotation: Annotation, path: str | os.PathLike[str]) -> None:
    """Write an annotation as COCO-style JSON (see the module), whole or not at all."""
    validate(annotation, os.fspath(path))
    info = {
        'description': FORMAT,
        'dataset': annotation.dataset,
        'first_frame': 0,
        'splits': annotation.splits,
    }
    videos: list[str] = []
    images: list[str] = []
    annotations: list[str] = []
    category = {name: number for number, name in enumerate(annotation.classes, 1)}
    track = 0
    for number, (name, video) in enumerate(annotation.videos.items(), 1):
        known: dict[str, Any] = {
            'id': number,
            'name': name,
            'file_name': video.path,
            'length': video.num_frames,
        }
        for key in ('width', 'height', 'fps', 'filename_tmpl'):
            if getattr(video, key) is not None:
                known[key] = getattr(video, key)
        videos.append(_line(known))
        tubes = annotation.tubes.get(name, [])
        image_of: dict[int, int] = {}
        for frame in sorted({int(frame) for tube in tubes for frame in tube.frames}):
            image_of[frame] = len(images) + 1
            image: dict[str, Any] = {
                'id': image_of[frame],
                'video_id': number,
                'frame_id': frame - 1,
            }
            image['file_name'] = _image_of(video, frame)
            if video.width is not None:
                image |= {'width': video.width, 'height': video.height}
            images.append(_line(image))
        for tube in tubes:
            track += 1
            for frame, box in zip(tube.frames.tolist(), tube.boxes, strict=True):
                (x, width), (y, height) = _extent(box[0], box[2]), _extent(box[1], box[3])
                head = {
                    'id': len(annotations) + 1,
                    'video_id': number,
                    'image_id': image_of[frame],
                    'category_id': category[tube.label],
                    'instance_id': track,
                    'track_id': track,
                    'iscrowd': 0,
                    'area': float(width) * float(height),
                }
                annotations.append(f'{_line(head)[:-1]}, "bbox": [{x}, {y}, {width}, {height}]}}')
    categories = [_line({'id': number, 'name': name}) for name, number in category.items()]
    parts = [f'"info": {_line(info)}']
    for key, lines in (
        ('categories', categories),
        ('videos', videos),
        ('images', images),
        ('annotations', annotations),
    ):
        parts.append(f'"{key}": [\n' + ',\n'.join(lines) + '\n]')
    with atomic_write(path) as file:
        file.write('{' + ',\n'.join(parts) + '}\n')


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False)


def _image_of(video: Video, frame: int) -> str:
    if video.filename_tmpl is not None:
        return f'{video.path}/{video.filename_tmpl.format(frame)}'
    return f'{video_name(video.path)}/{frame:06d}.jpg'


def _extent(first: np.float32, last: np.float32) -> tuple[str, str]:
    """Texts of where a box begins and of its width, which :func:`_end` turns back."""
    start = str(float(str(first))).removesuffix('.0')
    short = float(str(last)) - float(start) + 1
    for text in (repr(short).removesuffix('.0'), repr(float(last) - float(first) + 1)):
        if np.float32(start) == first and _end(start, text) == last:
            return start, text
    with localcontext() as context:  # prec= as an argument needs Python 3.11
        context.prec = DIGITS
        exact = Decimal(float(last)) - Decimal(start) + 1
        text = f'{exact:f}'
    # so many digits tell _end to be exact, too
    return start, text + ('' if '.' in text else '.') + '0' * (EXACT + 1 - len(text))


def _end(start: float | str, extent: float | str) -> np.float32:
    """The inclusive end of a box."""
    if isinstance(extent, str) and len(extent) > EXACT:
        with localcontext() as context:
            context.prec = DIGITS
            return np.float32(float(Decimal(start) + Decimal(extent) - 1))
    return np.float32(float(start) + float(extent) - 1)


def _frame(value: object) -> int:
    """A frame's number, also as text."""
    return whole_text(value, 'frame') if isinstance(value, str) else whole(value, 'frame')


class _Reader:
    """Reads one file."""

    def __init__(self, path: str, raw: dict[str, Any], problems: list[Problem] | None) -> None:
        self.path = path
        self.raw = raw
        self.problems = problems
        self.counted: set[str] = set()
        self.said = ''
        info = raw.get('info') or {}
        self.info: dict[str, Any] = info if isinstance(info, dict) else {}
        self.names: dict[Any, str] = {}  # video id -> name
        self.image_of: dict[Any, tuple[str, int]] = {}  # image id -> video, 1-based frame
        self.classes: dict[Any, str] = {}

    def read(self) -> Annotation:
        """The whole file."""
        for category in self.raw['categories']:
            name = str(category['name'])
            if category['id'] in self.classes or name in self.classes.values():
                raise AnnotationError(
                    f'{self.path}: "categories" has the id {category["id"]!r} or the name {name!r}'
                    ' twice; keep one'
                )
            self.classes[category['id']] = name
        classes = list(dict.fromkeys(self.classes.values()))
        self.annotation = Annotation(str(self.info.get('dataset', 'coco_video')), classes)
        for video in self.raw.get('videos') or []:
            self._add_video(video)
        self._read_images()
        self._read_annotations()
        for video in self.annotation.videos.values():
            video.num_frames = max(video.num_frames, 1)
        splits = self.info.get('splits')
        if self.info.get('description') == FORMAT and isinstance(splits, dict):
            self.annotation.splits = {
                str(key): [str(name) for name in names] for key, names in splits.items()
            }
        return self.annotation

    def _add_video(self, video: dict[str, Any]) -> None:
        files = video.get('file_names') or []
        folder = os.path.dirname(str(files[0])) if files else ''
        file = str(video.get('file_name') or '')
        name = str(video.get('name') or video_name(file) or folder or video['id'])
        if self.info.get('description') != FORMAT:
            name = video_name(name)
        if name in self.annotation.videos:
            raise AnnotationError(f'{self.path}: two videos are called {name!r}; rename one')
        length = video.get('length') or video.get('num_frames') or len(files)
        template = video.get('filename_tmpl')
        if files and template is None:
            parts = [image_name(str(item)) for item in files]
            templates = {part.template for part in parts}
            if [part.number for part in parts] == list(range(1, len(parts) + 1)):
                template = templates.pop() if len(templates) == 1 else None
        path = file or (folder or name if template else f'{name}.avi')
        where = f'{self.path}: video {name!r}:'
        length = whole(length, f'{where} length')
        found = Video(path, length, None, None, template, video.get('fps'))
        if video.get('width') and video.get('height'):
            found.width = whole(video['width'], f'{where} width')
            found.height = whole(video['height'], f'{where} height')
        if not length:
            self.counted.add(name)
        if video['id'] in self.names:
            raise AnnotationError(f'{self.path}: two videos have the id {video["id"]!r}')
        self.names[video['id']] = name
        self.annotation.videos[name] = found

    def _read_images(self) -> None:
        """Find the video and the frame of every image."""
        images = self.raw.get('images') or []
        if not images:
            self.said = 'place in the video'
            return
        key = next((key for key in FRAME_KEYS if all(key in image for image in images)), None)
        numbers: dict[str, dict[Any, int]] = {}
        names: dict[str, dict[Any, ImageName]] = {}
        sizes: dict[str, set[tuple[int, int]]] = {}
        for image in images:
            parts = image_name(str(image.get('file_name', '')))
            name = self._video_of(image, parts)
            if key is not None:
                try:
                    numbers.setdefault(name, {})[image['id']] = _frame(image[key])
                except (ValueError, TypeError) as error:
                    raise AnnotationError(
                        f'{self.path}: video {name!r}, image {image["id"]}: {key} is'
                        f' {image[key]!r}, no whole number'
                    ) from error
            else:
                names.setdefault(name, {})[image['id']] = parts
            if image.get('width') and image.get('height'):
                where = f'{self.path}: image {image["id"]!r}:'
                size = (
                    whole(image['width'], f'{where} width'),
                    whole(image['height'], f'{where} height'),
                )
                sizes.setdefault(name, set()).add(size)
        for name, same in sizes.items():
            video = self.annotation.videos[name]
            if video.width is None and len(same) == 1:
                video.width, video.height = same.pop()
        if key is None:
            self.said = 'the numbers of file names'
            for name, parts_of in names.items():
                frames, template = numbered_frames(parts_of, name, self.problems)
                video = self.annotation.videos[name]
                if template and name in self.counted:
                    video.path, video.filename_tmpl = name, template
                self._place(name, frames)
            return
        shift = self._shift(key, numbers)
        for name, found in numbers.items():
            self._place(name, {image: number + shift for image, number in found.items()})

    def _video_of(self, image: dict[str, Any], parts: ImageName) -> str:
        """The name of an image's video, made if there is no list of videos."""
        number = image.get('video_id')
        if number in self.names:
            return self.names[number]
        if self.names and self.raw.get('videos'):
            raise AnnotationError(
                f'{self.path}: image {image["id"]} is of video {number!r}, which "videos" lacks'
            )
        name = parts.video or Path(self.path).stem
        if number is not None:
            name = str(number)
        if name not in self.annotation.videos:
            self.annotation.videos[name] = Video(f'{name}.avi', 0)
            self.counted.add(name)
        return name

    def _shift(self, key: str, numbers: dict[str, dict[Any, int]]) -> int:
        """What to add to a frame's number so that it is 1-based."""
        lowest = min(min(found.values()) for found in numbers.values())
        given = self.info.get('first_frame')
        if given is not None:
            if given not in (0, 1) or lowest < given:
                raise AnnotationError(
                    f'{self.path}: "first_frame" of "info" is {given!r}, the lowest {key} is'
                    f' {lowest}; it is 0 or 1, where counting begins'
                )
            self.said = f'{key}, counted from {given} as the file says'
            return 1 - int(given)
        if lowest < 0:
            raise AnnotationError(f'{self.path}: the lowest {key} is {lowest}, not 0 or 1')
        if lowest <= 1:
            self.said = f'{key}, counted from {lowest}, the lowest'
            return 1 - lowest
        lengths = {
            name: self.annotation.videos[name].num_frames
            for name in numbers
            if name not in self.counted
        }
        if any(max(numbers[name].values()) == length for name, length in lengths.items()):
            self.said = f'{key}, counted from 1, as some are the last of their video'
            return 0
        name = next(iter(numbers))
        self.said = f'{key}, counted from 1 by assumption'
        text = f'nothing says whether {key} counts from 0 or 1; the lowest is {lowest}'
        done = '1 assumed; "info": {"first_frame": 0} would say 0'
        note(self.problems, Problem(name, text, done))
        return 0

    def _place(self, name: str, frames: dict[Any, int]) -> None:
        seen: dict[int, Any] = {}
        for image, frame in frames.items():
            if image in self.image_of:
                raise AnnotationError(f'{self.path}: two images have the id {image!r}')
            if frame in seen:
                raise AnnotationError(
                    f'{self.path}: video {name!r}, frame {frame}: images {seen[frame]!r} and'
                    f' {image!r} are both this frame'
                )
            seen[frame] = image
            self.image_of[image] = (name, frame)
        if name in self.counted:
            video = self.annotation.videos[name]
            video.num_frames = max(video.num_frames, *frames.values())

    def _read_annotations(self) -> None:
        """Gather boxes by track, in the order of the file."""
        tracks: dict[str, dict[tuple[str, str], list[Placed]]] = {}
        loose: dict[str, dict[str, list[Placed]]] = {}
        for item in self.raw['annotations']:
            number = item.get('id')
            attributes = item.get('attributes')
            if isinstance(attributes, dict) and attributes.get('outside') is True:
                continue  # as in CVAT's XML: the track is not there
            for name, frame, bbox in self._boxes_of(item):
                where = f'{self.path}: video {name!r}, annotation {number}, frame {frame}'
                if item['category_id'] not in self.classes:
                    raise AnnotationError(
                        f'{where}: category {item["category_id"]!r} is none of "categories",'
                        f' {sorted(self.classes, key=str)}; correct it, or add it there'
                    )
                label = self.classes[item['category_id']]
                if item.get('iscrowd') or not bbox:
                    text = f'annotation {number} has no bbox'
                    if bbox:
                        text = f'annotation {number} is a crowd'
                    note(self.problems, Problem(name, text, 'left out', label, frame, None, 1))
                    continue
                box = self._box(bbox, where)
                track = self._track_of(item)
                if track is None:
                    loose.setdefault(name, {}).setdefault(label, []).append((frame, box))
                else:
                    of_video = tracks.setdefault(name, {})
                    of_video.setdefault((label, track), []).append((frame, box))
        for name, of_video in tracks.items():
            where = f'{self.path}: video {name!r}'
            add_tracks(self.annotation, name, of_video, where, self.problems)
        for name, by_label in loose.items():
            add_untracked(self.annotation, name, by_label, self.problems)

    def _boxes_of(self, item: dict[str, Any]) -> list[tuple[str, int, Any]]:
        """(video, frame, bbox) of an annotation, which may be a whole track."""
        if 'bboxes' in item:
            if item['video_id'] not in self.names:
                raise AnnotationError(
                    f'{self.path}: annotation {item.get("id")} is of video {item["video_id"]!r},'
                    ' which "videos" lacks'
                )
            name = self.names[item['video_id']]
            return [(name, n, bbox) for n, bbox in enumerate(item['bboxes'], 1) if bbox]
        image = item.get('image_id')
        if image not in self.image_of:
            raise AnnotationError(
                f'{self.path}: annotation {item.get("id")} is of image {image!r}, which "images"'
                ' lacks'
            )
        return [(*self.image_of[image], item.get('bbox'))]

    def _track_of(self, item: dict[str, Any]) -> str | None:
        if 'bboxes' in item:
            return str(item.get('id'))
        attributes = item.get('attributes')
        for source in (item, attributes if isinstance(attributes, dict) else {}):
            for key in TRACK_KEYS:
                if source.get(key) is not None:
                    return str(source[key])
        return None

    def _box(self, bbox: Any, where: str) -> tuple[float, ...]:
        """Float32 numbers ``x1 y1 x2 y2`` of ``x y width height``."""
        numbers = bbox if isinstance(bbox, list) and len(bbox) == 4 else []
        texts = [str(value) for value in numbers if not isinstance(value, bool)]
        number = r'-?\d+(\.\d+)?([eE][+-]?\d+)?'
        if len(texts) < 4 or not all(re.fullmatch(number, text) for text in texts):
            raise AnnotationError(f'{where}: bbox {bbox!r} is not x, y, width, height; correct it')
        x, y, width, height = texts
        ends = _end(x, width), _end(y, height)
        return (float(np.float32(x)), float(np.float32(y)), float(ends[0]), float(ends[1]))
