"""To and from MMAction2's AVA files, for ``AVADataset``.

``<dataset>_<split>.csv`` has a line per box, ``video,frame,x1,y1,x2,y2,label,entity``: the frame
1-based, labels from 1 as in ``<dataset>_action_list.pbtxt``, the entity one number per tube of a
video. Coordinates are fractions of the frame's width and height: AVA's boxes end where the last
pixel ends, so ``x2`` is ``(x2 + 1) / width`` of this project's inclusive ``x2``. They are written
with the digits that give the same float32 back.

The csv lacks the names, lengths, sizes and frame rates of videos, videos without boxes, and the
order of videos. The file ``<dataset>_videos.json`` next to it holds these. With it a round trip is
exact. Without it sizes must be given, a video's length is its last annotated frame, and its name
is the one in the csv without suffix. Timestamps may then be AVA's own, in seconds
(:mod:`.ava_csv`).

To read the files with MMAction2 (``video`` is the path of the file under ``data_prefix``)::

    dict(type='AVADataset', ann_file='jhmdb_train.csv', label_file='jhmdb_action_list.pbtxt',
         data_prefix=dict(img='videos'), use_frames=False, num_classes=len(classes) + 1,
         fps=1, timestamp_start=1, start_index=0)  # timestamps count frames

and ``proposal_file='jhmdb_train_proposals.pkl'``, the annotated boxes with score 1, where the
model asks for proposals.
"""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmstal_da.errors import AnnotationError
from mmstal_da.utils.io import load_json
from mmstal_da.video.reader import VIDEO_SUFFIXES

from ..annotation import Annotation, Tube, Video, validate
from .ava_csv import (
    AVA_END,
    AVA_START,
    EDGES,
    FORMAT,
    Clock,
    Row,
    find_clock,
    read_label_map,
    read_rows,
)  # fmt: skip
from .ava_write import save_ava
from .fractions import decode
from .problems import Conversion, Problem, large_enough, note
from .splits import split_of_file
from .subset import keep_videos
from .tracks import Hints

__all__ = ['AvaOptions', 'convert', 'from_ava', 'refuse_whole_films', 'save_ava', 'videos_of']

EXCLUDED = 'excluded_timestamps'  # AVA's lists of timestamps, in the folder of its csv files
_Boxes = dict[tuple[int, str], tuple[list[int], list[list[str]]]]
"""(entity, class) -> frames and texts of the boxes of one video."""


@dataclass
class AvaOptions:
    """What csv files without ``*_videos.json`` do not say.

    Attributes:
        label_file: The label map; None looks for it next to the csv.
        dataset: Name of the dataset; None: ``'ava'``.
        unit: What timestamps count, ``'seconds'`` or ``'frames'``; None finds it out.
        start: Second at which the videos begin (:func:`.ava_csv.find_clock`).
        fps: Frames per second of all videos.
    """

    label_file: str | os.PathLike[str] | None = None
    dataset: str | None = None
    unit: str | None = None
    start: float | None = None
    fps: float | None = None


def from_ava(
    path: str | os.PathLike[str],
    sizes: Mapping[str, tuple[int, int]] | None = None,
    label_file: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
) -> Annotation:
    """Read AVA files, as :func:`convert` does; every problem is an error.

    Args:
        path: A csv, or a folder of them.
        sizes: Video -> (width, height), where there is no ``*_videos.json``.
        label_file: The label map, if it is elsewhere.
        dataset: Name of the dataset; None takes the one in ``*_videos.json``, or ``'ava'``.
    """
    options = AvaOptions(label_file, dataset)
    return convert(path, None, Hints(sizes=dict(sizes or {})), options).annotation


def videos_of(path: str | os.PathLike[str]) -> dict[str, Video]:
    """Names and paths of the videos of csv files without ``*_videos.json``."""
    tables, sidecar = _tables(Path(path))
    if sidecar is not None:
        return {}
    keys = dict.fromkeys(row.video for table in tables for row in read_rows(table, True))
    return {_name_of(key): Video(_path_of(key), 1) for key in keys}


