"""The features of source and target that a detector's discriminators see, one row per key frame."""

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from mmstal_da.domains import SOURCE, TARGET
from mmstal_da.errors import UsageError
from mmstal_da.models.detectors import ActionTubeDetector
from mmstal_da.models.layers.batch_layout import extend_edges, map_extents, zero_padding
from mmstal_da.registry import DATASETS
from mmstal_da.utils.io import atomic_write

PLACES = ('SF', 'TF1', 'TF2')
DOMAIN_NAMES = {'source': SOURCE, 'target': TARGET}


@dataclass
class Features:
    """Features of key frames of both domains.

    Attributes:
        at: Place -> (N, C): ``SF`` and ``TF1`` averaged over the map's cells on the image, ``TF2``
            averaged over the best proposals.
        domains: (N,), 0 source, 1 target.
        videos: (N,) names.
        frames: (N,) key frames, from 1.
    """

    at: dict[str, np.ndarray]
    domains: np.ndarray
    videos: np.ndarray
    frames: np.ndarray

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an ``.npz`` with the places and ``domain``, ``video``, ``frame``."""
        with atomic_write(path, 'wb') as file:
            rows = dict(domain=self.domains, video=self.videos, frame=self.frames)
            columns: Any = {**self.at, **rows}  # NumPy's stubs know no arrays by name
            np.savez_compressed(file, **columns)


def domain_dataset(cfg: Config, domain: str, split: str | None = None) -> dict:
    """Config of a domain's videos with the test pipeline and without labels.

    Both domains are read without labels, so that key frames are chosen in the same way.

    Args:
        cfg: A config that trains on a ``DualDomainDataset``, adapted or not.
        domain: ``'source'`` or ``'target'``.
        split: Its split; None for the one that is trained on.

    Raises:
        UsageError: The config has no such dataset, or no test pipeline.
    """
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    part = dataset.get(domain)
    if not part or part.get('type') != 'ActionTubeDataset':
        raise UsageError(
            f'train_dataloader.dataset has no ActionTubeDataset as its {domain}; give the config of'
            ' a pair of domains'
        )
    tested = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    pipeline = tested.get('pipeline') or cfg.get('test_pipeline')
    if not pipeline:
        raise UsageError('the config has no test pipeline (test_dataloader, test_pipeline)')
    changes = dict(pipeline=pipeline, test_mode=True, labelled=False, background_frames=False)
    removed = ('class_map', 'proposals')
    kept = {key: value for key, value in part.items() if key not in removed}
    return dict(kept, **changes, **({} if split is None else dict(split=split)))


def spread(names: Sequence[str], max_videos: int, per_video: int) -> list[int]:
    """Positions of key frames: some videos of a list, and some frames of each, evenly spread.

    Args:
        names: Video of every key frame; key frames of a video are neighbours.
        max_videos: Most videos.
        per_video: Key frames of a video; shorter videos have fewer.
    """
    edges = [0, *(i for i in range(1, len(names)) if names[i] != names[i - 1]), len(names)]
    chosen = evenly(len(edges) - 1, max_videos)
    return [edges[v] + i for v in chosen for i in evenly(edges[v + 1] - edges[v], per_video)]


def evenly(count: int, most: int) -> list[int]:
    """Up to ``most`` of ``count`` numbers from 0, the middles of equal parts."""
    most = min(count, most)
    return [int((i + 0.5) * count / most) for i in range(most)]


def domain_batches(
    cfg: Config,
    domain: str,
    split: str | None = None,
    max_videos: int = 100,
    per_video: int = 2,
    batch_size: int = 8,
    workers: int = 0,
) -> DataLoader:
    """A loader of a domain's chosen key frames; see :func:`domain_dataset` and :func:`spread`."""
    dataset = DATASETS.build(domain_dataset(cfg, domain, split))
    names = [dataset.get_data_info(i)['video_name'] for i in range(len(dataset))]
    chosen = Subset(dataset, spread(names, max_videos, per_video))
    return DataLoader(chosen, batch_size, num_workers=workers, collate_fn=pseudo_collate)


@torch.no_grad()
def extract(
    detector: ActionTubeDetector, batches: dict[str, Iterable[dict]], num_proposals: int = 16
) -> Features:
    """Run a detector over both domains.

    With statistics per domain (``domain_norm``) each domain is normalised by its own.

    Args:
        detector: ``ActionTubeDetector``, in eval mode.
        batches: ``'source'`` and ``'target'`` -> batches as the pipeline packs them.
        num_proposals: Proposals of a key frame that TF2 is averaged over, the best by objectness.

    Raises:
        UsageError: The detector has no such features.
    """
    if not isinstance(detector, ActionTubeDetector):
        raise UsageError(
            f'{type(detector).__name__} has no SF, TF1 and TF2; give a row such as source_only'
        )
    rows: dict[str, list[np.ndarray]] = {place: [] for place in PLACES}
    domains: list[int] = []
    videos: list[str] = []
    frames: list[int] = []
    for name, domain in DOMAIN_NAMES.items():
        for batch in batches[name]:
            data = detector.data_preprocessor(batch, False)
            samples = data['data_samples']
            with _statistics_of(detector, domain):
                found = batch_features(detector, data['inputs'], samples, num_proposals)
            for place in PLACES:
                rows[place].append(found[place].float().cpu().numpy())
            domains += [domain] * len(samples)
            videos += [sample.metainfo['video_name'] for sample in samples]
            frames += [int(sample.metainfo['key_frame']) for sample in samples]
    at = {place: np.concatenate(parts) for place, parts in rows.items()}
    return Features(at, np.array(domains), np.array(videos), np.array(frames))


def _statistics_of(detector: ActionTubeDetector, domain: int) -> AbstractContextManager:
    """Inside this context, batch norm uses the statistics of one domain, if it has several."""
    norm = getattr(detector, 'domain_norm', None)
    if norm is None:
        return nullcontext()
    return norm.source_only() if domain == SOURCE else norm.joint(0)


def batch_features(
    detector: ActionTubeDetector, inputs: dict[str, Tensor], samples: list, num_proposals: int
) -> dict[str, Tensor]:
    """``SF``, ``TF1`` and ``TF2`` of a batch, (N, C) each."""
    with detector.layout.images(samples):
        spatial, temporal = detector.extract_feat(inputs)
    proposals = detector._proposals(*detector._propose(spatial), samples)
    best = [result.bboxes[:num_proposals] for result in proposals]
    maps = (extend_edges(temporal, map_extents(samples, temporal)),)
    vectors, image = detector.roi_head.instance_features(maps, best)
    sums = vectors.new_zeros((len(samples), vectors.shape[1])).index_add_(0, image, vectors)
    counts = torch.bincount(image, minlength=len(samples)).clamp(min=1)
    return dict(
        SF=image_mean(spatial, samples),
        TF1=image_mean(temporal, samples),
        TF2=sums / counts[:, None],
    )


def image_mean(feature_map: Tensor, samples: list) -> Tensor:
    """Mean over the cells of a map ``(N, C, h, w)`` that are not padding, ``(N, C)``."""
    extents = map_extents(samples, feature_map)
    if extents is None:
        return feature_map.mean((2, 3))
    cells = feature_map.new_tensor([rows * columns for rows, columns in extents])
    return zero_padding(feature_map, extents).sum((2, 3)) / cells[:, None]
