"""To and from CVAT's XML 1.1: 'CVAT for video' and 'CVAT for images'.

Source: CVAT's description of the format (docs, "XML annotation format", version 1.1) and what its
own exporter and importer do (``cvat/apps/dataset_manager/formats/cvat.py``).

- **Frames** are 0-based in the file, in the numbers of the video itself (a task of every third
  frame has frames 0, 3, 6, ...); here they are 1-based.
- **Boxes** have continuous edges ``xtl ytl xbr ybr``: ``x2 = xbr - 1`` of this project's inclusive
  end. CVAT writes two decimals, so that a box comes back from CVAT within 0.005 pixels; this
  module writes as many as it takes to get the same float32 back.
- **Video**: a ``<track>`` is one tube. A box with ``outside="1"`` says that the object is not there
  from that frame on, until the next box; a tube that leaves and returns has a gap in its frames.
  Frames between two boxes are interpolated on a straight line, or keep the box if the next one
  is ``outside``: files of key frames alone are read, too. Boxes that the file has count as they
  stand there, key frames or not. CVAT shows a last box that is not ``outside`` up to the end of
  the task; here the tube ends with it, and that is noted.
- **Images**: a box with an attribute ``track_id`` (or ``track``, ``trackid``) belongs to that
  track; others are linked as :mod:`.tracks` says. The images of a task are those of one video,
  or of one video per folder (``walk/clip_a/00001.jpg``). ``frame_000000`` is CVAT's name for
  frame 0 of a video.
- **Names**: a video is called after ``<source>``, the file that CVAT was given, without suffix, or
  after the task, if the task's name ends with it (``walk/clip_a``), or the file's if there is
  none. In a project's file (``<task>`` after ``<task>``) tracks and images name their task by
  ``task_id``; tasks of one source are called ``<task>/<source>``.
- Polygons, points, skeletons, masks and tags are noted and left out; rotations are noted, and the
  box is read unrotated. Attributes of boxes are not read, which is noted.

What the format has no place for (the dataset's name, paths, frame rates, splits, the order of
videos) travels in an element ``mmstal_da`` of ``<meta>``, which CVAT passes over and does not give
back. With it a round trip is exact.

Files of any size are read, and none that has a DOCTYPE (:mod:`.cvat_xml`).
"""

import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from mmstal_da.errors import AnnotationError
from mmstal_da.utils import atomic_write
from mmstal_da.video.reader import VIDEO_SUFFIXES

from ..annotation import Annotation, Tube, Video, validate
from ..walk import files_below
from .cvat_xml import ARCHIVES, EDGES, EXTRA, Content, Image, Task, Track, parse
from .fractions import decode, encode
from .problems import Conversion, Problem, note
from .tracks import (
    ImageName,
    Placed,
    add_tracks,
    add_tube,
    add_untracked,
    fill,
    image_name,
    in_order,
    numbered_frames,
    video_name,
)

ROUNDING = 0.005  # pixels, to which CVAT writes


def from_cvat(path: str | os.PathLike[str], problems: list[Problem] | None = None) -> Annotation:
    """Read CVAT's XML.

    Args:
        path: An ``.xml``, a ``.zip`` as CVAT hands it out, or a folder of them, at any depth.
        problems: Where other shapes, degenerate boxes and what was assumed are noted; None raises
            :class:`AnnotationError` at the first.

    Returns:
        Annotation with the splits that this project's own files name, else without splits.

    Raises:
        AnnotationError: A file that is no such XML; names file, video, track and frame.
    """
    return convert(path, problems).annotation


def convert(path: str | os.PathLike[str], problems: list[Problem] | None = None) -> Conversion:
    """Read CVAT's XML, as :func:`from_cvat` does, with what was noted about it."""
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = files_below(path, ('.xml', '.zip'))
    if not files:
        raise AnnotationError(f'{path} holds no .xml files')
    annotation, counted = Annotation('cvat', []), set()
    extras: dict[str, dict[str, Any]] = {}
    origin: dict[str, Path] = {}
    for file in files:
        part, extra, unknown = _read_file(file, problems)
        for name, video in part.videos.items():
            if name in origin:
                raise AnnotationError(
                    f'{file}: video {name!r} is in {origin[name]}, too; rename the task in CVAT,'
                    ' or leave one file out'
                )
            origin[name] = file
            annotation.videos[name] = video
            if part.tubes.get(name):
                annotation.tubes[name] = part.tubes[name]
        annotation.classes += [name for name in part.classes if name not in annotation.classes]
        counted |= unknown
        extras |= {name: extra for name in part.videos if extra}
    if extras and len(extras) == len(annotation.videos):
        _restore(annotation, extras, path)
    validate(annotation, str(path))
    return Conversion(annotation, "CVAT's XML", [] if problems is None else problems, counted)


