"""To and from MMAction2's AVA files, for ``AVADataset``.

``<dataset>_<split>.csv`` has a line per box, ``video,frame,x1,y1,x2,y2,label,entity``: the frame
1-based, labels from 1 as in ``<dataset>_action_list.pbtxt``, the entity one number per tube of a
video. Coordinates are fractions of the frame's width and height: AVA's boxes end where the last
pixel ends, so ``x2`` is ``(x2 + 1) / width`` of this project's inclusive ``x2``. They are written
with the digits that give the same float32 back.

The csv lacks the names, lengths, sizes and frame rates of videos, videos without boxes, and the
order of videos. The file ``<dataset>_videos.json`` next to it holds these. With it a round trip is
exact. Without it sizes must be given, a video's length is its last annotated frame, and its name
is the one in the csv without suffix.

To read the files with MMAction2 (``video`` is the path of the file under ``data_prefix``)::

    dict(type='AVADataset', ann_file='jhmdb_train.csv', label_file='jhmdb_action_list.pbtxt',
         data_prefix=dict(img='videos'), use_frames=False, num_classes=len(classes) + 1,
         fps=1, timestamp_start=1, start_index=0)  # timestamps count frames

and ``proposal_file='jhmdb_train_proposals.pkl'``, the annotated boxes with score 1, where the
model asks for proposals.
"""

import json
import os
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmstal_da.errors import AnnotationError
from mmstal_da.utils import atomic_write
from mmstal_da.video.reader import VIDEO_SUFFIXES

from ..annotation import Annotation, Tube, Video, validate
from .fractions import decode, encode
from .subset import keep_videos

FORMAT = 'mmstal_da.ava_videos'
_Boxes = dict[tuple[int, str], tuple[list[int], list[list[str]]]]
"""(entity, class) -> frames and texts of the boxes of one video."""


def save_ava(
    annotation: Annotation, folder: str | os.PathLike[str], splits: Sequence[str] | None = None
) -> list[Path]:
    """Write AVA files, each completely or not at all.

    Args:
        annotation: The annotation; every video with a box needs a size.
        folder: Where to write.
        splits: Names of splits, a csv each; None takes all. Videos of other splits are left out.

    Returns:
        The files.

    Raises:
        AnnotationError: A split does not exist, or a video has no size or a path that the csv
            cannot hold.
    """
    folder = Path(folder)
    validate(annotation, annotation.dataset)
    unwritable = [name for name in annotation.classes if re.search(r'["\n\r]', name)]
    if unwritable:
        raise AnnotationError(f'a label map cannot hold the classes {unwritable}')
    splits = list(annotation.splits) if splits is None else list(splits)
    chosen = {name for split in splits for name in annotation.split(split)}
    lines = {name: _lines_of(name, annotation) for name in annotation.videos if name in chosen}
    files = []
    for split in splits:
        files.append(folder / f'{annotation.dataset}_{split}.csv')
        with atomic_write(files[-1]) as file:
            file.writelines(line for name in annotation.split(split) for line in lines[name])
        files.append(folder / f'{annotation.dataset}_{split}_proposals.pkl')
        with atomic_write(files[-1], 'wb') as file:
            pickle.dump(_proposals(annotation, annotation.split(split)), file, protocol=2)
    files.append(folder / f'{annotation.dataset}_action_list.pbtxt')
    with atomic_write(files[-1]) as file:
        for number, name in enumerate(annotation.classes, 1):
            file.write(f'item {{\n  name: "{name}"\n  id: {number}\n}}\n')
    files.append(folder / f'{annotation.dataset}_videos.json')
    kept = keep_videos(annotation, chosen)
    with atomic_write(files[-1]) as file:
        json.dump(
            dict(
                format=FORMAT,
                dataset=annotation.dataset,
                classes=annotation.classes,
                videos={name: vars(video) for name, video in kept.videos.items()},
                splits={name: annotation.split(name) for name in splits},
            ),
            file,
            indent=1,
        )
    return files


