"""What a teacher may do besides: thresholds per class, soft targets, masks, mixing, no source."""

import copy

import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import InstanceData

from mmstal_da.errors import ConfigError
from mmstal_da.models.detectors.pseudo_thresholds import AdaptiveThresholds
from mmstal_da.models.detectors.target_losses import (
    hard_losses,
    soft_losses,
    soft_roi_losses,
    soft_rpn_losses,
    with_labels,
)
from mmstal_da.models.detectors.target_views import masked, mixed, visible_region
from mmstal_da.models.detectors.teacher_settings import TeacherSettings
from tests.model_builders import (
    build_teacher,
    dual_batch,
    losses_of,
    module_configs,
    with_weak_views,
)

EAGER = dict(thresholds=(0.05, 0.27))  # random weights then find boxes


def seeded(seed: int = 0) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)


def scalars(losses: dict) -> dict[str, float]:
    flat = {k: v[0] if isinstance(v, list) else v for k, v in losses.items()}
    return {key: value.item() for key, value in flat.items()}


def boxes_of(scores: list[float], labels: list[int]) -> InstanceData:
    boxes = torch.tensor([0.0, 0.0, 9.0, 9.0]).expand(len(scores), 4)
    return InstanceData(
        bboxes=boxes, scores=torch.tensor(scores), labels=torch.tensor(labels).long()
    )


def test_adaptive_thresholds_are_freematchs():
    """Its running means and their ratio by hand, over boxes of at least the low score."""
    thresholds = AdaptiveThresholds(0.3, 0.8, 3, momentum=0.75)
    mean, classes = 0.8, np.full(3, 0.8)
    for scores, labels in (
        ([[0.95, 0.5], [0.75, 0.1]], [[0, 1], [0, 2]]),  # 0.1 does not count
        ([[], [0.35]], [[], [1]]),
        ([[0.2], []], [[1], []]),  # nothing counts
    ):
        thresholds.update([boxes_of(*pair) for pair in zip(scores, labels, strict=True)])
        flat = np.array([(s, c) for a, b in zip(scores, labels, strict=True)
                         for s, c in zip(a, b, strict=True) if s >= 0.3])  # fmt: skip
        if len(flat):
            mean = 0.75 * mean + 0.25 * flat[:, 0].mean()
            for c in set(flat[:, 1].astype(int)):
                own = flat[flat[:, 1] == c, 0]
                classes[c] = 0.75 * classes[c] + 0.25 * own.mean()
        expected = np.maximum(classes / classes.max() * mean, 0.3)
        np.testing.assert_allclose(thresholds.of_classes().numpy(), expected, rtol=1e-5)
    assert len(set(np.round(expected, 4))) == 3
    high = thresholds.of_classes()
    sure = boxes_of([float(high[0]) + 0.01, float(high[1]) + 0.01], [0, 1])
    unsure = boxes_of([float(high[0]) - 0.01, 0.31, 0.29], [0, 1, 1])
    (first, second) = thresholds.split([sure, unsure])
    assert [len(part) for part in (*first, *second)] == [2, 0, 0, 2]


