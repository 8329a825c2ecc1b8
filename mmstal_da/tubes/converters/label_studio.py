"""From Label Studio's JSON export of video object tracking.

Sources: Label Studio's docs (tags ``Video``, ``VideoRectangle``, ``Labels``; "Export as JSON") and
``extract_key_frames`` of the package label-studio-sdk, whose interpolation this follows.

An export is a list of tasks: ``data`` with the video's address, ``annotations`` (one per person)
with ``result``, a list of regions. A region of type ``videorectangle`` is a tube:

- ``value.sequence`` are key frames: ``frame`` (1-based), ``x y width height`` in **percent** of the
  video's width and height, ``enabled``. A key frame is shown itself; from one that is ``enabled``
  the box moves on a straight line to the next, the last one stays up to ``value.framesCount``.
  After one that is not ``enabled`` the tube has a gap.
- ``value.labels`` are its classes; a region of several is a tube of each. Where they are missing,
  those of a region of type ``labels`` with the same ``id`` are taken.

A box ends where the last pixel ends: ``x2 = (x + width) / 100 * video width - 1``. Percent need a
size, which the export does not have: it comes from the videos (``--frames``) or from
``--frame-sizes``.

A video is called after its file, without suffix and without the eight characters that an upload
to Label Studio puts before it; if two tasks would have one name, the folder is put before it. Of
several annotations of a task the one marked ``ground_truth`` is taken, else the newest; the others
are noted, and so are predictions, other regions, and rotations (the box is read unrotated).

Label Studio counts frames at the rate of its labelling config (``framerate`` of ``<Video>``, 24 by
default), whatever the video has. Where the video's own rate is known and differs from ``frame /
time`` of the key frames, this is noted: set ``framerate`` and label again, or resample the video.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from mmstal_da.errors import AnnotationError
from mmstal_da.video.reader import VIDEO_SUFFIXES

from ..annotation import Annotation, Tube, Video, validate
from .numbers import whole
from .problems import Conversion, Problem, note
from .tracks import (
    LONGEST,
    Hints,
    add_tube,
    expecting,
    fill,
    in_order,
    json_files,
    load_json,
    video_name,
)

RATE = 0.01  # relative difference of frame rates that is noted


def from_label_studio(
    path: str | os.PathLike[str],
    problems: list[Problem] | None = None,
    hints: Hints | None = None,
) -> Annotation:
    """Read a JSON export.

    Args:
        path: The file, or a folder of them.
        problems: Where what is left out is noted; None raises :class:`AnnotationError`.
        hints: Sizes of the videos, which percent need, and frame rates.

    Raises:
        AnnotationError: Not such a file, or a video without a size; names file, video, track and
            frame.
    """
    return convert(path, problems, hints).annotation


def videos_of(path: str | os.PathLike[str]) -> dict[str, Video]:
    """Names and paths of the videos that an export names; sizes and lengths are not known."""
    return {
        name: Video(f'{name}{os.path.splitext(address)[1] or ".mp4"}', 1)
        for name, (_, address, _) in _tasks(path).items()
    }


def convert(
    path: str | os.PathLike[str],
    problems: list[Problem] | None = None,
    hints: Hints | None = None,
) -> Conversion:
    """Read an export, as :func:`from_label_studio` does, with what was noted about it."""
    hints = hints or Hints()
    annotation, counted = Annotation('label_studio', []), set()
    for name, (file, address, task) in _tasks(path).items():
        if name in hints.absent:
            continue
        where = f'{file}: video {name!r}'
        with expecting(f'{where}: no video tracking of Label Studio'):
            annotated = _chosen(task, name, problems)
            known = _read_task(annotation, name, address, annotated, where, problems, hints)
        if not known:
            counted.add(name)
    if not annotation.classes:
        raise AnnotationError(f'{os.fspath(path)} holds no labelled videorectangle')
    validate(annotation, os.fspath(path))
    kind = "Label Studio's JSON"
    return Conversion(annotation, kind, [] if problems is None else problems, counted)


def _tasks(path: str | os.PathLike[str]) -> dict[str, tuple[Path, str, dict[str, Any]]]:
    """Video -> file, address and task."""
    found: list[tuple[Path, str, dict[str, Any]]] = []
    for file in json_files(path):
        raw = load_json(file)
        for task in [raw] if isinstance(raw, dict) else raw if isinstance(raw, list) else [raw]:
            if not isinstance(task, dict) or not isinstance(task.get('data'), dict):
                raise AnnotationError(
                    f'{file} is no export of Label Studio with "data" and "annotations" of tasks:'
                    ' choose the format JSON, not JSON-MIN'
                )
            found.append((file, _address(file, task), task))
    stems = [_stem(address) for _, address, _ in found]
    named: dict[str, tuple[Path, str, dict[str, Any]]] = {}
    for (file, address, task), stem in zip(found, stems, strict=True):
        name = stem
        if stems.count(stem) > 1:
            folder = PurePosixPath(address).parent.name
            name = f'{folder}/{stem}' if folder else stem
        if name in named:
            raise AnnotationError(
                f'{file}: task {task.get("id")} and task {named[name][2].get("id")} both annotate'
                f' video {name!r}; delete one of them'
            )
        named[name] = (file, address, task)
    return named


def _address(file: Path, task: dict[str, Any]) -> str:
    """The path of a task's video, out of an URL if it is one."""
    texts = {key: value for key, value in task['data'].items() if isinstance(value, str)}
    paths = {}
    for key, value in texts.items():
        parts = urlsplit(value)
        local = parse_qs(parts.query).get('d')
        paths[key] = local[0] if local else unquote(parts.path if parts.scheme else value)
    videos = [key for key in paths if paths[key].lower().endswith(VIDEO_SUFFIXES)]
    key = videos[0] if len(videos) == 1 else 'video'
    if key not in paths:
        raise AnnotationError(
            f'{file}: task {task.get("id")}: "data" names no video: {sorted(task["data"])}'
        )
    return paths[key]


