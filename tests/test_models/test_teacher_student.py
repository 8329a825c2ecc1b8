"""A mean teacher: off it changes nothing; its average, labels, views and weights."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmstal_da.engine.hooks import AdaptationWeightHook, BurnInTeacherHook
from mmstal_da.errors import ConfigError
from mmstal_da.models.detectors.pseudo_thresholds import PseudoThresholds
from mmstal_da.models.detectors.target_losses import hard_losses, with_labels
from mmstal_da.models.detectors.teacher_settings import TeacherSettings
from mmstal_da.utils.wrapped import predictor_of, student_of
from tests.model_builders import (
    build_detector,
    build_teacher,
    dual_batch,
    losses_of,
    module_configs,
    plain_batch,
    with_weak_views,
)

# random weights then find boxes
EAGER = dict(thresholds=(0.05, 0.27))


def scalars(losses: dict) -> dict[str, float]:
    flat = {k: v[0] if isinstance(v, list) else v for k, v in losses.items()}
    return {key: value.item() for key, value in flat.items()}


def step(model, batch: dict, seed: int) -> dict[str, float]:
    """One step of plain gradient descent; returns the losses."""
    losses = losses_of(model, copy.deepcopy(batch), seed)
    total, _ = model.parse_losses(losses)
    model.zero_grad()
    total.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
    return scalars(losses)


def run_hook(model, iteration: int, hook: BurnInTeacherHook):
    """The hook's calls around an iteration."""
    runner = SimpleNamespace(model=model, iter=iteration, max_iters=9)
    if iteration == 0:
        hook.before_train(runner)
    hook.before_train_iter(runner, iteration)
    return lambda: hook.after_train_iter(runner, iteration)


@pytest.fixture(scope='module')
def batch() -> dict:
    return with_weak_views(dual_batch(n=1))


@pytest.mark.parametrize('teacher', [dict(weight=0.0), dict(weight=1.0, burn_in=3)])
@pytest.mark.parametrize('adapts', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_with_weight_0_or_in_the_burn_in_a_step_is_that_of_the_detector_alone(
    batch, teacher, adapts
):
    changes = dict(adaptation=module_configs(), domain_norm='target') if adapts else {}
    alone, model = build_detector(**changes), build_teacher(teacher, **changes)
    hook = BurnInTeacherHook()
    for iteration in range(3):
        after = run_hook(model, iteration, hook)
        expected = step(alone, batch, iteration)
        drawn = torch.get_rng_state()
        assert step(model, batch, iteration) == expected
        assert torch.equal(torch.get_rng_state(), drawn)
        after()
    states = alone.state_dict(), model.student.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[1][key], value) for key, value in states[0].items())


@pytest.mark.slow
def test_the_teacher_is_a_copy_in_the_burn_in_and_then_the_average(batch):
    """teacher = (1 - m) teacher + m student, statistics too, computed by hand."""
    model = build_teacher(
        dict(momentum=0.25, burn_in=1, **EAGER), **{'clip_backbone.norm_eval': False}
    )
    with torch.no_grad():
        model.teacher.rpn_head.rpn_cls.bias += 1  # the hook begins with a copy
    hook, expected = BurnInTeacherHook(), {}
    for iteration in range(4):
        after = run_hook(model, iteration, hook)
        step(model, batch, iteration)
        after()
        student = {k: v.numpy().copy() for k, v in model.student.state_dict().items()}
        for key, value in student.items():
            if iteration == 0 or value.dtype.kind != 'f':
                expected.setdefault(key, value)
            else:
                expected[key] = 0.75 * expected[key] + 0.25 * value
        if iteration == 0:
            expected = student
    teacher = model.teacher.state_dict()
    for key, value in expected.items():
        if value.dtype.kind == 'f':
            np.testing.assert_allclose(teacher[key].numpy(), value, rtol=1e-5, atol=1e-6)
    moved = 'clip_backbone.Conv3d_1a_7x7.bn.running_mean'
    assert not np.allclose(expected[moved], student[moved], atol=1e-4)


