"""mmdet's assigner of anchors and RoIs to boxes, for ignored boxes and for several classes."""

import torch
from mmdet.models.task_modules import AssignResult, MaxIoUAssigner
from mmengine.structures import InstanceData
from torch import Tensor

from mmstal_da.registry import TASK_UTILS


@TASK_UTILS.register_module()
class IgnoringAssigner(MaxIoUAssigner):
    """mmdet's assigner, which also heeds ignored boxes on an image without any other box.

    With ``ignore_iof_thr``, mmdet makes no candidate a negative that lies in an ignored box by more
    than this share. But without a box to assign it makes all of them negatives. The arguments are
    those of ``mmdet.MaxIoUAssigner``; without ignored boxes it does as that one does.
    """

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs,
    ) -> AssignResult:
        """Assign by IoU.

        Args:
            pred_instances: ``priors`` ``(R, 4)``.
            gt_instances: ``bboxes`` ``(n, 4)`` and ``labels``.
            gt_instances_ignore: ``bboxes`` ``(m, 4)`` that are neither objects nor background.

        Returns:
            ``gt_inds`` ``(R,)``: 0 for negatives, the number of the box, from 1, for positives, -1
            for what is left out.
        """
        result = super().assign(pred_instances, gt_instances, gt_instances_ignore, **kwargs)
        priors = pred_instances.priors
        if (
            self.ignore_iof_thr > 0
            and gt_instances_ignore is not None
            and len(gt_instances_ignore.bboxes)
            and not len(gt_instances.bboxes)
            and len(priors)
        ):
            inside = self.iou_calculator(priors, gt_instances_ignore.bboxes, mode='iof')
            result.gt_inds[inside.max(1).values > self.ignore_iof_thr] = -1
        return result


@TASK_UTILS.register_module()
class MultiLabelAssigner(IgnoringAssigner):
    """The same for labels ``(n, C)`` of 0 and 1.

    It assigns as MMAction2's ``MaxIoUAssignerAVA``. That is registered only once all of MMAction2's
    models are imported. It needs two classes, and a clip without boxes gets labels of another
    shape. The arguments are those of ``mmdet.MaxIoUAssigner``.
    """

    def assign_wrt_overlaps(self, overlaps: Tensor, gt_labels: Tensor) -> AssignResult:
        """Assign by IoU.

        Args:
            overlaps: ``(n, R)`` IoU of boxes and RoIs.
            gt_labels: ``(n, C)``.
        """
        numbers = torch.arange(len(gt_labels), device=overlaps.device)
        result = super().assign_wrt_overlaps(overlaps, numbers)
        on_a_box = result.gt_inds > 0
        labels = gt_labels.new_zeros((overlaps.shape[1], gt_labels.shape[1]))
        labels[on_a_box] = gt_labels[result.gt_inds[on_a_box] - 1]
        result.labels = labels
        return result
