"""Detections and ground truth on disk."""

import json
import lzma
import os
import zipfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmstal_da.utils.io import atomic_write
from mmstal_da.utils.safe_pickle import load_pickle

from .compact import GEOMETRY, SCORES, unpack
from .functional import Detections


@dataclass
class DetectionFile:
    """What a file of detections holds.

    Attributes:
        dets: (M, 8) video index, frame, label, score, x1, y1, x2, y2.
        videos: Names that the video index refers to; None: the videos of the ground truth.
        labels: Class names that the label refers to; None: the classes of the ground truth.
        meta: Origin of the detections, such as dataset, split and config.
    """

    dets: np.ndarray
    videos: list[str] | None = None
    labels: list[str] | None = None
    meta: dict[str, Any] = field(default_factory=dict)


def save_detections(
    path: str | os.PathLike[str],
    dets: Detections,
    videos: list[str],
    labels: list[str],
    meta: dict[str, Any] | None = None,
) -> None:
    """Write detections as ``.npz``, completely or not at all.

    Args:
        path: Destination.
        dets: Detections.
        videos: Names that ``dets.video`` refers to.
        labels: Class names that ``dets.label`` refers to.
        meta: JSON-serialisable facts about the origin.
    """
    columns = (dets.video, dets.frame, dets.label, dets.score)
    # every column is exact in float32 (video, frame and label below 2 ** 24)
    rows = np.column_stack([*(column.astype(np.float32) for column in columns), dets.boxes])
    with atomic_write(path, 'wb') as file:
        np.savez_compressed(
            file,
            dets=rows,
            videos=np.array(videos, dtype=np.str_),
            labels=np.array(labels, dtype=np.str_),
            meta=np.array(json.dumps(meta or {})),
        )


def load_detections(path: str | os.PathLike[str]) -> DetectionFile:
    """Read detections of any detector.

    Args:
        path: ``.npz`` with ``dets`` (M, 8) and optionally ``videos``, ``labels`` and ``meta``; one
            of :func:`~.compact.encode_compact`; or a pickle of the array or of a dict with these
            keys.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is neither, or lacks ``dets``.
    """
    path = os.fspath(path)
    if zipfile.is_zipfile(path):
        try:
            with np.load(path, allow_pickle=False) as archive:
                content = {key: archive[key] for key in archive.files}
        except (
            *(ValueError, EOFError, NotImplementedError),  # of a damaged part or list of parts
            *(zipfile.BadZipFile, lzma.LZMAError),
        ) as error:
            raise ValueError(f'{path}: not a readable .npz file ({error})') from error
    else:
        content = load_pickle(path)
    if not isinstance(content, dict):
        content = {'dets': content}
    if GEOMETRY in content and SCORES in content:
        content['dets'] = unpack(content)
    if 'dets' not in content:
        raise ValueError(f"{path}: no 'dets' in it, only {sorted(map(str, content))}")
    meta = content.get('meta', {})
    if isinstance(meta, np.ndarray):
        meta = json.loads(str(meta))
    names = {
        key: None if content.get(key) is None else [str(name) for name in content[key]]
        for key in ('videos', 'labels')
    }
    return DetectionFile(np.asarray(content['dets']), names['videos'], names['labels'], meta)
