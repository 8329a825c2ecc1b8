"""Ground truth of one split of an annotation file, in ACT's format."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .annotation import load_annotation
from .plausible import refuse_implausible
from .selection import class_labels, refuse_pseudo_labels, select_videos


def load_ground_truth(
    ann_file: str | os.PathLike[str],
    split: str,
    classes: Sequence[str] | None = None,
    class_map: Mapping[str, str] | None = None,
    videos: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Read the ground truth that predictions on a split are scored against.

    The arguments mean the same as in ``ActionTubeDataset``, so both select the same samples:
    videos without a tube of the kept classes are left out.

    Args:
        ann_file: Annotation file (:mod:`mmstal_da.tubes.annotation`).
        split: Name of a split in the file.
        classes: Classes in label order; tubes of others are left out. None takes all.
        class_map: Class of the file -> class of the model.
        videos: Shell patterns on video names.

    Returns:
        ACT's keys ``labels`` (class names), ``videos`` (names), ``nframes`` {video: frames},
        ``resolution`` {video: (height, width)} and ``gttubes`` {video: {label: [(n, 5) float64
        frame x1 y1 x2 y2]}}: frames 1-based, boxes 0-based pixels of that resolution. ``nframes``
        and ``resolution`` cover all videos of the file; a resolution that the file lacks is
        ``(None, None)``. Also ``dataset``, ``split_videos`` (all of the split) and ``all_labels``
        (all classes of the file, renamed).

    Raises:
        ValueError: Classes or patterns match nothing, there is no tube of the kept classes, or
            boxes are not in pixels of their video.
        AnnotationError: The file holds pseudo-labels.
    """
    annotation = load_annotation(ann_file)
    refuse_pseudo_labels(annotation, os.fspath(ann_file))
    names = select_videos(annotation, split, videos)
    refuse_implausible(annotation, os.fspath(ann_file), names)
    labels, label_of = class_labels(annotation.classes, classes, class_map)
    gttubes: dict[str, dict[int, list[np.ndarray]]] = {}
    for name in names:
        kept: dict[int, list[np.ndarray]] = {}
        for tube in annotation.tubes.get(name, []):
            if tube.label in label_of:
                rows = np.column_stack((tube.frames, tube.boxes)).astype(np.float64)
                kept.setdefault(label_of[tube.label], []).append(rows)
        if kept:
            gttubes[name] = kept
    if not gttubes:
        raise ValueError(
            f'{os.fspath(ann_file)}: split {split!r} has no tube of {list(labels)} in the chosen '
            'videos; check `split`, `videos` and `classes`'
        )
    info = annotation.videos.items()
    return dict(
        dataset=annotation.dataset,
        labels=list(labels),
        all_labels=[(class_map or {}).get(name, name) for name in annotation.classes],
        videos=list(gttubes),
        split_videos=annotation.split(split),
        nframes={name: video.num_frames for name, video in info},
        resolution={name: (video.height, video.width) for name, video in info},
        gttubes=gttubes,
    )