@pytest.mark.slow
def test_the_teacher_learns_nothing_by_itself_and_stays_in_eval_mode(batch):
    model = build_teacher(EAGER)
    model.iteration = 0
    before = copy.deepcopy(model.teacher.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in model.student.state_dict().items())
    step(model, batch, 0)
    assert all(torch.equal(v, before[k]) for k, v in model.teacher.state_dict().items())
    assert not any(module.training for module in model.teacher.modules())
    assert not any(p.requires_grad for p in model.teacher.parameters())
    assert model.student.training


def true_boxes(samples: list) -> list:
    return [(s.gt_instances.clone(), s.gt_instances[:0]) for s in samples]


@pytest.mark.slow
@pytest.mark.parametrize('planted', ['true', 'wrong class', 'shifted', 'none'])
def test_losses_on_the_target_are_those_of_the_same_clips_with_labels(planted):
    """Whatever the teacher says is learnt as a label: truth and errors alike."""
    detector = build_detector()
    batch = plain_batch(3)
    for sample in batch['data_samples']:
        boxes = sample.gt_instances
        if planted == 'wrong class':
            boxes.labels = (boxes.labels + 1) % 3
        elif planted == 'shifted':
            boxes.bboxes = boxes.bboxes + 6
        elif planted == 'none':
            sample.gt_instances = boxes[:0]
    labels = true_boxes(batch['data_samples'])
    expected = scalars(losses_of(detector, copy.deepcopy(batch)))
    data = detector.data_preprocessor(batch, True)
    torch.manual_seed(0)
    np.random.seed(0)
    samples = with_labels(data['data_samples'], labels)
    assert scalars(hard_losses(detector, data['inputs'], samples)) == expected


def test_a_step_learns_the_planted_boxes_times_the_weight(monkeypatch):
    """The whole step on target clips equals labelled training on them, scaled by the ramp."""
    model = build_teacher(dict(weight=0.5, burn_in=2, ramp=4))
    batch = with_weak_views(dual_batch(n=1, target_labels=True))
    labels = true_boxes(batch['target']['data_samples'])
    monkeypatch.setattr(model, 'pseudo_labels', lambda inputs, samples: labels)
    model.iteration = 4  # third of four iterations of the ramp
    found = scalars(losses_of(model, copy.deepcopy(batch)))
    # the same draws before: the source's
    data = model.student.data_preprocessor(copy.deepcopy(batch), True)
    torch.manual_seed(0)
    np.random.seed(0)
    inputs = {k: v for k, v in data['inputs'].items() if 'weak' not in k}
    model.student.loss(inputs, data['data_samples'])
    expected = hard_losses(
        model.student,
        {key: value[1:] for key, value in inputs.items()},
        with_labels(data['data_samples'][1:], labels),
    )
    for key, value in scalars(expected).items():
        factor = 0.5 * 3 / 4 if 'loss' in key else 1
        assert found[f'target_{key}'] == pytest.approx(factor * value, rel=1e-6)
    assert found['target_boxes'] == 1


def test_without_a_sure_box_the_target_counts_nothing(batch, monkeypatch):
    model = build_teacher()
    model.iteration = 0
    empty = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    monkeypatch.setattr(model, 'pseudo_labels', lambda *args: [(empty, empty)])
    found = scalars(losses_of(model, copy.deepcopy(batch)))
    assert {v for k, v in found.items() if k.startswith('target_loss')} == {0.0}


def test_the_teacher_sees_the_weak_view_and_the_student_the_strong_one(batch):
    model = build_teacher(EAGER)
    model.iteration = 0
    seen = {}
    for name, part in (('student', model.student), ('teacher', model.teacher)):
        part.clip_backbone.register_forward_pre_hook(
            lambda module, inputs, name=name: seen.setdefault(name, []).append(inputs[0].clone())
        )
    losses_of(model, copy.deepcopy(batch))
    mean = model.data_preprocessor.clip_mean

    def normal(clip):
        return ((clip - mean) / model.data_preprocessor.clip_std)[None]

    target = batch['target']
    (teacher,) = seen['teacher']
    assert torch.equal(teacher, normal(target['weak_inputs'][0]))
    source, strong = seen['student']
    assert torch.equal(source, normal(batch['source']['inputs'][0]))
    assert torch.equal(strong, normal(target['inputs'][0]))


