"""Several classes per box: targets, loss and predictions of the sigmoid head, and its data."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmstal_da.datasets.transforms import PackTubeInputs
from mmstal_da.errors import ConfigError
from mmstal_da.models.assigners import MultiLabelAssigner
from mmstal_da.models.roi_heads import MultiLabelBBoxHead, MultiLabelCrossEntropy
from mmstal_da.tubes.selection import merge_boxes
from tests.model_builders import build_detector, dual_batch, losses_of, module_configs, plain_batch

HEAD = {
    'roi_head.bbox_head.type': 'MultiLabelBBoxHead',
    'roi_head.bbox_head.loss_cls': dict(_delete_=True, type='MultiLabelCrossEntropy'),
    'train_cfg.rcnn.assigner.type': 'MultiLabelAssigner',
}


def multi_hot(batch: dict) -> dict:
    """The batch with one class per box in the first clip, two in the next."""
    part = batch.get('source', batch)
    for number, sample in enumerate(part['data_samples']):
        labels = torch.tensor([[1.0, 0, 0], [0, 1, 1]])[number % 2]
        sample.gt_instances.labels = labels.repeat(len(sample.gt_instances), 1)
    return batch


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=12))
def test_equal_boxes_are_one_box_with_all_their_classes(rows):
    """A brute-force twin: a dict from box to classes, in the order of the boxes."""
    boxes = np.array([[n, n, n + 5, n + 7.25] for n, _ in rows], np.float32).reshape(-1, 4)
    labels = np.array([label for _, label in rows], np.int64)
    expected: dict[tuple, set] = {}
    for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
        expected.setdefault(tuple(box), set()).add(label)
    merged, several = merge_boxes(boxes, labels, 5)
    assert merged.dtype == several.dtype == np.float32
    assert [tuple(box) for box in merged.tolist()] == list(expected)
    assert several.shape == (len(expected), 5)
    assert [set(np.flatnonzero(row)) for row in several] == list(expected.values())


def test_the_loss_is_binary_cross_entropy_by_hand():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, 4)), rng.integers(0, 2, (6, 4)).astype(float)
    weight = np.array([1, 1, 0, 1, 2, 1.0])
    p = 1 / (1 + np.exp(-logits))
    per_roi = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean(1)
    loss = MultiLabelCrossEntropy(loss_weight=0.5)(
        *map(torch.tensor, (logits, labels, weight)), avg_factor=5
    )
    assert loss.item() == pytest.approx(0.5 * (per_roi * weight).sum() / 5)
    scores = MultiLabelCrossEntropy().get_activation(torch.tensor(logits))
    np.testing.assert_allclose(scores[:, :4].numpy(), p)
    assert not scores[:, 4:].any() and scores.shape == (6, 5)


def test_without_background_the_loss_is_that_of_mmaction2s_head():
    """``BBoxHeadAVA(multilabel=True)`` averages over the RoIs that have a class."""
    from mmaction.models.roi_heads.bbox_heads import BBoxHeadAVA  # imports all models

    torch.manual_seed(0)
    logits, labels = torch.randn(5, 3), torch.tensor(np.eye(3, dtype=np.float32)[[0, 1, 2, 1, 0]])
    labels[:, 0] = 1
    sampled = SimpleNamespace(
        pos_priors=torch.zeros(5, 4), neg_priors=torch.zeros(2, 4), pos_gt_labels=labels
    )
    theirs = BBoxHeadAVA(background_class=False, num_classes=3, in_channels=8, topk=None)
    theirs.init_weights()
    found = theirs.loss_and_target(
        torch.cat([logits, torch.randn(2, 3)]), None, [sampled], SimpleNamespace(pos_weight=1.0)
    )
    ours = MultiLabelCrossEntropy()(logits, labels, torch.ones(5), avg_factor=5)
    torch.testing.assert_close(ours, found['loss_bbox']['loss_action_cls'])


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 9))
def test_rois_are_assigned_as_by_mmaction2(seed, boxes, rois):
    from mmaction.models.task_modules import MaxIoUAssignerAVA  # imports all models

    generator = torch.Generator().manual_seed(seed)
    overlaps = torch.rand(boxes, rois, generator=generator)
    labels = (torch.rand(boxes, 3, generator=generator) < 0.5).float()
    thresholds = dict(pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0.5, match_low_quality=False)
    thresholds['iou_calculator'] = dict(type='mmdet.BboxOverlaps2D')
    ours = MultiLabelAssigner(**thresholds).assign_wrt_overlaps(overlaps, labels)
    theirs = MaxIoUAssignerAVA(**thresholds).assign_wrt_overlaps(overlaps, labels)
    assert torch.equal(ours.gt_inds, theirs.gt_inds)
    if rois:
        assert torch.equal(ours.labels, theirs.labels)
    assert ours.labels.shape == (rois, 3)
    none = MultiLabelAssigner(**thresholds).assign_wrt_overlaps(overlaps[:0], labels[:0])
    assert none.labels.shape == (rois, 3) and not none.labels.any() and not none.gt_inds.any()


def test_recall_and_precision_of_the_classes():
    logits = torch.tensor([[1.0, -1, 2], [-1, -1, 3], [-2, -2, -2]])
    labels = torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 0, 0]])
    found = MultiLabelCrossEntropy().get_accuracy(logits, labels)
    assert found['acc_cls_recall'] == pytest.approx(100 * 2 / 3)
    assert found['acc_cls_precision'] == pytest.approx(100 * 2 / 3)


def targets_seen(detector, batch: dict) -> tuple:
    """Arguments of the head's loss: logits, deltas, RoIs, labels, …"""
    seen = []
    head = detector.roi_head.bbox_head
    original = head.loss
    head.loss = lambda *args, **kwargs: seen.append(args) or original(*args, **kwargs)
    losses = losses_of(detector, batch)
    head.loss = original
    return losses, seen[0]


