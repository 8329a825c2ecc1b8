"""Frame-mAP and video-mAP as an MMEngine metric."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

import numpy as np
import torch
from mmengine.dist import get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmstal_da.errors import OutputError
from mmstal_da.evaluation.files import save_detections
from mmstal_da.evaluation.functional import (
    Detections,
    evaluate_detections,
    evaluate_frames,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.evaluation.functional.interpolation import interpolate_detections
from mmstal_da.evaluation.functional.protocol import VALUE_RULES, Protocol
from mmstal_da.evaluation.report import format_results
from mmstal_da.registry import METRICS
from mmstal_da.tubes.evaluated import load_ground_truth
from mmstal_da.utils.values import (
    NAME_MAP,
    NAMES,
    SHARE,
    SWITCH,
    Rule,
    check_values,
    is_name,
    optional,
    whole,
)

from .score_matrix import expand_score_matrix


@METRICS.register_module()
class TubeMetric(BaseMetric):
    """Frame-mAP, video-mAP and per-class AP of the predictions on one split.

    Ground truth comes from the annotation file, not from the data samples, so the model may get
    unlabelled data. The arguments ``ann_file`` to ``background_frames`` mean the same as in
    ``ActionTubeDataset``.

    A data sample holds ``video_name``, ``key_frame`` (1-based) and ``pred_instances`` with
    ``bboxes`` (n, 4) in pixels of the original video, ``scores`` (n,) and ``labels`` (n,). Pass
    all detections above a low score: the protocol has its own NMS.

    Predictions of MMAction2's AVA-style detectors are accepted unchanged: ``scores`` (n, C) or
    (n, 1 + C), ``bboxes`` (n, 4) as shares of the frame and no ``labels``. Then ``ori_shape``
    (h, w) is needed. If the sample has ``proposals`` with ``scores``, these are multiplied in
    (:mod:`.score_matrix`).

    Results, in percent: ``frame_mAP@0.5``, ``video_mAP@0.2``, ``video_mAP@0.5``,
    ``video_mAP@0.75`` and ``video_mAP@0.5:0.95``; ``frame_AP@0.5/<class>`` and
    ``video_AP@0.5/<class>`` of the classes with ground truth. With ``background_frames`` also
    ``annotated_frame_mAP@0.5`` and ``annotated_video_mAP@0.5``, of the frames with ground truth
    alone. With ``ava`` also ``AVA_frame_mAP@0.5`` and ``AVA_frame_AP@0.5/<class>``. Also
    ``protocol``, ``dataset``, ``split``, ``n_frames``, ``n_videos`` and ``n_tubes``.
    ``last_result`` holds the whole record of the last evaluation.

    Args:
        ann_file: Annotation file (:mod:`mmstal_da.tubes.annotation`).
        split: Name of a split in the file.
        classes: Classes in label order; None takes all classes of the file.
        class_map: Class of the file -> class of the model.
        videos: Shell patterns on video names.
        background_frames: Evaluate every frame of the videos; otherwise only frames with ground
            truth.
        protocol: ``'act'``, ``'voc'`` or ``'ava'``
            (:mod:`mmstal_da.evaluation.functional.protocol`).
        data_root: Folder that ``ann_file`` is relative to.
        min_class_score: Least score of a detection that is made from a score matrix.
        ava: Also AVA's frame-mAP of the same detections, on frames with ground truth, as
            MMAction2's ``AVAMetric`` computes it. Unlike there, a class that is never detected
            counts as 0.
        key_frame_stride: With predictions on frames 1, 1 + n, … alone, as of a data set with the
            same ``key_frame_stride``: boxes and scores between linked boxes are interpolated.
        dump: File to write the predictions to (``.npz``).
            ``tools/analysis_tools/eval_detections.py`` can score them again.
        collect_device: ``'cpu'`` or ``'gpu'``, how processes exchange their results.
        prefix: Prefix of the result's keys.
        collect_dir: Folder for the exchange by files.
        **constants: Constants of the protocol to replace, e.g. ``max_gap=3``.

    Raises:
        ValueError: Unknown protocol, constant, split or class. At evaluation: a prediction is for
            a video or frame that the split does not have, or is not finite.
    """

    results: list
    default_prefix = ''  # no prefix
    value_rules = dict(
        split=Rule('the name of a split', is_name),
        classes=optional(NAMES),
        class_map=optional(NAME_MAP),
        videos=optional(NAMES),
        background_frames=SWITCH,
        min_class_score=SHARE,
        ava=SWITCH,
        key_frame_stride=whole(),
        **VALUE_RULES,
    )
    config_keys = tuple(constant.name for constant in fields(Protocol) if constant.name != 'name')

    def __init__(
        self,
        ann_file: str,
        split: str,
        classes: Sequence[str] | None = None,
        class_map: Mapping[str, str] | None = None,
        videos: Sequence[str] | None = None,
        background_frames: bool = True,
        protocol: str = 'act',
        data_root: str = '',
        min_class_score: float = 0.01,
        ava: bool = False,
        key_frame_stride: int = 1,
        dump: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
        **constants,
    ) -> None:
        check_values(self.value_rules, locals())
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        ann_file = os.path.join(data_root, ann_file)
        truth = load_ground_truth(ann_file, split, classes, class_map, videos)
        self.dataset = truth['dataset']
        self.split = split
        self.ground_truth = parse_ground_truth(truth)
        self.protocol = get_protocol(protocol, **constants)
        self.background_frames = background_frames
        self.min_class_score = min_class_score
        self.ava = ava
        self.key_frame_stride = key_frame_stride
        self.dump = dump
        self._choice = dict(
            split=split,
            classes=list(classes) if classes is not None else None,
            class_map=dict(class_map) if class_map is not None else None,
            videos=list(videos) if videos is not None else None,
            background_frames=background_frames,
        )
        self.last_result: dict | None = None
        self._video_index = {name: i for i, name in enumerate(self.ground_truth.videos)}
        # videos of the split without a tube of the classes, or not among the selected videos
        self._other_videos = set(truth['split_videos']) - set(self._video_index)
        self._left_out: set[str] = set()

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of a batch of key frames."""
        for sample in data_samples:
            name, frame = sample['video_name'], int(sample['key_frame'])
            if name in self._other_videos:
                self._left_out.add(name)
                continue
            if name not in self._video_index:
                raise ValueError(
                    f'prediction for video {name!r}, frame {frame}: split {self.split!r} of '
                    f'{self.dataset!r} has no such video; give the metric the `ann_file` '
                    'and `split` of the dataset'
                )
            boxes, scores, labels = self._detections(sample)
            rows = np.empty((len(boxes), 8), np.float32)
            rows[:, 0], rows[:, 1] = self._video_index[name], frame
            rows[:, 2], rows[:, 3], rows[:, 4:] = labels, scores, boxes
            if (frame - 1) % self.key_frame_stride:
                raise ValueError(
                    f'prediction for video {name!r}, frame {frame}: key_frame_stride='
                    f'{self.key_frame_stride} of the evaluator takes the frames 1, 1 + n, … alone;'
                    ' give the dataset of the dataloader the same key_frame_stride'
                )
            self.results.append((self._video_index[name], frame, rows))

    def _detections(self, sample: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (n, 4) in pixels of the original video, scores (n,) and labels (n,)."""
        instances = sample['pred_instances']
        boxes, scores = (_to_numpy(instances[key]) for key in ('bboxes', 'scores'))
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise OutputError(
                f'prediction for video {sample["video_name"]!r}, frame {sample["key_frame"]}: boxes'
                ' or scores are not finite; the weights are of a training that diverged'
            )
        if scores.ndim != 2:
            return boxes.reshape(-1, 4), scores, _to_numpy(instances['labels'])
        weights = sample.get('proposals', {}).get('scores')
        try:
            return expand_score_matrix(
                boxes,
                scores,
                len(self.ground_truth.labels),
                sample['ori_shape'],
                None if weights is None else _to_numpy(weights),
                self.min_class_score,
            )
        except ValueError as error:
            where = f'video {sample["video_name"]!r}, frame {sample["key_frame"]}'
            raise ValueError(f'prediction for {where}: {error}') from error

    def evaluate(self, size: int) -> dict:
        """Evaluate the predictions of all processes.

        Each process passes all of its results as one item. MMEngine's own collection interleaves
        the results and truncates them to ``size``, which is correct for one kind of sampler only.
        """
        if self._left_out:
            print_log(
                f'predictions on {len(self._left_out)} videos that are not evaluated are left '
                f'out, such as {min(self._left_out)!r}: no tube of the classes, or not chosen',
                logger='current',
                level=logging.WARNING,
            )
            self._left_out.clear()
        self.results = [self.results]
        return super().evaluate(get_world_size())

    def compute_metrics(self, results: list) -> dict:
        """Score the key frames of all processes, each key frame once.

        Args:
            results: For every process, its list of (video index, frame, (n, 8) rows).
        """
        frames: dict[tuple[int, int], np.ndarray] = {}
        for part in results:
            for video, frame, rows in part:
                frames.setdefault((video, frame), rows)  # a sampler's padding repeats samples
        gt = self.ground_truth
        self._warn_of_missing_frames(set(frames))
        rows = np.concatenate([frames[key] for key in sorted(frames)] or [np.zeros((0, 8))])
        dets = parse_detections(rows, gt)
        if self.dump is not None:
            self._dump(dets, self.dump)
        if self.key_frame_stride > 1:
            dets = interpolate_detections(dets, self.key_frame_stride)
        result = evaluate_detections(dets, gt, self.protocol, self.background_frames)
        result.update(dataset=self.dataset, split=self.split, n_predicted_frames=len(frames))
        if self.ava:
            result['ava'] = evaluate_frames(dets, gt, get_protocol('ava'))
        self.last_result = result
        metrics = self._flatten(result)
        if self.background_frames:
            annotated = evaluate_detections(dets, gt, self.protocol, False)
            for key in (f'frame_mAP@{self.protocol.frame_iou:g}', 'video_mAP@0.5'):
                if key in annotated:
                    metrics[f'annotated_{key}'] = annotated[key]
        lines = [f'{self.dataset}, split {self.split}', format_results(result)]
        if self.ava:
            lines.append(f"AVA's frame-mAP@0.5: {result['ava']['frame_mAP@0.5']:.2f}")
        print_log('\n'.join(lines), logger='current')
        return metrics

    def _warn_of_missing_frames(self, seen: set[tuple[int, int]]) -> None:
        gt = self.ground_truth
        expected: Iterable[tuple[int, int]]
        if self.background_frames:
            expected = ((v, f + 1) for v, n in enumerate(gt.num_frames) for f in range(n))
        else:
            video, _, frame, _ = gt.rows()
            expected = sorted(set(zip(video.tolist(), frame.tolist(), strict=True)))
        stride = self.key_frame_stride
        missing = [key for key in expected if (key[1] - 1) % stride == 0 and key not in seen]
        if missing:
            index, number = missing[0]
            print_log(
                f'{len(missing)} frames to evaluate have no prediction and count as empty, the '
                f'first is frame {number} of {gt.videos[index]!r}',
                logger='current',
                level=logging.WARNING,
            )

    def _dump(self, dets: Detections, path: str) -> None:
        meta = dict(dataset=self.dataset, **self._choice)
        if self.key_frame_stride > 1:
            meta['key_frame_stride'] = self.key_frame_stride
        save_detections(path, dets, self.ground_truth.videos, self.ground_truth.labels, meta)
        print_log(f'predictions written to {path}', logger='current')

    def _flatten(self, result: dict) -> dict:
        frame_iou = f'{self.protocol.frame_iou:g}'
        metrics = {key: value for key, value in result.items() if '_mAP@' in key}
        lists = {key: result[key] for key in (f'frame_AP@{frame_iou}', 'video_AP@0.5')}
        if 'ava' in result:
            metrics['AVA_frame_mAP@0.5'] = result['ava']['frame_mAP@0.5']
            lists['AVA_frame_AP@0.5'] = result['ava']['frame_AP@0.5']
        for key, values in lists.items():
            for label, ap in zip(result['labels'], values, strict=True):
                if ap is not None:
                    metrics[f'{key}/{label}'] = ap
        for key in ('protocol', 'dataset', 'split'):
            metrics[key] = result[key]
        for key in ('n_frames', 'n_videos', 'n_tubes'):
            metrics[key] = int(result[key])  # MMEngine writes NumPy's integers as null
        return metrics


def _to_numpy(value: torch.Tensor | np.ndarray) -> np.ndarray:
    if not isinstance(value, torch.Tensor):
        return np.asarray(value)
    value = value.detach().cpu()
    return (value.float() if value.is_floating_point() else value).numpy()  # NumPy: no bfloat16