def test_the_teachers_boxes_are_in_input_pixels(batch):
    """The samples' scale factor is 0.5: rescaled boxes would be twice as large."""
    model = build_teacher(dict(thresholds=(0.0, 0.0)))
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    weak = {k.removeprefix('weak_'): v for k, v in data['inputs'].items() if 'weak' in k}
    ((boxes, _),) = model.pseudo_labels(weak, data['data_samples'][1:])
    model.eval()
    alone = dict(inputs=batch['target']['weak_inputs'], data_samples=data['data_samples'][1:])
    (sample,) = model.test_step(copy.deepcopy(alone))
    expected = sample.pred_instances.bboxes * 0.5
    assert len(boxes) == len(expected) > 0
    torch.testing.assert_close(boxes.bboxes, expected)


@pytest.mark.slow
def test_the_targets_labels_are_never_read(batch):
    model = build_teacher(EAGER, adaptation=module_configs(), domain_norm='target')
    model.iteration = 0
    labelled = copy.deepcopy(batch)
    for sample in labelled['target']['data_samples']:
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[1.0, 1.0, 5.0, 5.0]]), labels=torch.tensor([2])
        )
    # in this order, because the statistics of the target move
    state = copy.deepcopy(model.state_dict())
    found = scalars(losses_of(model, copy.deepcopy(batch)))
    model.load_state_dict(state)
    assert found['target_boxes'] > 0
    assert scalars(losses_of(model, labelled)) == found


@pytest.mark.slow
@pytest.mark.parametrize('test_domain', ['source', 'target'])
def test_the_target_pass_has_the_targets_statistics(batch, test_domain):
    """Layers with running statistics: the source's move as without teacher, the target's more."""
    changes = dict(domain_norm=test_domain)
    changes |= {'clip_backbone.norm_eval': False, 'backbone.norm_eval': False}
    after = {}
    for weight in (0.0, 1.0):
        model = build_teacher(dict(weight=weight, **EAGER), **changes)
        model.iteration = 0
        losses_of(model, copy.deepcopy(batch))
        after[weight] = model.student.state_dict()
    moved = {k for k, v in after[0.0].items() if not torch.equal(v, after[1.0][k])}
    assert moved and all('target_running' in key for key in moved)


@pytest.mark.slow
def test_the_teacher_predicts_with_the_targets_statistics_when_it_labels(batch):
    model = build_teacher(dict(thresholds=(0.0, 0.0)), domain_norm='source')
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    weak = {k.removeprefix('weak_'): v for k, v in data['inputs'].items() if 'weak' in k}
    with torch.no_grad():
        for name, buffer in model.teacher.named_buffers():
            if name.endswith('target_running_var'):
                buffer *= 2
    ((found, _),) = model.pseudo_labels(weak, data['data_samples'][1:])
    model.teacher.domain_norm.test_domain = 'target'
    (sample,) = model.teacher.predict(weak, data['data_samples'][1:], rescale=False)
    assert torch.equal(found.scores, sample.pred_instances.scores)
    model.teacher.domain_norm.test_domain = 'source'
    (sample,) = model.teacher.predict(weak, data['data_samples'][1:], rescale=False)
    assert not torch.equal(found.scores, sample.pred_instances.scores)


def test_thresholds_split_boxes_by_their_score():
    boxes = torch.tensor([[0, 0, 9, 9]] * 5 + [[3, 3, 3.5, 9]], dtype=torch.float)
    scores = torch.tensor([0.9, 0.8, 0.79, 0.3, 0.29, 0.9])
    found = InstanceData(bboxes=boxes, scores=scores, labels=torch.tensor([0, 1, 1, 2, 0, 0]))
    ((sure, unsure),) = PseudoThresholds(0.3, 0.8, 3).split([found])
    assert sure.scores.tolist() == pytest.approx([0.9, 0.8]) and sure.labels.tolist() == [0, 1]
    assert unsure.scores.tolist() == pytest.approx([0.79, 0.3])


