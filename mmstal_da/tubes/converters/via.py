"""From the JSON projects of VIA, the VGG Image Annotator: video (3.x) and images (2.x, 1.x).

Sources: the description of a project in VIA 3's README and ``CodeDoc.md``, and VIA 2's project and
annotation JSON.

**VIA 3** (``project``, ``attribute``, ``file``, ``view``, ``metadata``): an entry of ``metadata``
belongs to a view (a video, or several at once) and has

- ``xy``: ``[2, x, y, width, height]`` is a rectangle in pixels of the video from 0; other shapes
  are noted and left out; ``[]`` is a segment in time without a place;
- ``z``: times in **seconds**. One is a frame: number ``floor(time * fps + 0.05) + 1``, 1-based; VIA
  rounds times, hence the twentieth. A rectangle of two times is shown on all frames between them.
- ``av``: attribute id -> value, an option's id where the attribute has options.

The project does not say the frame rate: it comes from the videos (``--frames``) or ``--fps``.

**VIA 2**: images with ``regions``, whose ``shape_attributes`` are ``rect x y width height``.
Images belong to the video of their folder, or of the text before their number
(``clip_a_00012.jpg``); an address without either, to one that is called after the file. A number
is the frame, counted from 0 if there is an image 0.

**Classes and tracks** are attributes that an annotator made up. A track is the value of one called
``track``, ``track_id``, ``tid``, ``instance``, ``person`` or ``actor`` (also with ``id``). A class
is the one that ``--label-attribute`` names, or is called ``label``, ``class``, ``action``,
``activity`` or ``category``, or the only other one. A rectangle of VIA 3 without a class has those
of the segments in time that hold it, the actions that go on. A checkbox with several values makes
a box of each. VIA 3 has the texts of options beside their ids; in VIA 2 the id is the text.
Segments in time that hold no rectangle are noted.

Boxes without a track are linked as :mod:`.tracks` says. VIA does not interpolate, and neither does
this reader: frames without a box are a gap.

Sizes of videos are not in a project. ``x2 = x + width - 1``.
"""

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from mmstal_da.errors import AnnotationError

from ..annotation import Annotation, Video, validate
from .problems import Conversion, Problem, note
from .tracks import (
    LONGEST,
    Hints,
    ImageName,
    Placed,
    add_tracks,
    add_untracked,
    expecting,
    image_name,
    json_files,
    load_json,
    numbered_frames,
    video_name,
)

RECTANGLE = 2
SHAPES = {
    1: 'point', 2: 'rectangle', 3: 'circle', 4: 'ellipse', 5: 'line', 6: 'polyline',
    7: 'polygon', 8: 'extreme rectangle', 9: 'extreme circle',
}  # fmt: skip
IMAGE, VIDEO = 2, 4  # types of files
ROUNDING = 0.05  # frames, by which a time may be too early
LABELS = ('label', 'class', 'action', 'activity', 'category')
TRACKS = ('track', 'tid', 'instance', 'person', 'actor', 'trackid', 'instanceid', 'personid',
          'actorid')  # fmt: skip

# class, track or None, 1-based frame, box x1 y1 x2 y2
Found = tuple[str, str | None, int, tuple[float, float, float, float]]


def from_via(
    path: str | os.PathLike[str],
    problems: list[Problem] | None = None,
    hints: Hints | None = None,
) -> Annotation:
    """Read a project or annotations of VIA.

    Args:
        path: The JSON, or a folder of them.
        problems: Where what is left out and what was assumed are noted; None raises
            :class:`AnnotationError`.
        hints: Frame rates, which the times of VIA 3 need, sizes, and the attribute of classes.

    Raises:
        AnnotationError: Not such a file, no frame rate, or no attribute of classes; names file,
            video, track and frame.
    """
    return convert(path, problems, hints).annotation


def videos_of(path: str | os.PathLike[str]) -> dict[str, Video]:
    """Names and paths of the videos of VIA 3's projects; images of VIA 2 need no rate."""
    found = {}
    for file in json_files(path):
        raw = load_json(file)
        if _is_project(raw):
            with expecting(f'{file} is no JSON of VIA'):
                for name, address in _files(file, raw).values():
                    found[name] = _video(name, address)
    return found


