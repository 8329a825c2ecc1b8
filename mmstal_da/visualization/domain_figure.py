"""The picture of the task: one clip per class from source and target, boxes drawn."""

import os
from collections.abc import Sequence

import numpy as np

from mmstal_da.tubes.annotation import Annotation, load_annotation

from .contact_sheet import contact_sheet
from .overlays import Overlay, ground_truth_overlays
from .render import render_video


def domain_figure(
    ann_files: Sequence[str | os.PathLike[str]],
    data_prefixes: Sequence[str | os.PathLike[str]],
    titles: Sequence[str],
    split: str = 'test',
    classes: Sequence[str] | None = None,
    frames_per_clip: int = 1,
    height: int = 192,
) -> np.ndarray:
    """One row per domain, with a few frames of one clip for every class.

    Args:
        ann_files: Annotation file of each domain.
        data_prefixes: Folder that its videos' paths are relative to.
        titles: Title of each row.
        split: The split whose clips are shown.
        classes: Classes to show; by default those of the first file.
        frames_per_clip: Frames shown of a clip, around its middle, five apart.
        height: Height of a frame in pixels.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    annotations = [load_annotation(path) for path in ann_files]
    classes = list(classes or annotations[0].classes)
    images = []
    for annotation, prefix in zip(annotations, data_prefixes, strict=True):
        for label in classes:
            name, numbers = _choose(annotation, split, label, frames_per_clip)
            shown = ground_truth_overlays(annotation.tubes[name])
            # solid boxes in the colours of the classes: there are no other boxes to compare with
            shown = {
                frame: [Overlay(item.box, item.label) for item in items]
                for frame, items in shown.items()
            }
            images += render_video(
                annotation.videos[name], prefix, shown, {}, classes, '', numbers, min_height=height
            )
    return contact_sheet(
        images,
        columns=len(classes) * frames_per_clip,
        row_titles=list(titles),
    )


def _choose(annotation: Annotation, split: str, label: str, count: int) -> tuple[str, list[int]]:
    """The first clip of a class with enough frames, and frames around the middle of its tube."""
    span = 5 * (count - 1)
    for name in annotation.split(split):
        for tube in annotation.tubes.get(name, ()):
            if tube.label == label and len(tube.frames) > span:
                first = (len(tube.frames) - span) // 2
                return name, tube.frames[first : first + span + 1 : 5].tolist()
    raise ValueError(
        f'split {split!r} of {annotation.dataset!r} has no clip of {label!r} with more than '
        f'{span} frames'
    )