def convert(
    path: str | os.PathLike[str],
    problems: list[Problem] | None = None,
    hints: Hints | None = None,
    options: AvaOptions | None = None,
) -> Conversion:
    """Read AVA files.

    Args:
        path: A csv, or a folder of them. The same folder holds ``*_videos.json`` if there is one
            (see the module), and the label map ``*_action_list*.pbtxt``.
        problems: Where boxes without extent, classes that the label map lacks and lines without a
            box are noted; None raises :class:`AnnotationError` at the first.
        hints: Sizes, frame rates and absent videos, where there is no ``*_videos.json``.
        options: What csv files made elsewhere do not say.

    Returns:
        Annotation with a split per csv, named after the csv (:func:`.splits.split_of_file`).

    Raises:
        AnnotationError: A file is missing or wrong, or two files are of one split; names the line.
    """
    path, hints, options = Path(path), hints or Hints(), options or AvaOptions()
    tables, sidecar = _tables(path)
    folder = path if path.is_dir() else path.parent
    label_file = options.label_file or _one(folder, '*_action_list*.pbtxt')
    if label_file is None:
        raise AnnotationError(f'{folder} holds no *_action_list*.pbtxt: give the label map')
    classes = read_label_map(Path(label_file))
    rows = {table: read_rows(table, fractions=sidecar is None) for table in tables}
    if sidecar is None:
        clock = find_clock(
            [row for found in rows.values() for row in found],
            options.unit, options.start, options.fps, str(path),
        )  # fmt: skip
        clock.fps = hints.fps
        reader = _Foreign(classes, clock, hints, options.dataset, problems)
        annotation = reader.read(rows)
        counted = set(annotation.videos)
        kind = "AVA's csv, " + (
            f'seconds from {clock.start:g}' if clock.seconds else 'timestamps counted as frames'
        )
    else:
        if options.unit == 'seconds' or options.fps or options.start is not None:
            raise AnnotationError(f'{sidecar} says that timestamps are frames: leave out --fps')
        annotation = _read_own(path, rows, classes, sidecar, options.dataset)
        counted, kind = set(), "MMAction2's AVA files"
    validate(annotation, str(path))
    return Conversion(annotation, kind, [] if problems is None else problems, counted)


def refuse_whole_films(annotation: Annotation, where: str) -> None:
    """Refuse videos that are too long for clips that begin at AVA's second 900.

    Raises:
        AnnotationError: Names the video.
    """
    for name, video in annotation.videos.items():
        seconds = video.num_frames / (video.fps or math.inf)
        if seconds > 1.2 * (AVA_END - AVA_START):
            raise AnnotationError(
                f'{where}: video {name!r} lasts {seconds:.0f} s: give --start 0 for whole films,'
                f' or --start {AVA_START} if it begins there'
            )


def _tables(path: Path) -> tuple[list[Path], Path | None]:
    """The csv files, and the list of videos next to them."""
    tables = sorted(path.glob('*.csv')) if path.is_dir() else [path]
    tables = [table for table in tables if EXCLUDED not in table.name]
    if not tables:
        raise AnnotationError(f'{path} holds no .csv')
    return tables, _one(path if path.is_dir() else path.parent, '*_videos.json')


def _read_own(
    path: Path,
    rows: Mapping[Path, list[Row]],
    classes: dict[int, str],
    sidecar: Path,
    dataset: str | None,
) -> Annotation:
    """The csv files that :func:`save_ava` wrote, to the last bit."""
    annotation = _read_sidecar(sidecar, dataset)
    stems = {table.stem.removeprefix(f'{annotation.dataset}_'): table for table in rows}
    name_of = {video.path: name for name, video in annotation.videos.items()}
    if len(name_of) < len(annotation.videos):
        raise AnnotationError(f'{sidecar}: two videos have one path')
    seen: dict[str, Path] = {}
    for table, found in rows.items():
        for key, boxes in _gather(table, found, classes, Clock(), None).items():
            name = name_of.get(key)
            if name is None:
                raise AnnotationError(f'{table}: video {key!r} is not in {sidecar}')
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
    missing = sorted(set(annotation.splits) - set(stems))
    if path.is_dir() and missing:
        raise AnnotationError(f'{path} lacks the csv of splits {missing}')
    if not path.is_dir():  # one table: keep only its split and that split's videos
        split = next(iter(stems))
        annotation.splits = {split: annotation.split(split)}
        annotation = keep_videos(annotation, annotation.splits[split])
    return annotation


