"""Writes MMAction2's AVA files (:mod:`.ava`)."""

import json
import os
import pickle
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmstal_da.errors import AnnotationError
from mmstal_da.utils import atomic_write

from ..annotation import Annotation, Video, validate
from .ava_csv import EDGES, FORMAT
from .fractions import encode
from .subset import keep_videos


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


def _lines_of(name: str, annotation: Annotation) -> list[str]:
    """The csv lines of one video, by frame."""
    video = annotation.videos[name]
    tubes = annotation.tubes.get(name, [])
    size = _size(name, video) if tubes else (1, 1)
    edges = [(size[axis], offset) for axis, offset in EDGES]
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
