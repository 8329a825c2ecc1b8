"""From the pipeline's dict to what the model takes."""

import cv2
import numpy as np
import torch
from mmaction.structures import ActionDataSample
from mmcv.transforms import BaseTransform
from mmengine.structures import InstanceData

from mmstal_da.registry import TRANSFORMS
from mmstal_da.tubes.selection import IGNORED

from .weak_view import check_geometry


@TRANSFORMS.register_module()
class PackTubeInputs(BaseTransform):
    """Pack a clip and its annotation.

    Returns ``dict(inputs, data_samples)``

    - ``inputs``: (3, T, H, W) uint8 tensor, RGB;
    - ``data_samples``: an ``ActionDataSample`` with, if the clip has labels,
      ``gt_instances.bboxes`` (n, 4) float32 and ``gt_instances.labels`` (n,) int64, or (n, C)
      float32 with several classes per box. Boxes of label -1 are in ``ignored_instances.bboxes``
      instead, where mmdet's heads look for them;
    - with proposals (for MMAction2's AVA-style detectors, ``mmdet.FastRCNN`` with
      ``AVARoIHead``): ``proposals.bboxes`` (k, 4) float32 and ``proposals.scores`` (k,) float32;
      ``gt_instances.labels`` is then (n, C) float32 with a single 1 in every row, as MMAction2's
      ``MaxIoUAssignerAVA`` and ``BBoxHeadAVA`` need it. There is no column for the background, as
      in MMAction2's configs for data with one label per box (``background_class=False``). In
      training MMAction2's heads need at least one box in every clip;
    - after :class:`KeepWeakView` also ``weak_inputs``: the same clip before its strong
      augmentation, (3, T, H, W) uint8;
    - its metainfo: ``video_name``, ``key_frame`` (1-based), ``key_index`` (of the key frame in
      the clip), ``img_shape`` (H, W), ``ori_shape`` (h, w) of the annotation, ``scale_factor``
      (width, height) and ``flip``.

    Boxes are in the pixels of ``inputs``. Without crop and flip
    ``box of the annotation * scale_factor = box of the input`` for all four coordinates: the
    edge coordinates of :class:`DecodeFrames` are converted back, so x2 is the scaled last pixel
    again. A prediction divided by ``scale_factor`` is therefore in the annotation's convention.
    """

    def transform(self, results: dict) -> dict:
        """Pack."""
        clip = pack_clip(results['imgs'])
        scale = np.asarray(results['scale_factor'], np.float32)
        sample = ActionDataSample(
            metainfo=dict(
                video_name=results['video_name'],
                key_frame=results['key_frame'],
                key_index=results['key_index'],
                img_shape=tuple(clip.shape[2:]),
                ori_shape=tuple(results['original_shape']),
                scale_factor=tuple(scale.tolist()),
                flip=bool(results.get('flip', False)),
            )
        )
        if 'gt_bboxes' in results:
            boxes = results['gt_bboxes'].astype(np.float32)
            boxes[:, 2:] -= scale  # a new array: astype copied
            labels = results['gt_labels']
            ignored = (labels if labels.ndim == 1 else labels[:, 0]) == IGNORED
            if ignored.any():
                sample.ignored_instances = InstanceData(bboxes=torch.from_numpy(boxes[ignored]))
                boxes, labels = boxes[~ignored], labels[~ignored]
            sample.gt_instances = InstanceData(
                bboxes=torch.from_numpy(boxes), labels=torch.from_numpy(labels)
            )
        if 'proposals' in results:
            boxes = results['proposals'].astype(np.float32)
            boxes[:, 2:] -= scale
            sample.proposals = InstanceData(
                bboxes=torch.from_numpy(boxes),
                scores=torch.from_numpy(results['proposal_scores']),
            )
            labels = sample.gt_instances.labels.numpy()
            if labels.ndim == 1:
                labels = np.eye(results['num_classes'], dtype=np.float32)[labels]
            sample.gt_instances.labels = torch.from_numpy(labels)
        packed = dict(inputs=torch.from_numpy(clip), data_samples=sample)
        if 'weak_imgs' in results:
            check_geometry(results)
            packed['weak_inputs'] = torch.from_numpy(pack_clip(results['weak_imgs']))
        return packed


def pack_clip(imgs: list[np.ndarray]) -> np.ndarray:
    """T frames (H, W, 3) as one uint8 clip (3, T, H, W)."""
    clip = np.empty((3, len(imgs), *imgs[0].shape[:2]), np.uint8)
    for time, img in enumerate(imgs):
        # ten times as fast as stacking and transposing
        clip[0, time], clip[1, time], clip[2, time] = cv2.split(img)
    return clip
