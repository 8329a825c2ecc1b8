"""Detections and ground truth on disk."""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmstal_da.tubes.plausible import look_like_fractions
from mmstal_da.utils.arrays import load_npz
from mmstal_da.utils.io import atomic_write
from mmstal_da.utils.safe_pickle import load_pickle

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
        path: ``.npz`` with ``dets`` (M, 8) and optionally ``videos``, ``labels`` and ``meta``, or
            a pickle of the array or of a dict with these keys.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is neither, is damaged, lacks ``dets``, or has boxes in fractions of
            the frame; names the file.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no file of detections {path!r}')
    with open(path, 'rb') as file:
        zipped = file.read(2) == b'PK'
    content = load_npz(path) if zipped or path.endswith('.npz') else load_pickle(path)
    if not isinstance(content, dict):
        content = {'dets': content}
    if 'dets' not in content:
        keys = [key for key in content if isinstance(key, str)]
        raise ValueError(f"{path}: no 'dets' in it, only {sorted(keys)[:10]}")
    try:
        dets = np.asarray(content['dets'])
    except (ValueError, MemoryError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: 'dets' is not an array ({error})") from error
    if dets.ndim == 2 and dets.shape[1] == 8 and dets.dtype.kind == 'f':
        if look_like_fractions(dets[:, 4:]):
            raise ValueError(
                f'{path}: all boxes lie between 0 and 1: they seem to be fractions of the frame;'
                ' multiply them by the width and height of the original video'
            )
    names = {key: _names(content.get(key), f'{path}: {key!r}') for key in ('videos', 'labels')}
    return DetectionFile(dets, names['videos'], names['labels'], _meta(content, path))


def _names(value: Any, where: str) -> list[str] | None:
    """Names of videos or classes; None if there are none."""
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(f'{where} is a list of names')
    twice = [name for name, count in Counter(value).items() if count > 1]
    if twice:
        raise ValueError(f'{where} has the name {twice[0]!r} twice')
    return [str(name) for name in value]


def _meta(content: dict[str, Any], path: str) -> dict[str, Any]:
    """Facts about the origin."""
    meta = content.get('meta', {})
    if isinstance(meta, np.ndarray):
        try:
            meta = json.loads(str(meta))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: 'meta' is not JSON ({error})") from error
    if not isinstance(meta, dict):
        raise ValueError(f"{path}: 'meta' is a dict of facts, not {type(meta).__name__}")
    return meta
