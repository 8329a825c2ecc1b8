"""A pair's unlabelled target videos, and what a detector finds in them."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.errors import ConfigError
from mmstal_da.evaluation.functional import Detections
from mmstal_da.registry import DATASETS


def target_config(cfg: Config) -> dict[str, Any]:
    """The data set of the pair's target to train on, as its config is.

    Raises:
        ConfigError: The config has no such data set.
    """
    pair = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    target = pair.get('target') if pair.get('type') == 'DualDomainDataset' else None
    if target is None or target.get('type') != 'ActionTubeDataset':
        raise ConfigError(
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
    dataset = DATASETS.build(target)
    dataset.full_init()
    return dataset


def video_names(dataset: ActionTubeDataset) -> list[str]:
    """The videos of a data set, in its order."""
    return list(dict.fromkeys(dataset.get_data_info(i)['video_name'] for i in range(len(dataset))))


def detect(model: Any, batches: Iterable[dict], names: list[str]) -> Iterator[Detections]:
    """Detections of every key frame.

    Args:
        model: In eval mode; has ``test_step``.
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
