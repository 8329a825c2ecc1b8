"""The proposals of a trained detector's RPN, for detectors without an RPN."""

from collections.abc import Iterable

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner.checkpoint import CheckpointLoader, load_state_dict

import mmstal_da.registry  # noqa: F401  (first: repairs what importing mmaction needs)
from mmstal_da.datasets.proposals import FrameProposals
from mmstal_da.domains import trained_parts
from mmstal_da.errors import UsageError
from mmstal_da.evaluation.functional.iou import box_iou
from mmstal_da.launch.checkpoints import TRAINING_ONLY, check_fit, detector_of, weights_of
from mmstal_da.launch.reporting import as_config_error
from mmstal_da.models.detectors import ActionTubeDetector
from mmstal_da.registry import MODELS
from mmstal_da.utils.wrapped import detector_config


def part_dataset(cfg: Config, part: str) -> dict:
    """Config of a part's dataset, reduced to the key frame.

    Raises:
        UsageError: The config has no such dataset, or none with labels to train on.
    """
    loader = cfg.get(f'{part}_dataloader') or {}
    dataset = loader.get('dataset')
    while dataset is not None and dataset.get('type') != 'ActionTubeDataset':
        if dataset.get('type') == 'DualDomainDataset':
            dataset = next(iter(trained_parts(dataset).values()))  # the labelled one
        else:
            dataset = dataset.get('dataset')  # of a wrapper
    if dataset is None or (part == 'train' and not dataset.get('labelled', True)):
        labelled = 'labelled ' if part == 'train' else ''
        raise UsageError(f'{part}_dataloader has no {labelled}ActionTubeDataset')
    tested = (cfg.get('test_dataloader') or loader)['dataset']
    pipeline = [dict(stage) for stage in tested.pipeline]
    clips = [stage for stage in pipeline if stage['type'] == 'SampleKeyFrameClip']
    if len(clips) != 1:
        raise UsageError(
            f'the test pipeline has {len(clips)} SampleKeyFrameClip; the RPN needs its key frame'
        )
    clips[0].update(clip_len=1, frame_interval=1)
    return dict(dataset, pipeline=pipeline, test_mode=True)


def load_detector(cfg: Config, checkpoint: str) -> ActionTubeDetector:
    """The config's detector with the checkpoint's weights, ready to predict.

    Raises:
        UsageError: The model is of another kind.
        CheckpointError: The weights do not fit.
    """
    with as_config_error('the model cannot be built'):
        detector = MODELS.build(detector_config(cfg.model))
    if not isinstance(detector, ActionTubeDetector):
        raise UsageError(
            f'{type(detector).__name__} has no RPN on the key frame; give the config of an'
            ' ActionTubeDetector, such as source_only.py of the pair'
        )
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    _, state = detector_of(cfg.model, weights_of(loaded, checkpoint))
    check_fit(state, detector, checkpoint, TRAINING_ONLY)
    load_state_dict(detector, state)
    return detector.to(get_device()).eval()


def load_own_detector(checkpoint: str, cfg: Config) -> ActionTubeDetector:
    """The detector of a checkpoint, built from the config that it carries, else from ``cfg``.

    Raises:
        UsageError: As :func:`load_detector`, or the config is of another version.
    """
    loaded = CheckpointLoader.load_checkpoint(checkpoint, 'cpu')
    carried = (loaded.get('meta') or {}).get('cfg')
    try:
        return load_detector(Config.fromstring(carried, '.py') if carried else cfg, checkpoint)
    except TypeError as error:
        raise UsageError(
            f'{checkpoint} carries a config of another version of this project ({error}); use the'
            ' version that trained it'
        ) from error


@torch.no_grad()
def propose(
    detector: ActionTubeDetector, batches: Iterable[dict], max_per_frame: int | None = None
) -> FrameProposals:
    """The RPN's proposals of key frames, in pixels of the original videos.

    Args:
        detector: In eval mode.
        batches: ``dict(inputs, data_samples)`` with lists, as the pipeline packs them. Clips may
            be the key frame alone, because only SF and the RPN run.
        max_per_frame: Most proposals of a frame; None takes ``test_cfg.rpn.max_per_img``.

    Returns:
        (video name, key frame) -> boxes (n, 4) and scores (n,).
    """
    settings = detector.test_cfg.rpn.copy()
    settings.max_per_img = max_per_frame or settings.max_per_img
    proposals = {}
    for batch in batches:
        data = detector.data_preprocessor(batch)
        samples = data['data_samples']
        results = detector.propose(data['inputs']['key_frame'], samples, settings, rescale=True)
        for meta, result in zip((s.metainfo for s in samples), results, strict=True):
            proposals[meta['video_name'], int(meta['key_frame'])] = (
                result.bboxes.cpu().numpy(),
                result.scores.cpu().numpy(),
            )
    return proposals


def quality(
    proposals: FrameProposals, actors: dict[tuple[str, int], np.ndarray]
) -> tuple[float, float]:
    """How many of the labelled boxes the proposals hold.

    Args:
        proposals: (video name, key frame) -> boxes (n, 4) as edges, and scores (n,).
        actors: The same keys -> labelled boxes (m, 4), ends inclusive.

    Returns:
        Share of the labelled boxes that a proposal matches at IoU 0.5. Then the share of the frames
        with a labelled box in which the proposal of highest score matches one. NaN without
        labelled boxes.
    """
    found: list[bool] = []
    best: list[bool] = []
    for key, labelled in actors.items():
        boxes, scores = proposals[key]
        if len(labelled) == 0:
            continue
        hits = box_iou(boxes, labelled + np.array([0, 0, 1, 1]), pixel=0) >= 0.5
        found.extend(np.any(hits, axis=0))
        best.append(len(scores) > 0 and hits[scores.argmax()].any())
    return (float(np.mean(found)), float(np.mean(best))) if found else (np.nan, np.nan)
