"""Scores of a validation on unlabelled videos, to choose a checkpoint."""

from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.dist import get_world_size
from mmengine.evaluator import BaseMetric

from mmstal_da.evaluation.functional import Detections, get_protocol
from mmstal_da.evaluation.functional.label_free import (
    box_stability,
    consistency_and_reliability,
    pcr,
    tube_steadiness,
)
from mmstal_da.registry import METRICS
from mmstal_da.utils.values import SHARE, check_values

from .tube_metric import _to_numpy

SCORES = ('pcr', 'box_stability', 'tube_steadiness')
REMEDY = (
    "add custom_hooks = [dict(type='LabelFreeViewsHook')] to the config, or set the metric's"
    " scores=('tube_steadiness',)"
)


@METRICS.register_module()
class LabelFreeMetric(BaseMetric):
    """PCR, box stability and tube steadiness of the predictions on unlabelled target videos.

    Labels are not read: of a data sample only ``video_name``, ``key_frame``, ``pred_instances`` and
    the views of :class:`mmstal_da.engine.hooks.LabelFreeViewsHook` are. So it may stand beside
    :class:`TubeMetric` on labelled videos, or alone on a dataset with ``labelled=False``. See
    :mod:`mmstal_da.evaluation.functional.label_free` for the definitions.

    Results: ``label_free/pcr``, ``label_free/pcr_consistency``, ``label_free/pcr_reliability``,
    ``label_free/box_stability``, ``label_free/tube_steadiness`` and ``label_free/frames``. All but
    ``pcr_consistency`` are better if higher. A score that no frame has anything to say about is
    NaN.

    Args:
        scores: The scores to compute.
        score_thr: Least score of a detection in box stability and tube steadiness.
        collect_device: ``'cpu'`` or ``'gpu'``, how processes exchange their results.
        prefix: Prefix of the result's keys.
        collect_dir: Folder for the exchange by files.
        **constants: Constants of the protocol ``'act'`` to replace, e.g. ``min_length=8``. Frames
            are counted in key frames that were predicted, also where these are every n-th.

    Raises:
        ValueError: Unknown scores. At evaluation: a sample lacks a view.
    """

    results: list
    default_prefix = 'label_free'

    value_rules = dict(score_thr=SHARE)

    def __init__(
        self,
        scores: Sequence[str] = SCORES,
        score_thr: float = 0.3,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
        **constants,
    ) -> None:
        check_values(self.value_rules, locals())
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        unknown = sorted(set(scores) - set(SCORES))
        if unknown or not scores:
            raise ValueError(f'`scores` are some of {", ".join(SCORES)}, not {unknown or "none"}')
        self.scores = tuple(scores)
        self.score_thr = score_thr
        self.protocol = get_protocol('act', **constants)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the detections of a batch, and what its frames say each by itself."""
        for sample in data_samples:
            found = sample['pred_instances']
            boxes, scores, labels = (_to_numpy(found[k]) for k in ('bboxes', 'scores', 'labels'))
            rows = np.column_stack((labels, scores, boxes.reshape(-1, 4))).astype(np.float32)
            per_frame = []
            if 'pcr' in self.scores:
                per_frame += self._pcr_of(sample)
            stability = np.nan
            if 'box_stability' in self.scores:
                stability = self._stability_of(sample, rows)
            key = (sample['video_name'], int(sample['key_frame']))
            self.results.append((key, rows, per_frame, stability))

    def _pcr_of(self, sample: Mapping) -> list[tuple[float, float]]:
        """Consistency and reliability of every class."""
        candidates = self._view(sample, 'candidates')
        boxes, scores = _to_numpy(candidates['bboxes']), _to_numpy(candidates['scores'])
        classes = scores.shape[1] - 1
        boxes = boxes.reshape(len(scores), -1, 4)  # one box for all classes, or one for each
        return [
            consistency_and_reliability(boxes[:, min(c, boxes.shape[1] - 1)], scores[:, c])
            for c in range(classes if len(scores) else 0)
        ]

    def _stability_of(self, sample: Mapping, rows: np.ndarray) -> float:
        dropped = self._view(sample, 'dropout_instances')
        keep = rows[:, 1] >= self.score_thr
        others = _to_numpy(dropped['scores']) >= self.score_thr
        return box_stability(
            rows[keep, 2:],
            rows[keep, 0],
            _to_numpy(dropped['bboxes'])[others],
            _to_numpy(dropped['labels'])[others],
        )

    @staticmethod
    def _view(sample: Mapping, name: str) -> Mapping:
        if name not in sample:
            raise ValueError(
                f'video {sample["video_name"]!r}, frame {sample["key_frame"]}: the predictions have'
                f' no {name}; {REMEDY}'
            )
        return sample[name]

    def evaluate(self, size: int) -> dict:
        """Score the predictions of all processes; see ``TubeMetric.evaluate``."""
        self.results = [self.results]
        return super().evaluate(get_world_size())

    def compute_metrics(self, results: list) -> dict:
        """Score the key frames of all processes, each key frame once.

        Args:
            results: For every process, its list of (video and frame, (n, 6) rows, list of
                (consistency, reliability), stability).
        """
        frames: dict[tuple[str, int], list] = {}
        for part in results:
            for key, *values in part:
                frames.setdefault(key, values)  # a sampler's padding repeats samples
        metrics: dict = dict(frames=len(frames))
        if 'pcr' in self.scores:
            parts = [value for _, per_class, _ in frames.values() for value in per_class]
            consistency, reliability = np.array(parts, float).reshape(-1, 2).T
            metrics['pcr'] = pcr(consistency, reliability)
            metrics['pcr_consistency'] = _mean(consistency)
            metrics['pcr_reliability'] = _mean(reliability)
        if 'box_stability' in self.scores:
            metrics['box_stability'] = _mean(np.array([value for *_, value in frames.values()]))
        if 'tube_steadiness' in self.scores:
            dets = numbered({key: rows for key, (rows, *_) in frames.items()})
            metrics['tube_steadiness'] = tube_steadiness(dets, self.protocol, self.score_thr)
        return metrics


def numbered(frames: Mapping[tuple[str, int], np.ndarray]) -> Detections:
    """Detections whose frames count the key frames of each video from 1.

    Args:
        frames: Video and key frame -> (n, 6) label, score, x1, y1, x2, y2.
    """
    parts = [np.zeros((0, 8), np.float32)]
    videos: dict[str, int] = {}
    place: dict[str, int] = {}
    for video, frame in sorted(frames):
        rows = frames[video, frame]
        index = videos.setdefault(video, len(videos))
        place[video] = place.get(video, 0) + 1
        head = np.full((len(rows), 2), (index, place[video]), np.float32)
        parts.append(np.hstack((head, rows)))
    return Detections.from_rows(np.concatenate(parts))


def _mean(values: np.ndarray) -> float:
    """Mean of the finite values; NaN if there are none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float('nan')
