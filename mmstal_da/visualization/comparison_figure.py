"""The picture of a result: the same frames once per run, with what each run detects."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from mmstal_da.tubes.annotation import Annotation

from .contact_sheet import contact_sheet
from .detections_file import NamedDetections
from .overlays import detection_overlays, ground_truth_overlays
from .render import render_video


def comparison_figure(
    annotation: Annotation,
    data_prefix: str | os.PathLike[str],
    split: str,
    runs: Mapping[str, NamedDetections],
    clips_per_class: int = 1,
    score_thr: float = 0.3,
    height: int = 192,
    order: Mapping[str, Sequence[str]] | None = None,
) -> np.ndarray:
    """One row per run; the first clips of each class, at the middle of their tube.

    Args:
        annotation: With tubes, which are drawn dashed.
        data_prefix: Folder that its videos' paths are relative to.
        split: The split whose clips are shown.
        runs: Title of the row -> detections.
        clips_per_class: Columns for each class.
        score_thr: Detections with a lower score are left out.
        height: Height of a frame in pixels.
        order: Class -> names of videos, the first to be shown first; None: as in the split.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: A class has fewer clips, or a run lacks one of them.
    """
    chosen = [
        found
        for label in next(iter(runs.values())).classes
        for found in _choose(annotation, split, label, clips_per_class, order)
    ]
    images = []
    for title, run in runs.items():
        for name, frame in chosen:
            if name not in run.videos:
                raise ValueError(f'{title} has no detections of video {name!r}')
            shown = detection_overlays(run.dets, run.videos.index(name), run.classes, score_thr)
            images += render_video(
                annotation.videos[name],
                data_prefix,
                shown,
                ground_truth_overlays(annotation.tubes[name]),
                run.classes,
                numbers=[frame],
                min_height=height,
                gt_labels=False,
            )
    captions = [f'{name}, frame {frame}' for name, frame in chosen] * len(runs)
    return contact_sheet(images, len(chosen), captions, list(runs), font_size=13)


def _choose(
    annotation: Annotation,
    split: str,
    label: str,
    count: int,
    order: Mapping[str, Sequence[str]] | None,
) -> Sequence[tuple[str, int]]:
    """The first clips with a tube of a class, and the middle frame of its first tube."""
    found: list[tuple[str, int]] = []
    for name in order[label] if order else annotation.split(split):
        tubes = [tube for tube in annotation.tubes.get(name, ()) if tube.label == label]
        if tubes and len(found) < count:
            found.append((name, int(tubes[0].frames[len(tubes[0].frames) // 2])))
    if len(found) < count:
        raise ValueError(
            f'split {split!r} of {annotation.dataset!r} has {len(found)} clips of {label!r}, not'
            f' {count}'
        )
    return found