def test_the_weight_is_0_in_the_burn_in_and_rises_linearly():
    settings = TeacherSettings(weight=2.0, burn_in=2, ramp=4)
    assert [settings.weight_at(i) for i in range(8)] == [0, 0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert TeacherSettings(burn_in=1).weight_at(1) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize('part', ['teacher', 'student'])
def test_one_part_predicts(part):
    model = build_teacher(test_cfg=dict(predict_on=part))
    with torch.no_grad():
        model.student.roi_head.bbox_head.fc_cls.bias += torch.tensor([3.0, 0, 0, 0])
    model.eval()
    expected = getattr(model, part).test_step(plain_batch(n=1))[0].pred_instances
    other = {'teacher': 'student', 'student': 'teacher'}[part]
    different = getattr(model, other).test_step(plain_batch(n=1))[0].pred_instances
    found = model.test_step(plain_batch(n=1))[0].pred_instances
    assert torch.equal(found.scores, expected.scores)
    assert not torch.equal(found.scores, different.scores)
    assert predictor_of(model) is getattr(model, part)


def test_lambda_is_set_in_the_student():
    model = build_teacher(adaptation=module_configs())
    runner = SimpleNamespace(model=model, iter=5, max_iters=10)
    AdaptationWeightHook('constant', 0.3).before_train_iter(runner, 5)
    assert model.student.adaptation.weight == 0.3
    assert student_of(SimpleNamespace(module=model)) is model.student


@pytest.mark.slow
@pytest.mark.parametrize(
    'spoil, message',
    [
        (lambda m, b: setattr(m, 'iteration', None), 'BurnInTeacherHook'),
        (lambda m, b: b['target'].pop('weak_inputs'), 'put KeepWeakView before AugmentClip'),
        (lambda m, b: b.pop('target'), "train_on='both'"),
    ],
)
def test_what_is_missing_is_named(batch, spoil, message):
    model, batch = build_teacher(), copy.deepcopy(batch)
    model.iteration = 0
    spoil(model, batch)
    with pytest.raises(ConfigError, match=message):
        losses_of(model, batch)


@pytest.mark.slow
@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(teacher=dict(momentum=1.0)), 'model.teacher.momentum'),
        (dict(teacher=dict(weight=-1)), 'model.teacher.weight'),
        (dict(teacher=dict(burn_in=0.5)), 'model.teacher.burn_in'),
        (dict(teacher=dict(ramp=-1)), 'model.teacher.ramp'),
        (dict(teacher=dict(thresholds=(0.8, 0.3))), 'a low and a high score'),
        (dict(teacher=dict(thresholds=(0.8, 1.3))), 'model.teacher.thresholds'),
        (dict(teacher=dict(adaptive=1.0)), 'model.teacher.adaptive'),
        (dict(teacher=dict(soft=1)), 'model.teacher.soft'),
        (dict(teacher=dict(mask=1.0)), 'model.teacher.mask'),
        (dict(teacher=dict(mask_block=0)), 'model.teacher.mask_block'),
        (dict(teacher=dict(mix=2)), 'model.teacher.mix'),
        (dict(teacher=dict(mix=0.5, soft=True)), 'set mix=0'),
        (dict(teacher=dict(source_free=True, mix=0.5)), 'set mix=0'),
        (dict(teacher=dict(source_free=True, weight=0)), 'a weight above 0'),
        (dict(test_cfg=dict(predict_on='both')), 'model.test_cfg.predict_on'),
        (dict(test_cfg=dict(clip_stride=4)), 'in model.detector.test_cfg'),
    ],
)
def test_wrong_values_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_teacher(**arguments)


def test_a_detector_of_another_kind_is_refused():
    from mmstal_da.models.detectors.teacher_student import _check_detector

    with pytest.raises(ConfigError, match='needs an ActionTubeDetector'):
        _check_detector(torch.nn.Linear(1, 1))


def test_the_hook_refuses_a_model_without_teacher():
    with pytest.raises(ConfigError, match="model.type='TeacherStudentDetector'"):
        BurnInTeacherHook().before_train(SimpleNamespace(model=build_detector(), iter=0))


@pytest.mark.slow
def test_checkpointed_layers_that_two_batches_pass_are_an_error(batch):
    """Backward computes them once more, and could not know the batch; see BatchLayout.of."""
    model = build_teacher(EAGER, domain_norm='target', **{'backbone.with_cp': True})
    model.iteration = 0
    total, _ = model.parse_losses(losses_of(model, copy.deepcopy(batch)))
    with pytest.raises(RuntimeError, match='with_cp=False'):
        total.backward()