def convert(
    path: str | os.PathLike[str],
    problems: list[Problem] | None = None,
    hints: Hints | None = None,
) -> Conversion:
    """Read a project, as :func:`from_via` does, with what was noted about it."""
    hints = hints or Hints()
    annotation, kinds = Annotation('via', []), []
    for file in json_files(path):
        raw = load_json(file)
        with expecting(f'{file} is no JSON of VIA'):
            if _is_project(raw):
                part = _read_project(file, raw, problems, hints)
                kinds.append("VIA 3's JSON")
            else:
                part = _read_images(file, raw, problems, hints)
                kinds.append("VIA 2's JSON")
        for name, video in part.videos.items():
            if name in annotation.videos:
                raise AnnotationError(f'{file}: video {name!r} is in another file, too')
            annotation.videos[name] = video
        annotation.tubes |= part.tubes
        annotation.classes += [name for name in part.classes if name not in annotation.classes]
    if not annotation.classes:
        raise AnnotationError(f'{os.fspath(path)} holds no labelled rectangle')
    validate(annotation, os.fspath(path))
    kind = ' and '.join(dict.fromkeys(kinds))
    counted = set(annotation.videos)
    return Conversion(annotation, kind, [] if problems is None else problems, counted)


def _is_project(raw: object) -> bool:
    return isinstance(raw, dict) and isinstance(raw.get('metadata'), dict) and 'attribute' in raw


def _video(name: str, address: str) -> Video:
    return Video(f'{name}{os.path.splitext(address)[1] or ".mp4"}', 1)


