"""JHMDB from ``jhmdb_annot.mat``: 928 trimmed clips of 21 classes, one actor box per frame.

The file's struct ``annot`` has one entry per box: ``action``, ``video_id``, ``frame`` (1-based)
and ``bound`` = ``x1 y1 w h`` in 1-based pixels, the bounding rectangle of the puppet mask (the
masks themselves: :mod:`.puppet_mask`).
"""

import os

import numpy as np

from mmstal_da.errors import AnnotationError

from ..annotation import Annotation, Tube, Video
from .mat import load_mat
from .numbers import whole_array
from .problems import Problem, large_enough

WIDTH, HEIGHT, FPS = 320, 240, 30.0


def from_annot_mat(
    path: str | os.PathLike[str], problems: list[Problem] | None = None
) -> Annotation:
    """Read ``jhmdb_annot.mat``.

    Args:
        path: The file.
        problems: List for notes on degenerate boxes, which are left out; None raises instead.

    Returns:
        Annotation without splits. Videos are named ``<class>/<video>`` and expected at
        ``<class>/<video>.avi``; every video has one tube over all its frames.

    Raises:
        AnnotationError: Not such a file, or a video whose frames are not 1, 2, ..., n.
    """
    path = os.fspath(path)
    what = 'jhmdb_annot.mat with annot.action, video_id, frame and bound'
    annot = load_mat(path, 'annot', what, squeeze_me=True, struct_as_record=False)
    try:
        fields = [getattr(annot, key) for key in ('action', 'video_id', 'frame', 'bound')]
        actions, video_ids, frames, bounds = map(np.atleast_1d, fields)
        names = np.array([f'{a}/{v}' for a, v in zip(actions, video_ids, strict=True)])
        frames = whole_array(frames, 'frame')  # uint16 in the file
        bounds = bounds.astype(np.float32).reshape(len(names), 4)
        if len(frames) != len(names) or not len(names):
            raise ValueError(f'{len(frames)} frames of {len(names)} boxes')
    except (ValueError, AttributeError, TypeError) as error:
        raise AnnotationError(f'{path} is not {what} ({error})') from error
    x, y, w, h = bounds.T
    boxes = np.stack([x - 1, y - 1, x + w - 2, y + h - 2], 1)  # 0-based, ends inclusive

    annotation = Annotation('jhmdb', sorted({str(action) for action in actions}))
    # sorted by video and then by frame; equal videos are then neighbours
    order = np.lexsort((frames, names))
    starts = np.flatnonzero(np.r_[True, names[order][1:] != names[order][:-1]])
    for rows in np.split(order, starts[1:]):
        name = str(names[rows[0]])
        if not np.array_equal(frames[rows], np.arange(1, len(rows) + 1)):
            raise AnnotationError(
                f'{path}: video {name!r} has boxes at frames {frames[rows].tolist()},'
                f' not once at each of 1 to {len(rows)}'
            )
        label = name.split('/')[0]
        keep = large_enough(bounds[rows, 2:], bounds[rows], frames[rows], name, label, problems)
        annotation.videos[name] = Video(f'{name}.avi', len(rows), WIDTH, HEIGHT, fps=FPS)
        if keep.any():
            annotation.tubes[name] = [Tube(label, frames[rows][keep], boxes[rows][keep])]
    return annotation
