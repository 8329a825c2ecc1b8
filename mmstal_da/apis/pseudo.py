"""Pseudo-labels of a pair's unlabelled target, from a detector that was trained on it."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.errors import UsageError
from mmstal_da.evaluation.functional import Detections, GroundTruth, TubeSet, parse_ground_truth
from mmstal_da.evaluation.functional.pseudo_labels import PseudoTubeRule
from mmstal_da.launch.reporting import as_config_error
from mmstal_da.registry import DATASETS
from mmstal_da.tubes.annotation import Annotation, Tube, load_annotation
from mmstal_da.tubes.evaluated import load_ground_truth


def target_config(cfg: Config) -> dict[str, Any]:
    """The data set of the pair's target to train on, as its config is.

    Raises:
        UsageError: The config has no such data set.
    """
    pair = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    target = pair.get('target') if pair.get('type') == 'DualDomainDataset' else None
    if target is None or target.get('type') != 'ActionTubeDataset':
        raise UsageError(
            'the config trains on no pair with an ActionTubeDataset as its target; give that of a'
            ' pair, e.g. --config configs/synthetic_a/source_only.py'
        )
    return dict(target)


def unlabelled_target(cfg: Config, key_frame_stride: int = 1) -> ActionTubeDataset:
    """The same, every frame a key frame, with the pipeline of the test and without its labels."""
    target = target_config(cfg)
    target.update(
        pipeline=cfg.test_dataloader.dataset.pipeline,
        labelled=False,
        test_mode=True,
        background_share=0.0,
        key_frame_stride=key_frame_stride,
    )
    with as_config_error('the target of the config cannot be built'):
        dataset = DATASETS.build(target)
    dataset.full_init()
    return dataset


def detect(model: Any, batches: Iterable[dict], names: list[str]) -> Iterator[Detections]:
    """Detections of every batch.

    Args:
        model: In eval mode.
        batches: ``dict(inputs, data_samples)`` with lists.
        names: Of the videos; an index into them is a detection's ``video``.
    """
    place = {name: number for number, name in enumerate(names)}
    for batch in batches:
        with torch.inference_mode():
            samples = model.test_step(batch)
        for sample in samples:
            meta, found = sample.metainfo, sample.pred_instances
            rows = np.empty((len(found.scores), 8), np.float32)
            rows[:, 0], rows[:, 1] = place[meta['video_name']], meta['key_frame']
            rows[:, 2], rows[:, 3] = found.labels.cpu(), found.scores.float().cpu()
            rows[:, 4:] = found.bboxes.float().cpu()
            yield Detections.from_rows(rows)


def joined(parts: Iterable[Detections]) -> Detections:
    """All of them, in order."""
    found = [Detections.empty(0), *parts]
    names = ('video', 'frame', 'label', 'score', 'boxes')
    return Detections(*(np.concatenate([getattr(part, name) for part in found]) for name in names))


def pseudo_annotation(
    dataset: ActionTubeDataset,
    learnt: TubeSet,
    ignored: TubeSet,
    classes: list[str],
    origin: dict[str, Any],
) -> Annotation:
    """The videos of a data set with pseudo-labels, as an annotation of its own.

    Args:
        dataset: Of :func:`unlabelled_target`.
        learnt: Tubes whose ``video`` counts as :func:`video_names`.
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


def video_names(dataset: ActionTubeDataset) -> list[str]:
    """The videos of a data set, in its order."""
    return list(dict.fromkeys(dataset.get_data_info(i)['video_name'] for i in range(len(dataset))))


def origin_of(checkpoint: str, rule: PseudoTubeRule, key_frame_stride: int) -> dict[str, Any]:
    """What is written as ``"pseudo"``."""
    digest = (
        hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
        if Path(checkpoint).is_file()
        else None
    )
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