def save_cvat(
    annotation: Annotation, folder: str | os.PathLike[str], tolerance: float = ROUNDING
) -> list[Path]:
    """Write a file for every video, ``folder/<video>.xml``, in 'CVAT for video 1.1'.

    Args:
        annotation: The annotation.
        folder: Where to write; a ``/`` in a video's name makes a folder.
        tolerance: As :func:`to_cvat` has it.

    Returns:
        The files, in the order of the videos; each is written whole or not at all.

    Raises:
        AnnotationError: A name that is no file name, or has characters that XML cannot hold.
    """
    validate(annotation, annotation.dataset)
    files = {}
    for name in annotation.videos:
        if re.search(r'(^|/)\.{0,2}(/|$)', name) or '\0' in name:
            raise AnnotationError(f'video {name!r}: no file can be called {name + ".xml"!r}')
        files[name] = Path(folder, f'{name}.xml')
    for name, file in files.items():
        text = to_cvat(annotation, name, tolerance)
        with atomic_write(file) as out:
            out.write(text)
    return list(files.values())


def to_cvat(annotation: Annotation, video: str, tolerance: float = ROUNDING) -> str:
    """The tubes of one video as 'CVAT for video 1.1', the text of an XML file.

    After the last box of a tube, and where it has a gap, there is one with ``outside="1"``. All
    boxes are written, so that nothing is lost; but of boxes with ``keyframe="0"`` CVAT takes no
    notice and interpolates them itself.

    Args:
        annotation: The annotation.
        video: Name of the video.
        tolerance: How far, in pixels, an edge may be from the straight line between its
            neighbours at key frames for a box to be no key frame. The fewer key frames there
            are, the less there is to correct in CVAT; boxes between them move by up to this. The
            default is what CVAT rounds to.
    """
    facts = annotation.videos[video]
    size = ''
    if facts.width is not None:
        size = (
            '\n      <original_size>'
            f'\n        <width>{facts.width}</width>\n        <height>{facts.height}</height>'
            '\n      </original_size>'
        )
    labels = ''.join(
        f'\n        <label>\n          <name>{escape(_writable(name))}</name>'
        '\n          <attributes></attributes>\n        </label>'
        for name in annotation.classes
    )
    extra = {
        'dataset': annotation.dataset,
        'video': vars(facts),
        'name': video,
        'order': list(annotation.videos).index(video),
        'splits': {
            split: names.index(video) if video in names else None
            for split, names in annotation.splits.items()
        },
    }
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>',
        f'      <name>{escape(_writable(video))}</name>',
        f'      <size>{facts.num_frames}</size>\n      <mode>interpolation</mode>',
        '      <start_frame>0</start_frame>',
        f'      <stop_frame>{facts.num_frames - 1}</stop_frame>',
        f'      <frame_filter></frame_filter>\n      <labels>{labels}\n      </labels>{size}',
        f'      <source>{escape(_writable(os.path.basename(facts.path)))}</source>',
        f'    </task>\n    <{EXTRA}>{escape(json.dumps(extra))}</{EXTRA}>\n  </meta>',
    ]
    for number, tube in enumerate(annotation.tubes.get(video, [])):
        label = quoteattr(_writable(tube.label))
        lines.append(f'  <track id="{number}" label={label} source="manual">')
        columns = [edge_texts(tube.boxes[:, column], column // 2) for column in range(4)]
        frames = (np.asarray(tube.frames, np.int64) - 1).tolist()
        keys = key_rows(np.array(frames), tube.boxes, tolerance)
        for row, frame in enumerate(frames):
            edges = ' '.join(f'{key}="{columns[k][row]}"' for k, key in enumerate(EDGES))
            lines.append(_box_line(frame, 0, edges, int(keys[row])))
            following = frames[row + 1] if row + 1 < len(frames) else facts.num_frames
            if following > frame + 1:
                lines.append(_box_line(frame + 1, 1, edges))
        lines.append('  </track>')
    return '\n'.join(lines) + '\n</annotations>\n'


def edge_texts(values: np.ndarray, offset: int) -> list[str]:
    """Decimals of continuous edges from which ``decode(texts, 1, offset)`` gets the same float32.

    Args:
        values: (n,) float32 pixels.
        offset: 0 for where a box begins, 1 for its inclusive end.
    """
    values = np.asarray(values, np.float32)
    short = [str(Decimal(str(value)) + offset) for value in values]
    plain = [text if re.fullmatch(r'-?\d+(\.\d+)?', text) else repr(float(text)) for text in short]
    plain = [text.removesuffix('.0') for text in plain]
    same = decode(plain, 1, offset) == values
    if same.all():
        return plain
    long = encode(values, 1, offset)
    return [text if good else other for text, good, other in zip(plain, same, long, strict=True)]


def key_rows(frames: np.ndarray, boxes: np.ndarray, tolerance: float) -> np.ndarray:
    """Which boxes are needed for the others to lie on straight lines between them.

    Args:
        frames: (n,) strictly increasing.
        boxes: (n, 4).
        tolerance: Largest distance of an edge from its line, in pixels.

    Returns:
        (n,) bool, true where a run of frames begins and ends.
    """
    boxes = np.asarray(boxes, np.float64)
    ends = np.diff(frames) > 1
    keys: np.ndarray = np.r_[True, ends] | np.r_[ends, True]
    borders = np.flatnonzero(keys).tolist()
    pairs = zip(borders[:-1], borders[1:], strict=True)
    todo = [pair for pair in pairs if pair[1] - pair[0] > 1]
    while todo:
        first, last = todo.pop()
        share = np.arange(1, last - first)[:, None] / (last - first)
        line = boxes[first] + (boxes[last] - boxes[first]) * share
        distance = np.abs(boxes[first + 1 : last] - line).max(1)
        if distance.max() > tolerance:
            middle = first + 1 + int(distance.argmax())
            keys[middle] = True
            parts = (first, middle), (middle, last)
            todo += [pair for pair in parts if pair[1] - pair[0] > 1]
    return keys


def _box_line(frame: int, outside: int, edges: str, key: int = 1) -> str:
    return (
        f'    <box frame="{frame}" keyframe="{key}" outside="{outside}" occluded="0" {edges}'
        ' z_order="0"></box>'
    )


def _writable(text: str) -> str:
    """The text, if XML 1.0 can hold it."""
    if re.search('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\t\n\r]', text):
        raise AnnotationError(f'{text!r} has characters that XML cannot hold; rename it')
    return text


def _restore(annotation: Annotation, extras: dict[str, dict[str, Any]], path: Path) -> None:
    """Put back what only this project's files have, and the order of videos."""
    try:
        annotation.dataset = str(next(iter(extras.values()))['dataset'])
        names = sorted(extras, key=lambda name: extras[name]['order'])
        for split in dict.fromkeys(key for name in names for key in extras[name]['splits']):
            inside = {name: extras[name]['splits'].get(split) for name in names}
            chosen = [name for name in names if inside[name] is not None]
            annotation.splits[split] = sorted(chosen, key=lambda name: inside[name])
    except (KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(
            f'{path}: the element <{EXTRA}> is damaged ({error!r}); delete it from the files'
        ) from error
    annotation.videos = {name: annotation.videos[name] for name in names}
    annotation.tubes = {name: annotation.tubes[name] for name in names if name in annotation.tubes}


def _read_file(
    path: Path, problems: list[Problem] | None
) -> tuple[Annotation, dict[str, Any], set[str]]:
    """One file: its videos and tubes, its extras, and the videos of unknown length."""
    content = parse(path)
    if not content.tasks:
        content.tasks[''] = Task()
    classes = content.labels
    labels = [track.label for track in content.tracks]
    labels += [label for image in content.images for label, _ in image.labels]
    if not classes:
        classes = list(dict.fromkeys(labels))
    annotation = Annotation('cvat', classes)
    counted: set[str] = set()
    names = _names(path, content)
    _videos(annotation, names, content, counted)
    for (key, what, label), count in content.ignored.items():
        frame = content.first[key, what, label]
        text = f'{count} {what} of {label!r}' if label else f'{count} {what}'
        where = names.get(key) or next(iter(names.values()))
        if where in annotation.videos:
            done = 'read unrotated' if what.startswith('rotated') else 'not read'
            note(problems, Problem(where, text, done, None, frame))
    for track in content.tracks:
        name = names[track.task]
        where = f'{path}: video {name!r}, {track.name}'
        if track.label not in classes:
            raise AnnotationError(
                f'{where}: label {track.label!r} is none of <labels>, {classes}; correct it, or'
                ' add it there'
            )
        _add_track(annotation, name, track, where, problems)
    _add_images(annotation, content, names, path, counted, problems)
    return annotation, content.extra, counted


def _names(path: Path, content: Content) -> dict[str, str]:
    """Task id -> name of its video."""
    if content.extra.get('name') and len(content.tasks) == 1:
        return {key: str(content.extra['name']) for key in content.tasks}
    found = {}
    for key, task in content.tasks.items():
        source = video_name(task.source) if task.source.lower().endswith(VIDEO_SUFFIXES) else ''
        name = video_name(task.name)
        if source and not f'/{name}'.endswith(f'/{source}'):
            name = source
        fallback = path.parent.name if path.name in ARCHIVES else path.stem
        found[key] = name or fallback
    names = list(found.values())
    for key, name in found.items():
        if names.count(name) > 1:
            found[key] = f'{video_name(content.tasks[key].name) or key}/{name}'
    return found


def _videos(
    annotation: Annotation, names: dict[str, str], content: Content, counted: set[str]
) -> None:
    """Make the videos of tasks that are no folders of images."""
    of_images = {image.task for image in content.images}
    of_images -= {track.task for track in content.tracks}
    for key, task in content.tasks.items():
        if key in of_images:
            continue
        name = names[key]
        frames = task.num_frames()
        if not frames:
            counted.add(name)
            shown = [
                frame + 1
                for track in content.tracks
                if track.task == key
                for frame, outside in zip(track.frames, track.outside, strict=True)
                if not outside
            ]
            frames = max(shown, default=1)
        suffix = os.path.splitext(task.source)[1] if task.source else ''
        video = Video(f'{name}{suffix or ".avi"}', frames, task.width, task.height)
        raw = content.extra.get('video')
        if isinstance(raw, dict):
            video.path = str(raw.get('path', video.path))
            video.filename_tmpl, video.fps = raw.get('filename_tmpl'), raw.get('fps')
        annotation.videos[name] = video


def _add_track(
    annotation: Annotation, name: str, track: Track, where: str, problems: list[Problem] | None
) -> None:
    """A tube from a track's boxes, gaps where it is outside."""
    frames = np.array(track.frames, np.int64) + 1
    order = in_order(frames, where)
    boxes = track.boxes[order]
    shown = ~np.array(track.outside, bool)[order]
    frames = frames[order]
    linear = np.r_[shown[1:], False] if len(shown) else shown
    filled, rows = fill(frames, boxes, shown, shown, linear)
    add_tube(annotation, name, Tube(track.label, filled, rows), track.name, problems)
    length = annotation.videos[name].num_frames
    if len(shown) and shown[-1] and frames[-1] < length:
        text = f'{track.name} ends without outside="1", of {length} frames'
        done = 'the tube ends there; CVAT shows it to the end'
        note(problems, Problem(name, text, done, track.label, int(frames[-1])))


def _add_images(
    annotation: Annotation,
    content: Content,
    names: dict[str, str],
    path: Path,
    counted: set[str],
    problems: list[Problem] | None,
) -> None:
    """Videos and tubes of 'CVAT for images'."""
    videos: dict[str, list[tuple[Image, ImageName]]] = {}
    for image in content.images:
        parts = image_name(image.name)
        task = names[image.task]
        folder = parts.video if '/' in image.name.replace('\\', '/') else ''
        # several tasks may have folders of one name
        name = folder or task
        if folder and len(content.tasks) > 1:
            name = f'{task}/{folder}'
        videos.setdefault(name, []).append((image, parts))
    for name, images in videos.items():
        if name in annotation.videos:
            raise AnnotationError(f'{path}: video {name!r} is there twice; rename a task')
        own = all(re.match(r'frame_\d{6,}', os.path.basename(i.name)) for i, _ in images)
        template = None
        if own:  # frames of a video, called frame_000000 by CVAT
            frames = {image.name: (parts.number or 0) + 1 for image, parts in images}
        else:
            parts_of = {image.name: parts for image, parts in images}
            if len(parts_of) < len(images):
                raise AnnotationError(f'{path}: video {name!r} has an image twice')
            frames, template = numbered_frames(parts_of, name, problems)
        sizes = {image.size for image, _ in images}
        width, height = sizes.pop() if len(sizes) == 1 else (None, None)
        if sizes and (width, height) == (None, None):
            text = f'images have {len(sizes)} sizes, such as {sorted(map(str, sizes))[:2]}'
            note(problems, Problem(name, text, 'no size is written'))
        file = name if template else f'{name}.avi'
        video = Video(file, max(frames.values()), width, height, template)
        annotation.videos[name] = video
        counted.add(name)
        tracks: dict[tuple[str, str], list[Placed]] = {}
        loose: dict[str, list[Placed]] = {}
        for image, _ in images:
            frame = frames[image.name]
            for (label, track), box in zip(image.labels, image.boxes, strict=True):
                if label not in annotation.classes:
                    raise AnnotationError(
                        f'{path}: video {name!r}, frame {frame}: label {label!r} is none of'
                        f' <labels>, {annotation.classes}; correct it, or add it there'
                    )
                if track is None:
                    loose.setdefault(label, []).append((frame, box))
                else:
                    tracks.setdefault((label, track), []).append((frame, box))
        add_tracks(annotation, name, tracks, f'{path}: video {name!r}', problems)
        add_untracked(annotation, name, loose, problems)
