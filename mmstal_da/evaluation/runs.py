"""Scores a file of predictions on the split, classes and frames that it records."""

import os
from dataclasses import dataclass
from typing import Any

from mmstal_da.tubes.evaluated import load_ground_truth

from .files import DetectionFile, load_detections
from .functional import (
    Detections,
    GroundTruth,
    Protocol,
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)


@dataclass
class ScoredRun:
    """Predictions of a run on one split, and their score.

    Attributes:
        dets: The predictions.
        truth: Ground truth of the split.
        background_frames: Whether frames without ground truth count.
        result: Of :func:`~.functional.evaluate_detections`, and ``split``.
    """

    dets: Detections
    truth: GroundTruth
    background_frames: bool
    result: dict[str, Any]


def score_file(
    path: str | os.PathLike[str],
    ann_file: str | os.PathLike[str],
    protocol: Protocol | None = None,
) -> ScoredRun:
    """Read and score what ``TubeMetric(dump=...)`` wrote.

    Args:
        path: Detections with their ``split`` and ``background_frames``.
        ann_file: Annotation file (:mod:`mmstal_da.tubes.annotation`).
        protocol: Default ``'act'``.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It records no split, or its detections are not of this annotation.
    """
    return score_run(load_detections(path), ann_file, protocol, os.fspath(path))


def score_run(
    found: DetectionFile,
    ann_file: str | os.PathLike[str],
    protocol: Protocol | None = None,
    name: str = 'the file',
) -> ScoredRun:
    """Score what :func:`~.files.load_detections` read; ``name`` is for messages."""
    if not {'split', 'background_frames'} <= found.meta.keys() or found.labels is None:
        raise ValueError(
            f'{name} does not record its split and frames; write it with TubeMetric(dump=...)'
        )
    choice = {key: found.meta.get(key) for key in ('class_map', 'videos')}
    gt = load_ground_truth(ann_file, found.meta['split'], found.labels, **choice)
    unknown = sorted(set(found.videos or ()) - set(gt['nframes']))
    if unknown:
        raise ValueError(
            f'{name} has detections of {len(unknown)} videos that {os.fspath(ann_file)} does not'
            f' have, such as {unknown[0]!r}: is it of another annotation?'
        )
    truth = parse_ground_truth(gt)
    try:
        dets = parse_detections(found.dets, truth, found.videos, found.labels)
    except ValueError as error:
        raise ValueError(f'{name}: {error}') from error
    background = found.meta['background_frames']
    result = evaluate_detections(dets, truth, protocol or get_protocol('act'), background)
    return ScoredRun(dets, truth, background, dict(result, split=found.meta['split']))
