"""To and from the ground-truth pickles of ACT (``UCF101v2-GT.pkl``, ``JHMDB-GT.pkl``, ...).

``labels`` (class names), ``train_videos`` and ``test_videos`` (a list of names per split),
``nframes`` {video: n}, ``resolution`` {video: (height, width)} and ``gttubes`` {video: {label
index: [(n, 5) float32 ``frame x1 y1 x2 y2``]}}; frames 1-based, coordinates 0-based.

Boxes are copied **verbatim**, in both directions. In some public caches ``x2`` is the last pixel,
in others the pixel after it (that of UCF101-24 has ``x2 = x + w``, one more than this project's
``x + w - 1``). The published detectors use the caches as they are, and so does this project. For
exact ends, convert from the dataset's own annotation instead.

The format has no place for the name of the dataset, paths, frame rates, splits that are not
numbered train and test, and the order of tubes. These are stored in an extra key, ``mmstal_da``,
which other readers ignore. With it a round trip is exact. Without it (a pickle made elsewhere),
split k is ``train`` / ``test`` (k = 1) or ``train<k>`` / ``test<k>``, and videos are expected as
folders of images in the layout that ACT has for the dataset.
"""

import os
import pickle
from itertools import count
from typing import Any

import numpy as np

from mmstal_da.errors import AnnotationError
from mmstal_da.utils import atomic_write
from mmstal_da.utils.safe_pickle import load_pickle

from ..annotation import Annotation, Tube, Video, validate
from .numbers import whole, whole_array
from .problems import Problem, note
from .splits import split_name

EXTRA = 'mmstal_da'
REQUIRED = ('labels', 'nframes', 'gttubes')
TEMPLATES = {'ucf101_24': '{:05d}.jpg', 'jhmdb': '{:05d}.png', 'ucf_sports': '{:06d}.jpg'}


def is_act(raw: object) -> bool:
    """Whether an unpickled object is ground truth in ACT's format."""
    return isinstance(raw, dict) and set(REQUIRED) <= set(raw)


def from_act(
    path: str | os.PathLike[str],
    dataset: str | None = None,
    problems: list[Problem] | None = None,
    raw: dict[str, Any] | None = None,
) -> Annotation:
    """Read a pickle in ACT's format.

    Args:
        path: The file.
        dataset: Name of the dataset; None takes the one in the file, or ``'act'``.
        problems: List for notes on inverted boxes, which are left out; None raises instead.
        raw: What the file holds, if it was read already.

    Returns:
        Annotation with the splits of the file.

    Raises:
        AnnotationError: Not such a file; names the wrong video, class, tube and frame.
    """
    path = os.fspath(path)
    raw = load_pickle(path) if raw is None else raw
    if not is_act(raw):
        raise AnnotationError(f"{path} is not in ACT's format: it lacks some of {REQUIRED}")
    extra = raw.get(EXTRA) or {}
    try:
        annotation = Annotation(
            dataset or extra.get('dataset', 'act'), [str(label) for label in raw['labels']]
        )
        template = TEMPLATES.get(annotation.dataset)
        for key, num_frames in raw['nframes'].items():
            name = str(key)
            if name in annotation.videos:
                raise AnnotationError(f'two videos are called {name!r}')
            height, width = _resolution((raw.get('resolution') or {}).get(key))
            path_of = name if template else f'{name}.avi'
            length = whole(num_frames, f'nframes of {name!r}')
            video = Video(path_of, length, width, height, template)
            known = extra.get('videos', {}).get(name, {})
            for item in ('path', 'filename_tmpl', 'fps'):
                setattr(video, item, known.get(item, getattr(video, item)))
            annotation.videos[name] = video
        for key, by_label in raw['gttubes'].items():
            tubes = _tubes(str(key), by_label, annotation.classes, problems)
            order = extra.get('tube_order', {}).get(str(key), [])
            tubes = _ordered(tubes, [annotation.classes[label] for label in order])
            if tubes:
                annotation.tubes[str(key)] = tubes
        annotation.splits = _splits(raw, extra)
    except AnnotationError as error:
        raise AnnotationError(f'{path}: {error}') from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise AnnotationError(f"{path} is not in ACT's format: {error!r}") from error
    validate(annotation, path)
    return annotation


