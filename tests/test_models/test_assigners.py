"""Ignored boxes: what lies in them is neither positive nor negative, also without other boxes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from mmstal_da.models.assigners import IgnoringAssigner, MultiLabelAssigner
from tests.model_builders import build_detector, losses_of, plain_batch

THRESHOLDS = dict(
    pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False, ignore_iof_thr=0.5
)


def share(inner, outer) -> float:
    """Of a box's area, the part in another."""
    width = min(inner[2], outer[2]) - max(inner[0], outer[0])
    height = min(inner[3], outer[3]) - max(inner[1], outer[1])
    area = (inner[2] - inner[0]) * (inner[3] - inner[1])
    return max(width, 0) * max(height, 0) / area


def iou(a, b) -> float:
    inter = share(a, b) * (a[2] - a[0]) * (a[3] - a[1])
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def instances(boxes, key='bboxes', labels=None) -> InstanceData:
    found = InstanceData(**{key: torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)})
    if labels is not None:
        found.labels = labels
    return found


corner = st.integers(0, 20)
box = st.tuples(corner, corner, st.integers(3, 20), st.integers(3, 20)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
boxes = st.lists(box, max_size=4)


@settings(max_examples=80, deadline=None)
@given(boxes, boxes, st.lists(box, min_size=1, max_size=5))
def test_candidates_in_an_ignored_box_are_left_out(gt, ignored, priors):
    result = IgnoringAssigner(**THRESHOLDS).assign(
        instances(priors, 'priors'),
        instances(gt, labels=torch.zeros(len(gt), dtype=torch.long)),
        instances(ignored),
    )
    for prior, found in zip(priors, result.gt_inds.tolist(), strict=True):
        best = max((iou(prior, b) for b in gt), default=0)
        inside = max((share(prior, b) for b in ignored), default=0)
        if abs(best - 0.5) < 1e-3 or abs(inside - 0.5) < 1e-3:
            continue
        if inside > 0.5:
            assert found == -1
        else:
            assert (found > 0) == (best > 0.5) and found >= 0


@given(boxes, st.lists(box, min_size=1, max_size=5))
def test_without_ignored_boxes_it_is_mmdets(gt, priors):
    from mmdet.models.task_modules import MaxIoUAssigner

    labels = torch.arange(len(gt))
    arguments = instances(priors, 'priors'), instances(gt, labels=labels)
    ours = IgnoringAssigner(**THRESHOLDS)
    theirs = MaxIoUAssigner(**THRESHOLDS).assign(*arguments)
    for ignored in (None, instances([])):
        found = ours.assign(*arguments, ignored)
        assert found.gt_inds.equal(theirs.gt_inds) and found.labels.equal(theirs.labels)


def test_several_classes():
    labels = torch.tensor([[1.0, 1.0]])
    found = MultiLabelAssigner(**THRESHOLDS).assign(
        instances([[0, 0, 10, 10], [20, 20, 30, 30], [40, 0, 50, 10]], 'priors'),
        instances([[0, 0, 10, 10]], labels=labels),
        instances([[20, 20, 30, 30]]),
    )
    assert found.gt_inds.tolist() == [1, -1, 0] and found.labels[0].tolist() == [1, 1]


def test_an_image_of_ignored_boxes_alone_teaches_nothing():
    detector = build_detector()
    batch = plain_batch()
    for sample in batch['data_samples']:
        sample.gt_instances = sample.gt_instances[:0]
    background = losses_of(detector, batch)
    for sample in batch['data_samples']:
        sample.ignored_instances = instances([[-500.0, -500, 600, 600]])
    losses = losses_of(detector, batch)
    for found, learns in ((background, True), (losses, False)):
        assert all((value.item() > 0) == learns for value in found['loss_rpn_cls'])
        assert (found['loss_cls'].item() > 0) == learns


def test_a_far_ignored_box_changes_nothing():
    detector = build_detector()
    expected = losses_of(detector, plain_batch())
    batch = plain_batch()
    for sample in batch['data_samples']:
        sample.ignored_instances = instances([[900.0, 900, 950, 950]])
    found = losses_of(detector, batch)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        values = (value, found[key]) if isinstance(value, list) else ([value], [found[key]])
        assert all(a.equal(b) for a, b in zip(*values, strict=True)), key
