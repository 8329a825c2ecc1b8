"""Removes boxes that a crop cut away."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmstal_da.registry import TRANSFORMS
from mmstal_da.utils.values import SHARE, check_values, number


@TRANSFORMS.register_module()
class FilterBoxes(BaseTransform):
    """Clip boxes to the frame and drop those of which too little is left.

    MMAction2's crops only clip boxes. An actor outside the crop then has a box without area at the
    border. Use this transform after every crop and before :class:`PackTubeInputs`, in training
    only. A clip may keep no box at all; it then teaches the detector background.

    Required keys: ``img_shape``, ``scale_factor``; does nothing without ``gt_bboxes``,
    ``gt_labels`` and ``gt_areas``, which it changes.

    Args:
        min_size: Least width and height, in pixels of the transformed frame.
        min_visible: Least share of the actor's box that is still in the frame.
    """

    value_rules = dict(min_size=number(0), min_visible=SHARE)

    def __init__(self, min_size: float = 4.0, min_visible: float = 0.3) -> None:
        check_values(self.value_rules, locals())
        self.min_size = min_size
        self.min_visible = min_visible

    def transform(self, results: dict) -> dict:
        """Clip and drop."""
        if 'gt_bboxes' not in results:
            return results
        height, width = results['img_shape']
        boxes = results['gt_bboxes'].clip(0, np.array([width, height] * 2, np.float32))
        sizes = boxes[:, 2:] - boxes[:, :2]
        full = results['gt_areas'] * results['scale_factor'].prod()
        keep = (sizes >= self.min_size).all(1) & (sizes.prod(1) >= self.min_visible * full)
        results['gt_bboxes'] = boxes[keep]
        results['gt_labels'] = results['gt_labels'][keep]
        results['gt_areas'] = results['gt_areas'][keep]
        return results