def _files(file: Path, raw: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """View -> name and address of its video."""
    addresses: dict[str, str] = {}
    for key, item in raw['file'].items():
        if item.get('type', VIDEO) != VIDEO:
            continue
        source = str(item.get('src') or '')
        source = str(item.get('fname') or '') if source.startswith(('blob:', 'data:')) else source
        parts = urlsplit(source)
        web = len(parts.scheme) > 1  # one letter is a drive
        addresses[str(key)] = unquote(parts.path) if web else source
    stems = {key: video_name(PurePosixPath(a.replace('\\', '/')).name)
             for key, a in addresses.items()}  # fmt: skip
    names = {}
    for key, stem in stems.items():
        folder = PurePosixPath(addresses[key].replace('\\', '/')).parent.name
        twice = list(stems.values()).count(stem) > 1 and folder
        names[key] = f'{folder}/{stem}' if twice else stem
    if len(set(names.values())) < len(names):
        raise AnnotationError(f'{file}: several files of one name: {sorted(names.values())}')
    found = {}
    for view, item in raw['view'].items():
        inside = [str(number) for number in item['fid_list'] if str(number) in names]
        if len(inside) == 1:
            found[str(view)] = (names[inside[0]], addresses[inside[0]])
        elif inside:
            raise AnnotationError(
                f'{file}: view {view} shows {len(inside)} videos at once; a box belongs to one'
            )
    return found


def _attributes(
    where: str, names: dict[str, str], hints: Hints, needed: bool = True
) -> tuple[str | None, str | None]:
    """Ids of the attributes that hold the class and the track.

    Args:
        where: The file, for messages.
        names: Attribute id -> name.
        hints: May name the attribute of classes.
        needed: Raise if there is no attribute of classes.
    """

    def plain(name: str) -> str:
        return re.sub(r'[^a-z0-9]', '', name.lower())

    tracks = [key for key, name in names.items() if plain(name) in TRACKS]
    if len(tracks) > 1:
        twice = sorted(names[key] for key in tracks)
        raise AnnotationError(
            f'{where}: several attributes may be the track: {twice}; rename all but one'
        )
    track = tracks[0] if tracks else None
    wanted = hints.label_attribute
    if wanted is not None:
        label = next((key for key, name in names.items() if wanted in (name, key)), None)
        if label is None and needed:
            raise AnnotationError(
                f'{where}: no attribute {wanted!r}; it has {sorted(names.values())}'
            )
        return label, track if track != label else None
    for word in LABELS:
        same = [key for key, name in names.items() if plain(name) == word]
        if len(same) > 1:
            raise AnnotationError(
                f'{where}: several attributes are called {[names[key] for key in same]}; say'
                ' --label-attribute NAME'
            )
        if same:
            return same[0], track
    others = [key for key in names if key != track]
    if len(others) == 1:
        return others[0], track
    if needed:
        raise AnnotationError(
            f'{where}: which attribute is the class? It has {sorted(names.values())}; say'
            ' --label-attribute NAME'
        )
    return None, track


def _values(value: object, options: dict[str, Any]) -> list[str]:
    """Texts of an attribute's value; a checkbox has several."""
    if isinstance(value, dict):  # VIA 2: {"golf": true}
        return [str(options.get(str(key), key)) for key, on in value.items() if on]
    text = '' if value is None else str(value)
    if text in options:
        return [str(options[text])]
    parts = text.split(',')
    if options and all(part in options for part in parts):
        return [str(options[part]) for part in parts]
    return [text] if text and text != '_DEFAULT' else []


def _read_project(
    file: Path, raw: dict[str, Any], problems: list[Problem] | None, hints: Hints
) -> Annotation:
    """VIA 3."""
    annotation = Annotation('via', [])
    names = _files(file, raw)
    options = {str(key): item.get('options') or {} for key, item in raw['attribute'].items()}
    anchors = {str(key): str(item.get('anchor_id', '')) for key, item in raw['attribute'].items()}
    titles = {str(key): str(item['aname']) for key, item in raw['attribute'].items()}
    regions = {key: name for key, name in titles.items() if anchors[key].endswith('XY1')}
    moments = {key: name for key, name in titles.items() if anchors[key].endswith('XY0')}
    segments: dict[str, list[tuple[float, float, list[str]]]] = {}
    timed, _ = _attributes(str(file), moments, hints, needed=False)
    for item in raw['metadata'].values():
        if not item['xy'] and len(item['z']) == 2 and timed is not None and timed in item['av']:
            labels = _values(item['av'][timed], options[timed])
            start, end = float(item['z'][0]), float(item['z'][1])
            segments.setdefault(str(item['vid']), []).append((start, end, labels))
    label_key, track_key = _attributes(str(file), regions, hints, needed=not segments)
    for view, (name, address) in names.items():
        if name in hints.absent:
            continue
        where = f'{file}: video {name!r}'
        items = {key: item for key, item in raw['metadata'].items() if str(item['vid']) == view}
        shapes = {key: item for key, item in items.items() if item['xy']}
        fps = hints.fps.get(name) or hints.any_fps
        if shapes and not fps:
            raise AnnotationError(
                f'{where}: its frame rate is not known, and VIA has seconds: give --frames with'
                ' the videos, or --fps'
            )
        moments_of = [float(item['z'][0]) for item in shapes.values() if item['z']]
        empty = [
            (start, end)
            for start, end, _ in segments.get(view, [])
            if not any(start <= moment <= end for moment in moments_of)
        ]
        if empty:
            text = f'{len(empty)} segments in time hold no rectangle, such as {empty[0]} s'
            note(problems, Problem(name, text, 'not read'))
        video = _video(name, address)
        video.fps = fps
        video.width, video.height = hints.sizes.get(name, (None, None))
        annotation.videos[name] = video
        found: list[Found] = []
        for key, item in shapes.items():
            times = [float(time) for time in item['z']]
            if not times:
                raise AnnotationError(f'{where}, box {key}: it has no time; draw it again')
            if min(times) < 0 or not all(map(math.isfinite, times)):
                raise AnnotationError(f'{where}, box {key}: times {times} are no seconds')
            if max(times) * (fps or 1) > LONGEST:
                raise AnnotationError(f'{where}, box {key}: no video is {max(times):g} s long')
            first, last = (math.floor(t * (fps or 1) + ROUNDING) + 1 for t in (times[0], times[-1]))
            labels = _values(item['av'].get(label_key), options.get(label_key or '', {}))
            if not labels:
                labels = [
                    label
                    for start, end, going in segments.get(view, [])
                    if start <= times[0] <= end
                    for label in going
                ]
            tracks = _values(item['av'].get(track_key), options.get(track_key or '', {}))
            shape, *numbers = item['xy']
            if shape != RECTANGLE:
                kind = SHAPES.get(shape, f'shape {shape}')
                text = f'box {key} is a {kind}, no rectangle'
                note(problems, Problem(name, text, 'left out', None, first, None, 1))
                continue
            if not labels:
                text = f'box {key} has no class'
                note(problems, Problem(name, text, 'left out', None, first, None, 1))
                continue
            box = _box(numbers, f'{where}, box {key}, frame {first}')
            track = ','.join(tracks) or None
            for frame in range(first, last + 1):
                found += [(label, track, frame, box) for label in dict.fromkeys(labels)]
        _add(annotation, name, _once(found, name, problems), where, problems)
    return annotation


def _once(found: list[Found], name: str, problems: list[Problem] | None) -> list[Found]:
    """Two times of one track that fall into one frame: the later box stays."""
    last: dict[tuple[str, str, int], int] = {}
    gone = set()
    for number, (label, track, frame, _) in enumerate(found):
        if track is None:
            continue
        earlier = last.get((label, track, frame))
        if earlier is not None:
            gone.add(earlier)
            text = f'track {track} has two boxes within one frame'
            note(problems, Problem(name, text, 'the first left out', label, frame, None, 1))
        last[label, track, frame] = number
    return [item for number, item in enumerate(found) if number not in gone]


def _read_images(
    file: Path, raw: object, problems: list[Problem] | None, hints: Hints
) -> Annotation:
    """VIA 2 and 1, a project or exported annotations."""
    if not isinstance(raw, dict):
        raise AnnotationError(f'{file} is no JSON of VIA')
    images = raw.get('_via_img_metadata', raw)
    if not images or not all(isinstance(i, dict) and 'filename' in i for i in images.values()):
        raise AnnotationError(
            f'{file} is no JSON of VIA: it has neither "metadata" nor images with "filename"'
        )
    annotation = Annotation('via', [])
    used: dict[str, str] = {}
    for item in images.values():
        for region in _regions(item):
            used |= {str(key): str(key) for key in region.get('region_attributes') or {}}
    label_key, track_key = _attributes(str(file), used, hints, needed=bool(used))
    videos: dict[str, dict[str, ImageName]] = {}
    regions_of: dict[str, list[dict[str, Any]]] = {}
    for item in images.values():
        address = str(item['filename'])
        parts = urlsplit(address)
        address = unquote(parts.path) if len(parts.scheme) > 1 else address
        parts_of = image_name(address)
        name = parts_of.video or file.stem
        if address in videos.setdefault(name, {}):
            raise AnnotationError(f'{file}: video {name!r}: image {address!r} is there twice')
        videos[name][address] = parts_of
        regions_of[address] = _regions(item)
    for name, names in videos.items():
        if name in hints.absent:
            continue
        where = f'{file}: video {name!r}'
        frames, template = numbered_frames(names, name, problems)
        suffix = name if template else f'{name}.avi'
        width, height = hints.sizes.get(name, (None, None))
        annotation.videos[name] = Video(suffix, max(frames.values()), width, height, template)
        found: list[Found] = []
        for address, frame in sorted(frames.items(), key=lambda pair: pair[1]):
            for number, region in enumerate(regions_of[address]):
                at = f'region {number}'
                shape = region['shape_attributes']
                values = region.get('region_attributes') or {}
                labels = _values(values.get(label_key), {})
                tracks = _values(values.get(track_key), {})
                if shape.get('name') != 'rect':
                    text = f'{at} is a {shape.get("name")}, no rectangle'
                    note(problems, Problem(name, text, 'left out', None, frame, None, 1))
                elif not labels:
                    text = f'{at} has no class'
                    note(problems, Problem(name, text, 'left out', None, frame, None, 1))
                else:
                    keys = ('x', 'y', 'width', 'height')
                    numbers = [shape.get(key) for key in keys]
                    box = _box(numbers, f'{where}, frame {frame}, {at}')
                    track = ','.join(tracks) or None
                    found += [(label, track, frame, box) for label in dict.fromkeys(labels)]
        _add(annotation, name, found, where, problems)
    return annotation


def _regions(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Regions of an image; VIA 1 numbers them."""
    regions = item.get('regions') or []
    return list(regions.values()) if isinstance(regions, dict) else list(regions)


def _box(numbers: Iterable[object], where: str) -> tuple[float, float, float, float]:
    """``x1 y1 x2 y2`` of ``x y width height``."""
    values = list(numbers)
    good = [isinstance(n, int | float) and not isinstance(n, bool) for n in values]
    if len(values) != 4 or not all(good) or not np.isfinite(np.array(values, float)).all():
        raise AnnotationError(f'{where}: {values} is not x, y, width, height; draw it again')
    x, y, width, height = np.array(values, float).tolist()
    return x, y, x + width - 1, y + height - 1


def _add(
    annotation: Annotation,
    name: str,
    found: list[Found],
    where: str,
    problems: list[Problem] | None,
) -> None:
    """Make tubes of the boxes of a video."""
    tracks: dict[tuple[str, str], list[Placed]] = {}
    loose: dict[str, list[Placed]] = {}
    video = annotation.videos[name]
    video.num_frames = max([video.num_frames, *(frame for _, _, frame, _ in found)])
    for label, track, frame, box in found:
        if label not in annotation.classes:
            annotation.classes.append(label)
        if track is None:
            loose.setdefault(label, []).append((frame, box))
        else:
            tracks.setdefault((label, track), []).append((frame, box))
    add_tracks(annotation, name, tracks, where, problems)
    add_untracked(annotation, name, loose, problems)