def from_ava(
    path: str | os.PathLike[str],
    sizes: Mapping[str, tuple[int, int]] | None = None,
    label_file: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
) -> Annotation:
    """Read AVA files whose timestamps count frames from 1.

    Args:
        path: A csv, or a folder of them. The same folder holds ``*_videos.json`` if there is one
            (see the module), and the label map ``*_action_list*.pbtxt``.
        sizes: Video -> (width, height), where there is no ``*_videos.json``.
        label_file: The label map, if it is elsewhere.
        dataset: Name of the dataset; None takes the one in ``*_videos.json``, or ``'ava'``.

    Returns:
        Annotation with a split per csv, named after the last part of the csv's name.

    Raises:
        AnnotationError: A file is missing or wrong; names the line.
    """
    path = Path(path)
    tables = sorted(path.glob('*.csv')) if path.is_dir() else [path]
    folder = path if path.is_dir() else path.parent
    if not tables:
        raise AnnotationError(f'{path} holds no .csv')
    sidecar = _one(folder, '*_videos.json')
    label_file = Path(label_file) if label_file else _one(folder, '*_action_list*.pbtxt')
    if label_file is None:
        raise AnnotationError(f'{folder} holds no *_action_list*.pbtxt: give the label map')
    classes = read_label_map(label_file)
    stems: dict[str, Path] = {}
    if sidecar is None:
        annotation = Annotation(dataset or 'ava', list(classes.values()))
    else:
        annotation = _read_sidecar(sidecar, dataset)
        stems = {table.stem.removeprefix(f'{annotation.dataset}_'): table for table in tables}
    name_of = {video.path: name for name, video in annotation.videos.items()}
    seen: dict[str, Path] = {}
    for table in tables:
        rows = _read_table(table, classes)
        for key, boxes in rows.items():
            name = name_of.get(key)
            if name is None and sidecar is not None:
                raise AnnotationError(f'{table}: video {key!r} is not in {sidecar}')
            if name is None:
                name = _add_video(annotation, key, boxes, sizes, table)
                name_of[key] = name
            video = annotation.videos[name]
            if video.width is None or video.height is None:
                raise AnnotationError(f'{table}: video {name!r} has no width and height')
            tubes = [
                Tube(label, np.array(frames, np.int64), _decode(texts, video.width, video.height))
                for (_, label), (frames, texts) in sorted(boxes.items(), key=lambda item: item[0])
            ]
            if seen.setdefault(name, table) != table and annotation.tubes[name] != tubes:
                raise AnnotationError(f'{table} and {seen[name]} differ on video {name!r}')
            annotation.tubes[name] = tubes
        if sidecar is None:
            annotation.splits[table.stem.split('_')[-1]] = [name_of[key] for key in rows]
    if sidecar is not None:
        missing = sorted(set(annotation.splits) - set(stems))
        if path.is_dir() and missing:
            raise AnnotationError(f'{path} lacks the csv of splits {missing}')
        if not path.is_dir():  # one table: keep only its split and that split's videos
            split = next(name for name, table in stems.items() if table == path)
            annotation.splits = {split: annotation.split(split)}
            annotation = keep_videos(annotation, annotation.splits[split])
    validate(annotation, str(path))
    return annotation


def read_label_map(path: str | os.PathLike[str]) -> dict[int, str]:
    """Class names by number, from ``item { name: "..." id: N }`` (or ``label_id``)."""
    text = Path(path).read_text(encoding='utf-8')
    items = re.findall(r'name:\s*"([^"]*)"\s+(?:id|label_id):\s*(\d+)', text)
    if not items:
        raise AnnotationError(f'{path} is not a label map of items with name and id')
    return {int(number): name for name, number in items}


def _lines_of(name: str, annotation: Annotation) -> list[str]:
    """The csv lines of one video, by frame."""
    video = annotation.videos[name]
    tubes = annotation.tubes.get(name, [])
    edges = _edges(*_size(name, video)) if tubes else []
    if re.search(r'[,\n\r]', video.path) or video.path != video.path.strip():
        raise AnnotationError(f'video {name!r}: a csv cannot hold the path {video.path!r}')
    rows = []
    for entity, tube in enumerate(tubes):
        label = annotation.classes.index(tube.label) + 1
        columns = [
            encode(tube.boxes[:, column], extent, offset)
            for column, (extent, offset) in enumerate(edges)
        ]
        rows += [
            (int(frame), entity, f'{video.path},{frame},{",".join(box)},{label},{entity}\n')
            for frame, *box in zip(tube.frames, *columns, strict=True)
        ]
    return [line for _, _, line in sorted(rows)]


