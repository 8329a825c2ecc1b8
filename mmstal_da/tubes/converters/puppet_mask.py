"""JHMDB from its puppet masks: the box is the bounding rectangle of the actor's mask.

The official release has ``puppet_mask/<class>/<video>/puppet_mask.mat``, each with ``part_mask``
(height, width, frames), not 0 where the actor is. Public copies also have the same file as
``<class>/<video>.mat``.
"""

import os
from pathlib import Path

import numpy as np

from mmstal_da.errors import AnnotationError

from ..annotation import Annotation, Tube, Video
from ..walk import files_below
from .jhmdb import FPS
from .mat import load_mat
from .problems import Problem, note

FILE = 'puppet_mask.mat'


def from_puppet_masks(
    folder: str | os.PathLike[str], problems: list[Problem] | None = None
) -> Annotation:
    """Read a tree of puppet masks.

    Args:
        folder: Searched at any depth.
        problems: List for notes on frames with an empty mask, which get no box; None raises.

    Returns:
        Annotation without splits. Videos are named ``<class>/<video>`` and expected at
        ``<class>/<video>.avi``; the mask's size is the video's.

    Raises:
        AnnotationError: No such files, or one without ``part_mask``.
    """
    paths = files_below(folder, ('.mat',))
    if not paths:
        raise AnnotationError(f'{folder} holds no puppet masks (<class>/<video>/{FILE})')
    annotation = Annotation('jhmdb', [])
    for path in paths:
        place = path.parent if path.name == FILE else path.with_suffix('')
        label, name = place.parent.name, f'{place.parent.name}/{place.name}'
        if name in annotation.videos:
            raise AnnotationError(f'{path}: another mask of video {name!r} was read already')
        mask = _read(path)
        frames, boxes = bounding_boxes(mask)
        for frame in sorted(set(range(1, mask.shape[2] + 1)) - set(frames.tolist())):
            note(
                problems,
                Problem(name, 'the mask is empty', 'no box for the frame', label, frame, boxes=1),
            )
        height, width, num_frames = mask.shape
        annotation.videos[name] = Video(f'{name}.avi', num_frames, width, height, fps=FPS)
        if len(frames):
            annotation.tubes[name] = [Tube(label, frames, boxes)]
    annotation.classes = sorted({name.split('/')[0] for name in annotation.videos})
    return annotation


def bounding_boxes(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounding rectangles of the frames whose mask is not empty.

    Args:
        mask: (height, width, frames), 0 is background.

    Returns:
        (n,) int64 frames, 1-based, and (n, 4) float32 ``x1 y1 x2 y2``, 0-based, ends inclusive.
    """
    columns, rows = (mask != 0).any(0), (mask != 0).any(1)  # (W, N), (H, N)
    found = np.flatnonzero(columns.any(0))
    columns, rows = columns[:, found], rows[:, found]
    first = [columns.argmax(0), rows.argmax(0)]
    last = [len(line) - 1 - line[::-1].argmax(0) for line in (columns, rows)]
    return found.astype(np.int64) + 1, np.stack(first + last, 1).astype(np.float32)


def _read(path: Path) -> np.ndarray:
    mask: np.ndarray = np.asarray(
        load_mat(path, 'part_mask', 'a puppet mask with part_mask, height x width x frames')
    )
    if mask.dtype.kind not in 'iufb' or not np.isfinite(mask).all():
        raise AnnotationError(f'{path}: part_mask is of {mask.dtype}, not of finite numbers')
    if mask.ndim == 2:  # a single frame
        mask = mask[:, :, None]
    if mask.ndim != 3 or not mask.size:
        raise AnnotationError(f'{path}: part_mask has shape {mask.shape}, not (H, W, frames)')
    return mask