def test_a_roi_has_all_classes_of_its_box_and_one_on_the_background_none():
    detector = build_detector(**HEAD)
    batch = multi_hot(plain_batch())
    losses, (logits, _, rois, labels, weights, _, on_box) = targets_seen(detector, batch)
    assert logits.shape == labels.shape == (len(rois), 3)
    boxes = [sample.gt_instances for sample in batch['data_samples']]
    positive = on_box[:, 0] > 0
    assert positive.any() and not positive.all()
    for roi, row, inside in zip(rois, labels, positive, strict=True):
        expected = boxes[int(roi[0])].labels[0] if inside else torch.zeros(3)
        assert torch.equal(row, expected)
    p = torch.sigmoid(logits)
    by_hand = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    torch.testing.assert_close(losses['loss_cls'], by_hand)
    assert {'acc_cls_recall', 'acc_cls_precision'} <= losses.keys() and 'acc' not in losses
    # the box loss is that of the one-class head on the same RoIs
    assert losses['loss_bbox'] > 0 and not weights[positive].eq(0).any()


@pytest.mark.slow
def test_the_box_loss_is_that_of_the_head_for_one_class():
    several, one = build_detector(**HEAD), build_detector()
    shared = {k: v for k, v in several.state_dict().items() if 'fc_cls' not in k}
    one.load_state_dict(shared, strict=False)
    losses = losses_of(several, multi_hot(plain_batch())), losses_of(one, plain_batch())
    for key in ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_bbox'):
        first, second = (sum(x[key]) if isinstance(x[key], list) else x[key] for x in losses)
        assert torch.equal(first, second), key


def test_a_prediction_has_a_box_for_every_class_that_is_likely():
    test = {'test_cfg.rcnn.score_thr': 0.3, 'test_cfg.rcnn.max_per_img': 300}
    detector = build_detector(**HEAD, **test).eval()
    head = detector.roi_head.bbox_head
    assert head.fc_cls.out_features == 3
    with torch.no_grad():
        head.fc_cls.weight.zero_()
        head.fc_cls.bias.copy_(torch.tensor([2.0, -2.0, 0.0]))
        data = detector.data_preprocessor(plain_batch(n=1), False)
        (sample,) = detector(**data, mode='predict')
    found = sample.pred_instances
    for label, score in ((0, 0.8808), (2, 0.5)):
        rows = found.labels == label
        assert rows.any()
        torch.testing.assert_close(found.scores[rows], torch.full((int(rows.sum()),), score),
                                   atol=1e-4, rtol=0)  # fmt: skip
    assert not (found.labels == 1).any()


@pytest.mark.slow
@pytest.mark.parametrize('boxes', [True, False])
def test_adaptation_with_several_classes_and_with_a_clip_without_boxes(boxes):
    detector = build_detector(module_configs(), **HEAD)
    batch = multi_hot(dual_batch())
    if not boxes:  # as a crop may leave it
        for sample in batch['source']['data_samples']:
            sample.gt_instances = sample.gt_instances[:0]
    losses = losses_of(detector, batch)
    assert {'loss_da_spatial', 'loss_da_timg', 'loss_da_tinst'} <= losses.keys()
    total = sum(
        (sum(v) if isinstance(v, list) else v).sum() for k, v in losses.items() if 'loss' in k
    )
    total.backward()
    assert detector.roi_head.bbox_head.fc_cls.weight.grad.any()


@pytest.mark.slow
def test_heads_and_labels_that_do_not_fit_are_errors():
    with pytest.raises(ConfigError, match='several classes per box: set multi_label=True'):
        losses_of(build_detector(**HEAD), plain_batch())
    with pytest.raises(ConfigError, match='BBoxHead learns one class per box: set multi_label=F'):
        losses_of(build_detector(), multi_hot(plain_batch()))
    with pytest.raises(ConfigError, match=r'are \(\d+, 3\) instead of \(\d+, 4\); set .*num_clas'):
        four = build_detector(**HEAD, **{'roi_head.bbox_head.num_classes': 4})
        losses_of(four, multi_hot(plain_batch()))
    with pytest.raises(ConfigError, match="assigner: .*'MultiLabelAssigner'"):
        build_detector(**{**HEAD, 'train_cfg.rcnn.assigner.type': 'mmdet.MaxIoUAssigner'})
    with pytest.raises(ConfigError, match='needs reg_class_agnostic=True'):
        build_detector(**HEAD, **{'roi_head.bbox_head.reg_class_agnostic': False})
    with pytest.raises(ConfigError, match="type='MultiLabelCrossEntropy'"):
        build_detector(**{'roi_head.bbox_head.type': 'MultiLabelBBoxHead'})
    head = MultiLabelBBoxHead(in_channels=4, num_classes=2, reg_class_agnostic=True)
    assert isinstance(head.loss_cls, MultiLabelCrossEntropy)


@pytest.mark.parametrize('proposals', [True, False])
def test_the_packed_labels_are_those_of_the_data_set(proposals):
    several = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    results = dict(
        imgs=[np.zeros((8, 8, 3), np.uint8)], scale_factor=np.ones(2, np.float32), video_name='v',
        key_frame=1, key_index=0, original_shape=(8, 8), gt_bboxes=np.ones((2, 4), np.float32),
        gt_labels=several, num_classes=3,
    )  # fmt: skip
    if proposals:
        more = dict(proposals=np.ones((1, 4), np.float32), proposal_scores=np.ones(1, np.float32))
        results.update(more)
    sample = PackTubeInputs().transform(results)['data_samples']
    assert torch.equal(sample.gt_instances.labels, torch.from_numpy(several))