@pytest.mark.slow
def test_adaptive_thresholds_are_saved_and_follow_training():
    batch = with_weak_views(dual_batch(n=1))
    model = build_teacher(dict(EAGER, adaptive=0.5))
    model.iteration = 0
    losses_of(model, batch)
    state = model.state_dict()
    assert {'thresholds.mean', 'thresholds.class_means'} <= state.keys()
    assert float(state['thresholds.mean']) != pytest.approx(0.27)
    other = build_teacher(dict(EAGER, adaptive=0.5))
    other.load_state_dict(state)
    assert torch.equal(other.thresholds.of_classes(), model.thresholds.of_classes())


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_soft_losses_of_the_rpn_by_hand():
    rng = np.random.default_rng(0)
    n, a, h, w = 2, 3, 2, 4
    ours, theirs = rng.normal(size=(2, n, a, h, w))
    deltas, their_deltas = rng.normal(size=(2, n, 4 * a, h, w))
    sampled, positive = rng.random((2, n, h * w * a)) < 0.5
    found = soft_rpn_losses(
        *map(torch.tensor, (ours, deltas, theirs, their_deltas, sampled, positive))
    )
    objectness, distance, positives = [], [], 0
    for i in range(n):
        for place in range(h * w * a):  # cell by cell, in a cell anchor by anchor
            y, x, k = place // (w * a), place // a % w, place % a
            if not sampled[i, place]:
                continue
            p, q = sigmoid(ours[i, k, y, x]), sigmoid(theirs[i, k, y, x])
            objectness.append(-(q * np.log(p) + (1 - q) * np.log(1 - p)))
            if positive[i, place]:
                positives += 1
                four = slice(4 * k, 4 * k + 4)
                distance.append(np.abs(deltas[i, four, y, x] - their_deltas[i, four, y, x]))
    assert found['loss_rpn_cls'].item() == pytest.approx(np.mean(objectness))
    assert found['loss_rpn_bbox'].item() == pytest.approx(np.mean(distance)) and positives


@pytest.mark.parametrize('agnostic', [True, False])
def test_soft_losses_of_the_roi_head_by_hand(agnostic):
    rng = np.random.default_rng(1)
    r, c = 40, 3
    ours, theirs = 2 * rng.normal(size=(2, r, c + 1))
    deltas, their_deltas = rng.normal(size=(2, r, 4 if agnostic else 4 * c))
    found = soft_roi_losses(*map(torch.tensor, (ours, deltas, theirs, their_deltas)))
    classes, distance = 0.0, 0.0
    for i in range(r):
        p, q = (np.exp(x[i]) / np.exp(x[i]).sum() for x in (ours, theirs))
        classes -= (q * np.log(p)).sum() / r
        best = theirs[i].argmax()
        if best < c:
            four = slice(0, 4) if agnostic else slice(4 * best, 4 * best + 4)
            distance += np.abs(deltas[i, four] - their_deltas[i, four]).sum() / r
    assert 0 < (theirs.argmax(1) == c).sum() < r
    assert found['loss_cls'].item() == pytest.approx(classes)
    assert found['loss_bbox'].item() == pytest.approx(distance) and distance


@pytest.mark.slow
def test_soft_losses_of_a_student_that_agrees_with_its_teacher():
    """On the same view boxes agree, and class terms are the teacher's own entropies."""
    model = build_teacher(domain_norm='target')
    model.student.eval()  # the same statistics
    data = model.data_preprocessor(dual_batch(n=2, target_labels=True), True)
    labels = [(s.gt_instances, s.gt_instances[:0]) for s in data['data_samples'][2:]]
    samples = with_labels(data['data_samples'][2:], labels)
    inputs = {key: value[2:] for key, value in data['inputs'].items()}
    losses = scalars(soft_losses(model.student, model.teacher, inputs, inputs, samples))
    assert losses['loss_rpn_bbox'] == losses['loss_bbox'] == 0.0
    assert 0 < losses['loss_rpn_cls'] < np.log(2) * 1.001 and losses['loss_cls'] < np.log(4) * 1.001
    with torch.no_grad():
        model.teacher.roi_head.bbox_head.fc_cls.bias += torch.tensor([4.0, 0, 0, 0])
        model.teacher.rpn_head.rpn_reg.bias += 1.0
    moved = scalars(soft_losses(model.student, model.teacher, inputs, inputs, samples))
    assert moved['loss_rpn_bbox'] == pytest.approx(1.0, rel=1e-5)
    assert moved['loss_rpn_cls'] == pytest.approx(losses['loss_rpn_cls'], rel=1e-5)
    assert moved['loss_cls'] > losses['loss_cls'] + 0.2