@dataclass
class _Foreign:
    """Reads csv files made elsewhere."""

    classes: dict[int, str]
    clock: Clock
    hints: Hints
    dataset: str | None
    problems: list[Problem] | None

    def read(self, rows: Mapping[Path, list[Row]]) -> Annotation:
        """All of them."""
        annotation = Annotation(self.dataset or 'ava', list(self.classes.values()))
        key_of: dict[str, str] = {}
        table_of: dict[str, Path] = {}
        for table, found in rows.items():
            split = split_of_file(table)
            if split in annotation.splits:
                raise AnnotationError(
                    f'{table}: another csv is of split {split!r}, too; convert them one by one'
                )
            videos = _gather(table, found, self.classes, self.clock, self.problems)
            names = []
            for key, boxes in videos.items():
                name = _name_of(key)
                if name in self.hints.absent:
                    continue
                names.append(name)
                if key_of.setdefault(name, key) != key:
                    raise AnnotationError(
                        f'{table}: {key!r} and {key_of[name]!r} are both video {name!r}; rename one'
                    )
                if table_of.setdefault(name, table) != table:
                    raise AnnotationError(f'{table}: {table_of[name]} has video {name!r}, too')
                self._add(annotation, name, key, boxes, table)
            annotation.splits[split] = names
        return annotation

    def _add(self, annotation: Annotation, name: str, key: str, boxes: _Boxes, table: Path) -> None:
        size = self.hints.sizes.get(name)
        if size is None:
            raise AnnotationError(
                f'{table}: the size of video {name!r} is not known, and there is no *_videos.json:'
                ' give --frames with the videos, or --frame-sizes'
            )
        last = max((frames[-1] for frames, _ in boxes.values()), default=1)
        fps = self.clock.any_fps or self.hints.fps.get(name)
        annotation.videos[name] = Video(_path_of(key), last, *size, fps=fps)
        tubes = []
        for (_, label), (frames, texts) in sorted(boxes.items(), key=lambda item: item[0]):
            numbers = np.array(frames, np.int64)
            found = _decode(texts, *size)
            sizes = found[:, 2:].astype(np.float64) - found[:, :2] + 1
            raw = np.array(texts, np.float64)
            keep = large_enough(sizes, raw, numbers, name, label, self.problems)
            if keep.any():
                tubes.append(Tube(label, numbers[keep], found[keep]))
        if tubes:
            annotation.tubes[name] = tubes


def _name_of(key: str) -> str:
    """A video's name: what the csv calls it, without suffix."""
    return os.path.splitext(key)[0] if key.lower().endswith(VIDEO_SUFFIXES) else key


def _path_of(key: str) -> str:
    return key if key.lower().endswith(VIDEO_SUFFIXES) else f'{key}.mp4'


def _decode(texts: list[list[str]], width: int, height: int) -> np.ndarray:
    """(n, 4) float32 boxes from the texts of n boxes."""
    columns = zip(zip(*texts, strict=True), EDGES, strict=True)
    return np.stack([decode(c, (width, height)[axis], offset) for c, (axis, offset) in columns], 1)


def _gather(
    table: Path,
    rows: Sequence[Row],
    classes: dict[int, str],
    clock: Clock,
    problems: list[Problem] | None,
) -> dict[str, _Boxes]:
    """Video -> its boxes, in the order of the csv.

    Args:
        table: The csv, for messages.
        rows: Its lines.
        classes: The label map.
        clock: What its timestamps mean.
        problems: Where lines without a box and with a class that the label map lacks are noted;
            None raises.
    """
    videos: dict[str, _Boxes] = {}
    bare: Counter[str] = Counter()
    unknown: Counter[tuple[str, int]] = Counter()
    for row in rows:
        tubes = videos.setdefault(row.video, {})
        try:
            frame = clock.frame(row.time, _name_of(row.video))
            if frame < 1:
                raise ValueError(f'frame {frame}, frames are counted from 1')
            if row.box and row.label not in classes and problems is None:
                raise ValueError(f'class {row.label} is not in the label map')
        except AnnotationError as error:
            raise AnnotationError(f'{table}, line {row.line}: {error}') from error
        except (ValueError, OverflowError) as error:
            raise AnnotationError(f'{table}, line {row.line}: {error}') from error
        if not row.box:
            bare[_name_of(row.video)] += 1
        elif row.label not in classes:
            unknown[_name_of(row.video), row.label] += 1
        else:
            tube = tubes.setdefault((row.entity, classes[row.label]), ([], []))
            tube[0].append(frame)
            tube[1].append(row.box)
    for video, count in bare.items():
        note(problems, Problem(video, f'{count} lines of {table.name} have no box', 'left out'))
    for (video, number), count in unknown.items():
        text = f'{count} boxes of class {number}, which the label map lacks'
        note(problems, Problem(video, text, 'left out', boxes=count))
    for name, tubes in videos.items():
        for (entity, action), (frames, texts) in tubes.items():
            order = sorted(range(len(frames)), key=frames.__getitem__)
            frames[:], texts[:] = [frames[i] for i in order], [texts[i] for i in order]
            if len(set(frames)) < len(frames):
                raise AnnotationError(
                    f'{table}: video {name!r}: entity {entity} has two boxes of {action!r} in one'
                    ' frame'
                )
    return videos


def _read_sidecar(path: Path, dataset: str | None) -> Annotation:
    raw = load_json(path)
    try:
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
