"""Detections as the evaluation writes them, with the names that their indices refer to."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmstal_da.evaluation.files import load_detections


@dataclass(frozen=True)
class NamedDetections:
    """Detections and names.

    Attributes:
        dets: (M, 8) video index, 1-based frame, label, score, x1, y1, x2, y2; boxes in pixels of
            the original video.
        videos: Names that the video index refers to.
        classes: Names that the label refers to.
    """

    dets: np.ndarray
    videos: list[str]
    classes: list[str]


def read_detections(
    path: str | os.PathLike[str], videos: Sequence[str], classes: Sequence[str]
) -> NamedDetections:
    """Read what ``TubeMetric(dump=...)`` writes, or any file the evaluation reads.

    Args:
        path: See :func:`mmstal_da.evaluation.files.load_detections`.
        videos: Video names, for a file without them.
        classes: Class names, for a file without them.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is not a detections file, or an index has no name.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'no detections file {path!r}; tools/test.py writes one where the config has '
            'test_evaluator=dict(dump=...)'
        )
    file = load_detections(path)
    dets = file.dets
    if dets.ndim != 2 or dets.shape[1] != 8:
        raise ValueError(f'{path}: "dets" is of shape {dets.shape}; it is (M, 8)')
    videos, classes = list(file.videos or videos), list(file.labels or classes)
    for column, names, what in ((0, videos, 'video'), (2, classes, 'label')):
        beyond = np.flatnonzero((dets[:, column] < 0) | (dets[:, column] >= len(names)))
        if len(beyond):
            raise ValueError(
                f'{path}: row {beyond[0]} has {what} index {dets[beyond[0], column]:g}, but there '
                f'are {len(names)}: is this the annotation file and split it was made on?'
            )
    return NamedDetections(dets, videos, classes)