@pytest.mark.slow
def test_soft_losses_replace_the_hard_ones_and_reach_the_student_alone():
    batch = with_weak_views(dual_batch(n=1))
    model = build_teacher(dict(EAGER, soft=True), domain_norm='target')
    model.iteration = 0
    found = losses_of(model, batch)
    names = {k for k in found if k.startswith('target_')}
    assert names == {f'target_{k}' for k in ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls',
                                             'loss_bbox', 'boxes')}  # fmt: skip
    sum(v for k, v in found.items() if k.startswith('target_loss')).backward()
    gradients = {k for k, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {k.split('.')[0] for k in gradients} == {'student'}
    for part in ('rpn_head.rpn_cls', 'roi_head.bbox_head.fc_cls', 'clip_backbone.Conv3d_2c'):
        assert any(part in key for key in gradients)


def test_a_mask_hides_the_same_blocks_in_every_frame():
    """Block by block, by hand; a size that is no multiple of the block."""
    rng = torch.Generator().manual_seed(0)
    inputs = dict(
        clip=torch.rand(2, 3, 4, 20, 28, generator=rng) + 1,
        key_frame=torch.rand(2, 3, 20, 28, generator=rng) + 1,
    )
    draws = torch.rand(2, 3, 4, generator=rng)
    found = masked(inputs, 0.4, 8, draws)
    for i in range(2):
        for y in range(20):
            for x in range(28):
                hidden = draws[i, y // 8, x // 8] < 0.4
                for key in ('clip', 'key_frame'):
                    expected = inputs[key][i, ..., y, x] * (0 if hidden else 1)
                    assert torch.equal(found[key][i, ..., y, x], expected)
    seeded()
    share = (masked(dict(inputs, clip=torch.ones(2, 3, 1, 800, 800),
                         key_frame=torch.ones(2, 3, 800, 800)), 0.7, 8)['clip'] == 0)  # fmt: skip
    assert share.float().mean().item() == pytest.approx(0.7, abs=0.02)


@pytest.mark.slow
def test_the_student_sees_masked_clips_and_the_teacher_whole_ones():
    batch = with_weak_views(dual_batch(n=1))
    model = build_teacher(dict(EAGER, mask=0.5, mask_block=16))
    model.iteration = 0
    seen = []
    for part in (model.teacher, model.student):
        part.clip_backbone.register_forward_pre_hook(
            lambda module, inputs: seen.append((inputs[0] == 0).float().mean().item())
        )
    losses_of(model, batch)
    source, teacher, strong = seen  # source first: the detector's own losses
    assert source < 0.01 and teacher < 0.01 and 0.1 < strong < 0.9


def one_box(box: list[float], label: int, score: float = 1.0) -> InstanceData:
    return InstanceData(bboxes=torch.tensor([box]), labels=torch.tensor([label]),
                        scores=torch.tensor([score]))  # fmt: skip


@pytest.mark.slow
def test_mixing_pastes_an_action_of_the_source_over_all_frames():
    batch = dual_batch(n=1)
    model = build_teacher()
    data = model.data_preprocessor(batch, True)
    source, target = data['data_samples']
    source.gt_instances = one_box([4.0, 6.0, 20.0, 30.0], 2)
    ours, theirs = ({k: v[rows] for k, v in data['inputs'].items()}
                    for rows in (slice(0, 1), slice(1, 2)))  # fmt: skip
    # one that the pasted region covers by more than a half, one that it covers by less
    labels = [(one_box([4, 6, 22, 30], 0), one_box([18, 6, 40, 30], 1))]
    seeded()
    found, new = mixed(theirs, [target], labels, ours, [source], 1.0)
    expected = {k: v.clone() for k, v in theirs.items()}
    expected['clip'][0, :, :, 6:30, 4:20] = ours['clip'][0, :, :, 6:30, 4:20]
    expected['key_frame'][0, :, 6:30, 4:20] = ours['key_frame'][0, :, 6:30, 4:20]
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    ((sure, unsure),) = new
    assert sure.bboxes.tolist() == [[4, 6, 20, 30]] and sure.labels.tolist() == [2]
    assert len(unsure) == 1
    unchanged, same = mixed(theirs, [target], labels, ours, [source], 0.0)
    assert same == labels and torch.equal(unchanged['clip'], theirs['clip'])
    source.gt_instances = source.gt_instances[:0]
    assert mixed(theirs, [target], labels, ours, [source], 1.0)[1] == labels


def test_a_region_is_cut_at_the_border_and_left_out_if_little_remains():
    assert visible_region(torch.tensor([-2.0, 3, 10, 20]), (18, 30)) == (0, 3, 10, 18)
    assert visible_region(torch.tensor([-8.0, 3, 4, 20]), (18, 30)) is None
    assert visible_region(torch.tensor([5.0, 3, 5.2, 20]), (18, 30)) is None


@pytest.mark.slow
def test_a_step_with_mixing_learns_the_pasted_label(monkeypatch):
    """Equal to the hard losses on the mixed clip."""
    model = build_teacher(dict(mix=1.0))
    model.iteration = 0
    empty = one_box([0, 0, 1, 1], 0)[:0]
    monkeypatch.setattr(model, 'pseudo_labels', lambda *args: [(empty, empty)])
    batch = with_weak_views(dual_batch(n=1))
    found = scalars(losses_of(model, copy.deepcopy(batch)))
    assert found['target_boxes'] == 0 and found['target_loss_cls'] > 0
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    inputs = {k: v for k, v in data['inputs'].items() if 'weak' not in k}
    seeded()
    model.student.loss(inputs, data['data_samples'])
    ours, theirs = ({k: v[rows] for k, v in inputs.items()} for rows in (slice(0, 1), slice(1, 2)))
    clips, labels = mixed(theirs, data['data_samples'][1:], [(empty, empty)], ours,
                          data['data_samples'][:1], 1.0)  # fmt: skip
    expected = hard_losses(model.student, clips, with_labels(data['data_samples'][1:], labels))
    assert found['target_loss_cls'] == pytest.approx(scalars(expected)['loss_cls'], rel=1e-6)


@pytest.mark.slow
def test_without_a_source_a_given_detector_adapts_to_the_target():
    batch = with_weak_views(dual_batch(n=1))
    model = build_teacher(dict(EAGER, source_free=True))
    given = build_teacher(seed=3).student
    load_state_dict(model, dict(given.state_dict()))  # as load_from does
    for part in (model.student, model.teacher):
        assert all(torch.equal(v, part.state_dict()[k]) for k, v in given.state_dict().items())
    model.iteration = 0
    found = losses_of(model, dict(target=batch['target']))
    assert {k.split('_')[0] for k in found} == {'target'}
    sum(v[0] if isinstance(v, list) else v for k, v in found.items() if 'loss' in k).backward()
    assert model.student.clip_backbone.Conv3d_2b_1x1.conv3d.weight.grad is not None
    with pytest.raises(ConfigError, match="train_on='target'"):
        losses_of(model, batch)
    with pytest.raises(ConfigError, match='model.detector.adaptation=None'):
        build_teacher(dict(source_free=True), adaptation=module_configs())


@pytest.mark.slow
def test_the_source_of_a_burn_in_is_not_learnt_afterwards():
    batch = with_weak_views(dual_batch(n=1))
    model = build_teacher(dict(EAGER, source_free=True, burn_in=2))
    model.iteration = 1
    found = scalars(losses_of(model, copy.deepcopy(batch)))
    assert found == scalars(losses_of(model.student, copy.deepcopy(batch)))
    model.iteration = 2
    found = scalars(losses_of(model, copy.deepcopy(batch)))
    assert {key.split('_')[0] for key in found} == {'target'} and found['target_boxes'] > 0
    other = dual_batch(seed=1, n=1)['source']  # another source changes nothing
    assert scalars(losses_of(model, dict(copy.deepcopy(batch), source=other))) == found


def test_soft_losses_of_no_roi_are_zero():
    none = [torch.zeros(0, width, requires_grad=True) for width in (4, 12, 4, 12)]
    assert {key: value.item() for key, value in soft_roi_losses(*none).items()} == {
        'loss_cls': 0.0,
        'loss_bbox': 0.0,
    }


def given_boxes(batch: dict) -> dict:
    """The batch, whose target's boxes are given, two a clip."""
    batch = copy.deepcopy(batch)
    for sample in batch['target']['data_samples']:
        boxes = torch.tensor([[3.0, 5.0, 30.0, 40.0], [20.0, 2.0, 60.0, 44.0]])
        sample.proposals = InstanceData(bboxes=boxes)
    return dict(source=batch['source'], boxed_target=batch['target'])


def weak_views(model, batch: dict) -> tuple[dict, list]:
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    weak = {k.removeprefix('weak_'): v for k, v in data['inputs'].items() if 'weak' in k}
    return weak, [s for s in data['data_samples'] if s.domain == 1]


@pytest.mark.parametrize('high', [0.0, 1.0])
def test_a_teacher_labels_given_boxes(high):
    """Its probabilities by hand, the background left out; boxes stay as they are."""
    batch = given_boxes(with_weak_views(dual_batch(n=2)))
    model = build_teacher(dict(given_boxes=True, thresholds=(0.0, high)))
    head, seen = model.teacher.roi_head.bbox_head, []
    with torch.no_grad():
        head.fc_cls.bias[-1] += 14  # a background that counts
    head.register_forward_hook(lambda module, args, out: seen.append(out[0].numpy()))
    weak, samples = weak_views(model, batch)
    labels = model.pseudo_labels(weak, samples)
    (logits,) = seen
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert (p[:, -1] > 0.3).all()
    p = p[:, :-1] / (1 - p[:, -1:])
    assert p.shape == (4, 3)
    for number, (learnt, ignored) in enumerate(labels):
        found, other = (learnt, ignored) if high == 0 else (ignored, learnt)
        own = p[2 * number : 2 * number + 2]
        assert torch.equal(found.bboxes, samples[number].proposals.bboxes) and not len(other)
        np.testing.assert_allclose(found.scores.numpy(), own.max(1), rtol=1e-5)
        assert found.labels.tolist() == own.argmax(1).tolist()


@pytest.mark.slow
def test_a_step_learns_given_boxes_and_reads_no_class():
    batch = given_boxes(with_weak_views(dual_batch(n=1, target_labels=True)))
    model = build_teacher(dict(given_boxes=True, thresholds=(0.0, 0.0)))
    model.iteration = 0
    found = scalars(losses_of(model, copy.deepcopy(batch)))
    assert found['target_boxes'] == 2 and found['target_loss_cls'] > 0
    for sample in batch['boxed_target']['data_samples']:
        sample.gt_instances.labels = (sample.gt_instances.labels + 1) % 3
        sample.gt_instances.bboxes += 4
    assert scalars(losses_of(model, copy.deepcopy(batch))) == found
    for sample in batch['boxed_target']['data_samples']:
        sample.proposals.bboxes += 4
    assert scalars(losses_of(model, batch)) != found


def test_given_boxes_that_are_missing_are_named():
    model = build_teacher(dict(given_boxes=True))
    weak, samples = weak_views(model, with_weak_views(dual_batch(n=1)))
    with pytest.raises(ConfigError, match="train_on='source_and_target_boxes'"):
        model.pseudo_labels(weak, samples)
    with pytest.raises(ConfigError, match='given_boxes=True is for labels of single boxes'):
        TeacherSettings(given_boxes=True, tubes=True)