def _size(name: str, video: Video) -> tuple[int, int]:
    """Width and height of a video that must have them."""
    if video.width is None or video.height is None:
        raise AnnotationError(
            f'video {name!r} has no width and height, which fractions need: prepare it with'
            ' --frames or --frame-sizes'
        )
    return video.width, video.height


def _edges(width: int, height: int) -> list[tuple[int, int]]:
    """Extent and offset of x1, y1, x2 and y2."""
    return [(width, 0), (height, 0), (width, 1), (height, 1)]


def _decode(texts: list[list[str]], width: int, height: int) -> np.ndarray:
    """(n, 4) float32 boxes from the texts of n boxes."""
    columns = zip(zip(*texts, strict=True), _edges(width, height), strict=True)
    return np.stack([decode(column, *edge) for column, edge in columns], 1)


def _proposals(annotation: Annotation, names: Sequence[str]) -> dict[str, np.ndarray]:
    """``'video,frame'`` -> (n, 5) fractions within the frame and score 1, the annotated boxes."""
    found: dict[str, list[np.ndarray]] = {}
    for name in names:
        video = annotation.videos[name]
        for tube in annotation.tubes.get(name, []):
            boxes = tube.boxes.astype(np.float64) + [0, 0, 1, 1]
            boxes = np.clip(boxes / ([video.width, video.height] * 2), 0, 1)
            rows = np.column_stack([boxes, np.ones(len(boxes))])
            for frame, row in zip(tube.frames, rows, strict=True):
                found.setdefault(f'{video.path},{frame:04d}', []).append(row)
    return {key: np.array(rows) for key, rows in found.items()}


def _read_table(path: Path, classes: dict[int, str]) -> dict[str, _Boxes]:
    """Video -> its boxes, in the order of the csv."""
    videos: dict[str, _Boxes] = {}
    with open(path, encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            parts = line.rstrip('\r\n').split(',')
            if len(parts) != 8:
                raise AnnotationError(
                    f'{path}, line {number}: {len(parts)} fields instead of'
                    ' video,frame,x1,y1,x2,y2,label,entity'
                )
            try:
                frame, label, entity = (int(float(parts[index])) for index in (1, 6, 7))
                [float(text) for text in parts[2:6]]
                name = classes[label]
            except (ValueError, KeyError) as error:
                raise AnnotationError(f'{path}, line {number}: {error!r} in {line!r}') from error
            tube = videos.setdefault(parts[0], {}).setdefault((entity, name), ([], []))
            tube[0].append(frame)
            tube[1].append(parts[2:6])
    for name, tubes in videos.items():
        for (entity, action), (frames, texts) in tubes.items():
            order = sorted(range(len(frames)), key=frames.__getitem__)
            frames[:], texts[:] = [frames[i] for i in order], [texts[i] for i in order]
            if len(set(frames)) < len(frames):
                raise AnnotationError(
                    f'{path}: video {name!r}: entity {entity} has two boxes of {action!r} in one'
                    ' frame'
                )
    return videos


def _add_video(
    annotation: Annotation,
    key: str,
    boxes: _Boxes,
    sizes: Mapping[str, tuple[int, int]] | None,
    table: Path,
) -> str:
    """A video that only the csv describes."""
    name = os.path.splitext(key)[0] if key.lower().endswith(VIDEO_SUFFIXES) else key
    size = (sizes or {}).get(name)
    if size is None:
        raise AnnotationError(
            f'{table}: the size of video {name!r} is not known, and there is no *_videos.json:'
            ' give --frame-sizes'
        )
    last = max(frames[-1] for frames, _ in boxes.values())
    annotation.videos[name] = Video(key, last, *size)
    return name


def _read_sidecar(path: Path, dataset: str | None) -> Annotation:
    try:
        raw = json.loads(path.read_text(encoding='utf-8'))
        if raw['format'] != FORMAT:
            raise AnnotationError(f'{path}: "format" is not {FORMAT!r}')
        videos = {name: Video(**video) for name, video in raw['videos'].items()}
        return Annotation(dataset or raw['dataset'], raw['classes'], videos, raw['splits'])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(f'{path} is not a list of videos ({error!r})') from error


def _one(folder: Path, pattern: str) -> Path | None:
    found = sorted(folder.glob(pattern))
    if len(found) > 1:
        raise AnnotationError(f'{folder} holds several {pattern}: {[path.name for path in found]}')
    return found[0] if found else None