def to_act(annotation: Annotation) -> dict[str, Any]:
    """An annotation as a dict in ACT's format, of built-in types and NumPy arrays.

    Splits ``train``, ``test``, ``train2``, ``test2``, ... become its numbered splits. An
    annotation without a split of these names becomes one split in which all videos are tested.
    """
    label_of = {name: index for index, name in enumerate(annotation.classes)}
    gttubes: dict[str, dict[int, list[np.ndarray]]] = {}
    order: dict[str, list[int]] = {}
    for name in annotation.videos:
        gttubes[name] = {}
        tubes = annotation.tubes.get(name, [])
        for tube in tubes:
            rows = np.column_stack([tube.frames, tube.boxes]).astype(np.float32)
            gttubes[name].setdefault(label_of[tube.label], []).append(rows)
        labels = [label_of[tube.label] for tube in tubes]
        if labels != [label for label, items in gttubes[name].items() for _ in items]:
            order[name] = labels
    numbered: dict[str, list[list[str]]] = {'train_videos': [], 'test_videos': []}
    for number in count(1):
        names = {part: split_name(part, number) for part in ('train', 'test')}
        if not set(names.values()) & set(annotation.splits):
            break
        for part, name in names.items():
            numbered[f'{part}_videos'].append(list(annotation.splits.get(name, [])))
    if not numbered['test_videos']:
        numbered = {'train_videos': [[]], 'test_videos': [list(annotation.videos)]}
    return {
        'labels': list(annotation.classes),
        **numbered,
        'nframes': {name: video.num_frames for name, video in annotation.videos.items()},
        'resolution': {
            name: (video.height, video.width) for name, video in annotation.videos.items()
        },
        'gttubes': gttubes,
        EXTRA: {
            'dataset': annotation.dataset,
            'videos': {
                name: dict(path=video.path, filename_tmpl=video.filename_tmpl, fps=video.fps)
                for name, video in annotation.videos.items()
            },
            'splits': {name: list(names) for name, names in annotation.splits.items()},
            'tube_order': order,
        },
    }


def save_act(annotation: Annotation, path: str | os.PathLike[str]) -> None:
    """Write an annotation as a pickle in ACT's format, completely or not at all."""
    validate(annotation, os.fspath(path))
    with atomic_write(path, 'wb') as file:
        pickle.dump(to_act(annotation), file, protocol=2)


def _resolution(entry: Any) -> tuple[int | None, int | None]:
    """Height and width from what a pickle has for a video, if anything."""
    if not entry:
        return None, None
    height, width = entry
    return (height, None) if width is None else (whole(height, 'height'), whole(width, 'width'))


def _tubes(
    video: str,
    by_label: dict[int, list[np.ndarray]],
    classes: list[str],
    problems: list[Problem] | None,
) -> list[Tube]:
    tubes = []
    for label, items in by_label.items():
        if not 0 <= whole(label, f'video {video!r}: a label') < len(classes):
            raise AnnotationError(f'video {video!r}: label {label!r} is not below {len(classes)}')
        name = classes[int(label)]
        for number, rows in enumerate(items):
            where = f'video {video!r}, class {name!r}, tube {number}'
            rows = np.asarray(rows)
            if rows.ndim != 2 or rows.shape[1] != 5:
                raise AnnotationError(f'{where}: shape {rows.shape} instead of (n, 5)')
            if rows.dtype.kind not in 'iuf':
                raise AnnotationError(f'{where}: stored as {rows.dtype}, not as numbers')
            frames = whole_array(rows[:, 0], f'{where}: frames')
            boxes = rows[:, 1:].astype(np.float32)
            good = (boxes[:, 2:] >= boxes[:, :2]).all(1)
            for row in np.flatnonzero(~good):
                box = tuple(float(value) for value in boxes[row])
                text = f'box {" ".join(f"{value:g}" for value in box)} is inverted'
                frame = int(frames[row])
                note(problems, Problem(video, text, 'left out', name, frame, box, 1))
            if good.any():
                tubes.append(Tube(name, frames[good], boxes[good]))
    return tubes


def _ordered(tubes: list[Tube], labels: list[str]) -> list[Tube]:
    """Tubes in the order that their labels have in a list; unchanged if the list does not fit."""
    if not labels or sorted(labels) != sorted(tube.label for tube in tubes):
        return tubes
    queues: dict[str, list[Tube]] = {}
    for tube in tubes:
        queues.setdefault(tube.label, []).append(tube)
    return [queues[label].pop(0) for label in labels]


def _splits(raw: dict[str, Any], extra: dict[str, Any]) -> dict[str, list[str]]:
    if 'splits' in extra:
        return {name: [str(video) for video in names] for name, names in extra['splits'].items()}
    splits = {}
    for part in ('train', 'test'):
        for number, names in enumerate(raw.get(f'{part}_videos', []), 1):
            splits[split_name(part, number)] = [str(name) for name in names]
    if not splits and 'videos' in raw:  # one list of evaluated videos
        splits['test'] = [str(name) for name in raw['videos']]
    return splits