def _stem(address: str) -> str:
    stem = video_name(PurePosixPath(address.replace('\\', '/')).name)
    return re.sub(r'^[0-9a-f]{8}-', '', stem) or stem


def _chosen(
    task: dict[str, Any], name: str, problems: list[Problem] | None
) -> dict[str, Any] | None:
    """The annotation of a task to read; the others are noted."""
    items = [item for item in task.get('annotations') or [] if not item.get('was_cancelled')]
    if not items:
        text = 'nobody annotated it'
        if task.get('predictions'):
            text = 'it has predictions only'
        note(problems, Problem(name, text, 'kept without tubes'))
        return None
    best = [item for item in items if item.get('ground_truth')] or items
    chosen: dict[str, Any] = max(best, key=lambda item: str(item.get('updated_at') or ''))
    for item in items:
        if item is not chosen:
            text = f'annotation {item.get("id")} is another of the same video'
            done = f'left out for annotation {chosen.get("id")}'
            note(problems, Problem(name, text, done))
    return chosen


def _read_task(
    annotation: Annotation,
    name: str,
    address: str,
    annotated: dict[str, Any] | None,
    where: str,
    problems: list[Problem] | None,
    hints: Hints,
) -> bool:
    """Add a video and its tubes; whether its length is known."""
    results = list(annotated['result']) if annotated else []
    labels_of: dict[str, list[str]] = {}
    for item in results:
        if item.get('type') == 'labels':
            labels_of.setdefault(str(item['id']), []).extend(item['value'].get('labels') or [])
    regions = [item for item in results if str(item.get('type')).lower() == 'videorectangle']
    if name not in hints.sizes and regions:
        raise AnnotationError(
            f'{where}: its size is not known, and Label Studio has percent: give --frames with the'
            ' videos, or --frame-sizes'
        )
    others = [str(item.get('type')) for item in results if item.get('type') != 'labels']
    for kind in dict.fromkeys(kind for kind in others if kind.lower() != 'videorectangle'):
        text = f'{others.count(kind)} regions of type {kind!r}'
        note(problems, Problem(name, text, 'not read'))
    counts = [
        whole(item['value'].get('framesCount') or 0, f'{where}: framesCount') for item in regions
    ]
    length = max(counts, default=0)
    if length > LONGEST:
        raise AnnotationError(f'{where}: framesCount is {length}; no video is as long')
    width, height = hints.sizes.get(name, (None, None))
    fps = hints.fps.get(name)
    suffix = os.path.splitext(address)[1] or '.mp4'
    video = Video(f'{name}{suffix}', max(length, 1), width, height, None, fps)
    annotation.videos[name] = video
    rates = []
    for item in regions:
        track = f'track {item.get("id")}'
        keys = _keys(item, f'{where}, {track}')
        rates += [row['frame'] / row['time'] for row in keys if row.get('time')]
        labels = list(item['value'].get('labels') or labels_of.get(str(item.get('id')), []))
        frames, boxes = _filled(keys, length, (width or 1, height or 1))
        if any(row.get('rotation') for row in keys):
            frame = next(int(row['frame']) for row in keys if row.get('rotation'))
            problem = Problem(name, f'{track} is rotated', 'read unrotated', None, frame)
            note(problems, problem)
        if not labels:
            problem = Problem(name, f'{track} has no label', 'left out', boxes=len(frames))
            note(problems, problem)
        for label in labels:
            if label not in annotation.classes:
                annotation.classes.append(label)
            add_tube(annotation, name, Tube(label, frames, boxes), track, problems)
    rate = float(np.median(rates)) if rates else None
    if rate and fps and abs(rate / fps - 1) > RATE:
        text = f'Label Studio counted {rate:.3f} frames per second, the video has {fps:.3f}'
        done = 'frames left as they are; set framerate of <Video> in the labelling config'
        note(problems, Problem(name, text, done))
    return bool(length)


def _keys(item: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The key frames of a region, in order."""
    keys = list(item['value']['sequence'])
    for number, row in enumerate(keys):
        for key in ('frame', 'x', 'y', 'width', 'height'):
            value = row.get(key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise AnnotationError(
                    f'{where}, key frame {number}: {key} is {value!r}, no number; export it again'
                )
    frames = [whole(row['frame'], f'{where}: frame') for row in keys]
    order = in_order(frames, where)
    return [keys[row] for row in order]


def _filled(
    keys: list[dict[str, Any]], length: int, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Frames and boxes from key frames in percent."""
    frames = np.array([int(row['frame']) for row in keys], np.int64)
    percent = np.array([[row[key] for key in ('x', 'y', 'width', 'height')] for row in keys])
    percent = percent.reshape(-1, 4).astype(np.float64)
    edges = np.concatenate([percent[:, :2], percent[:, :2] + percent[:, 2:]], 1)
    boxes = edges / 100 * np.array(size * 2) - [0, 0, 1, 1]
    enabled = np.array([bool(row.get('enabled', True)) for row in keys])
    last = length if length and len(frames) and length > frames[-1] else None
    shown = np.ones(len(frames), bool)
    return fill(frames, boxes.astype(np.float32), shown, enabled, shown, last)
