"""Pseudo-labels of a pair's unlabelled target, from a detector that was trained on it."""

import hashlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.engine.target_videos import target_config, video_names
from mmstal_da.evaluation.functional import GroundTruth, TubeSet, parse_ground_truth
from mmstal_da.evaluation.functional.pseudo_labels import PseudoTubeRule
from mmstal_da.tubes.annotation import Annotation, Tube, load_annotation
from mmstal_da.tubes.evaluated import load_ground_truth


def pseudo_annotation(
    dataset: ActionTubeDataset,
    learnt: TubeSet,
    ignored: TubeSet,
    classes: list[str],
    origin: dict[str, Any],
) -> Annotation:
    """The videos of a data set with pseudo-labels, as an annotation of its own.

    Args:
        dataset: Of :func:`~mmstal_da.engine.target_videos.unlabelled_target`.
        learnt: Tubes whose ``video`` counts as
            :func:`~mmstal_da.engine.target_videos.video_names`.
        ignored: Likewise.
        classes: Names of the labels.
        origin: What found them.
    """
    source = load_annotation(dataset.ann_file, with_tubes=False)
    names = video_names(dataset)
    tubes: dict[str, list[Tube]] = {name: [] for name in names}
    for found, is_ignored in ((learnt, False), (ignored, True)):
        for number in range(len(found)):
            name = names[int(found.video[number])]
            begin, end = int(found.begin[number]), int(found.end[number])
            first = int(found.offset[number])
            boxes = found.boxes[first : first + end - begin + 1]
            video = source.videos[name]
            if video.width is not None and video.height is not None:
                boxes = boxes.clip(0, np.array([video.width - 1, video.height - 1] * 2))
            boxes = boxes.round(1).astype(np.float32)
            label = classes[int(found.label[number])]
            tubes[name].append(Tube(label, np.arange(begin, end + 1), boxes, is_ignored))
    return Annotation(
        source.dataset,
        list(classes),
        {name: source.videos[name] for name in names},
        {dataset.split: names},
        tubes,
        origin,
    )


def origin_of(checkpoint: str, rule: PseudoTubeRule, key_frame_stride: int) -> dict[str, Any]:
    """What is written as ``"pseudo"``."""
    path = Path(checkpoint)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    return dict(
        checkpoint=checkpoint, sha256=digest, key_frame_stride=key_frame_stride, rule=asdict(rule)
    )


def hidden_truth(cfg: Config, names: list[str], classes: list[str]) -> GroundTruth:
    """The target's own labels, for a diagnosis.

    Raises:
        AnnotationError: The file has no labels of a person.
    """
    target = target_config(cfg)
    truth = load_ground_truth(
        os.path.join(target.get('data_root', ''), target['ann_file']),
        target['split'],
        classes,
        target.get('class_map'),
        target.get('videos'),
    )
    return parse_ground_truth({**truth, 'videos': names})
