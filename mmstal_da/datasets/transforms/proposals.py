"""Boxes from outside for detectors without an RPN of their own (MMAction2's AVA-style ones)."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import InstanceData

from mmstal_da.registry import TRANSFORMS

from ..proposals import PARTS, ProposalFile
from .formatting import PackTubeInputs

GROUND_TRUTH = 'ground_truth'


@TRANSFORMS.register_module()
class LoadProposals(BaseTransform):
    """Add the proposals of the key frame.

    Belongs after :class:`DecodeFrames` and before flips and crops; MMAction2's ``Resize``,
    ``Flip`` and crops then carry the proposals along with the ground truth. They do so only
    beside ``gt_bboxes``, so unlabelled samples get empty ground truth here.

    A frame without any proposal gets one of the whole frame with score 0, since upstream's heads
    cannot take none (its AVA dataset adds a whole frame, too, but with score 1). ``TubeMetric``
    multiplies class scores by it, so nothing comes of it.

    Required keys: ``video_name``, ``key_frame``, ``total_frames``, ``img_shape``,
    ``scale_factor``, and for ``'ground_truth'`` those of a labelled dataset.

    Added keys

    - ``proposals``: (n, 4) float32, n >= 1, edge coordinates of the current frames (see
      :class:`DecodeFrames`);
    - ``proposal_scores``: (n,) float32 in [0, 1]; 1 for ground truth.

    Args:
        proposals: A file of ``tools/data/dump_proposals.py`` (:mod:`mmstal_da.datasets.proposals`),
            read when the first sample is loaded; or ``'ground_truth'``, the labelled boxes, an
            upper bound.
        part: Part of the file: ``'train'``, ``'val'`` or ``'test'``.
        max_num: Keep the best so many; None keeps all.

    Raises:
        ProposalError: From :meth:`transform`, what is missing in the file and how to make it.
    """

    def __init__(self, proposals: str, part: str | None = None, max_num: int | None = None) -> None:
        if proposals != GROUND_TRUTH and part not in PARTS:
            raise ValueError(f'proposals of a file need `part`, one of {PARTS}, not {part!r}')
        if max_num is not None and max_num < 1:
            raise ValueError(f'`max_num` is at least 1 or None, not {max_num}')
        self.proposals = proposals
        self.part = part
        self.max_num = max_num
        self._file: ProposalFile | None = None

    def transform(self, results: dict) -> dict:
        """Add them."""
        if results.get('flip'):
            raise ValueError('LoadProposals belongs before Flip, right after DecodeFrames')
        if self.proposals == GROUND_TRUTH:
            if 'gt_bboxes' not in results:
                raise ValueError(
                    f'{results["video_name"]}, frame {results["key_frame"]}: proposals='
                    "'ground_truth' needs a dataset with `labelled=True`"
                )
            boxes = results['gt_bboxes'].copy()
            scores = np.ones(len(boxes), np.float32)
        else:
            boxes, scores = self._read(results)
        results['proposals'], results['proposal_scores'] = boxes, scores
        if not len(boxes):
            height, width = results['img_shape']
            results['proposals'] = np.array([[0, 0, width, height]], np.float32)
            results['proposal_scores'] = np.zeros(1, np.float32)
        if 'gt_bboxes' not in results:
            results['gt_bboxes'] = np.zeros((0, 4), np.float32)
            results['gt_labels'] = np.zeros(0, np.int64)
            results['gt_areas'] = np.zeros(0, np.float32)
        return results

    def _read(self, results: dict) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (n, 4) in edge coordinates of the current frames, and scores (n,)."""
        if self._file is None:
            self._file = ProposalFile(self.proposals, self.part)
        boxes, scores = self._file.of_frame(
            results['video_name'], results['key_frame'], results['total_frames']
        )
        boxes, scores = boxes[: self.max_num], scores[: self.max_num]
        edges = boxes + np.array([0, 0, 1, 1], np.float32)
        return edges * np.tile(np.float32(results['scale_factor']), 2), scores


@TRANSFORMS.register_module()
class PackAVAInputs(PackTubeInputs):
    """Pack what MMAction2's AVA-style detectors (``mmdet.FastRCNN`` with ``AVARoIHead``) take.

    As :class:`PackTubeInputs`, and in the same coordinates, but

    - ``gt_instances.labels`` is (n, C) float32 with a single 1 in every row: upstream's
      ``MaxIoUAssignerAVA`` and ``BBoxHeadAVA`` take such rows only. There is no column of the
      background, as in upstream's configs for data with one label per box
      (``background_class=False``);
    - ``proposals``: ``bboxes`` (k, 4) float32 and ``scores`` (k,) float32.

    To train, upstream's heads need at least one box in every clip.

    Args:
        num_classes: C, the model's classes.
    """

    def __init__(self, num_classes: int) -> None:
        # upstream asserts it, far from the cause
        if num_classes < 2:
            raise ValueError(f'AVA-style heads have at least 2 classes, not {num_classes}')
        self.num_classes = num_classes

    def transform(self, results: dict) -> dict:
        """Pack."""
        if 'proposals' not in results:
            raise ValueError(
                'PackAVAInputs needs `proposals`: put LoadProposals after DecodeFrames'
            )
        labels = results['gt_labels']
        if len(labels) and labels.max() >= self.num_classes:
            raise ValueError(
                f'{results["video_name"]}, frame {results["key_frame"]}: label {labels.max()}, but'
                f' PackAVAInputs.num_classes is {self.num_classes}; set it to the number of the'
                " dataset's `classes`"
            )
        packed = super().transform(results)
        sample = packed['data_samples']
        sample.gt_instances.labels = torch.from_numpy(
            np.eye(self.num_classes, dtype=np.float32)[labels]
        )
        boxes = results['proposals'].astype(np.float32)
        boxes[:, 2:] -= np.asarray(results['scale_factor'], np.float32)  # as PackTubeInputs
        sample.proposals = InstanceData(
            bboxes=torch.from_numpy(boxes), scores=torch.from_numpy(results['proposal_scores'])
        )
        return packed
