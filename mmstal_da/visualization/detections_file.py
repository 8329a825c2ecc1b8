"""Reads the detections that the evaluation dumps."""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DetectionsFile:
    """Contents of a dump.

    Attributes:
        dets: (M, 8) float64 video index, 1-based frame, label, score, x1, y1, x2, y2; boxes in
            pixels of the original video.
        videos: Names that the video index refers to.
        classes: Names that the label refers to.
    """

    dets: np.ndarray
    videos: list[str]
    classes: list[str]


def load_detections(
    path: str | os.PathLike, videos: Sequence[str], classes: Sequence[str]
) -> DetectionsFile:
    """Read an ``.npz`` file of detections.

    Args:
        path: Holds ``dets`` and, if written, ``videos`` and ``classes`` (or ``labels``).
        videos: Video names, for a file without them.
        classes: Class names, for a file without them.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No detections file, or indices beyond the names.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no detections file {path!r}; tools/test.py writes one')
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path} is no .npz file of plain arrays ({error})') from error
    dets = content.get('dets')
    if dets is None or dets.ndim != 2 or dets.shape[1] != 8:
        shape = 'missing' if dets is None else f'of shape {dets.shape}'
        raise ValueError(f'{path}: "dets" is {shape}; it is (M, 8)')
    names = [str(name) for name in content.get('videos', videos)]
    labels = content.get('classes', content.get('labels', classes))
    labels = [str(name) for name in labels]
    for column, count, what in ((0, len(names), 'video'), (2, len(labels), 'label')):
        beyond = np.flatnonzero((dets[:, column] < 0) | (dets[:, column] >= count))
        if len(beyond):
            raise ValueError(
                f'{path}: row {beyond[0]} has {what} index {dets[beyond[0], column]:g}, but there '
                f'are {count}: is this the annotation file and split it was made on?'
            )
    return DetectionsFile(dets.astype(np.float64), names, labels)
