"""The row ``mt`` trains, and its checkpoint is that of one detector for every tool."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmstal_da.apis.loading import load_trained
from mmstal_da.apis.propose import load_detector, load_own_detector
from mmstal_da.errors import CheckpointError
from mmstal_da.launch.checks import check_config
from mmstal_da.launch.dry_run import planned_curves
from mmstal_da.launch.runner import build_runner, start
from mmstal_da.models.detectors import ActionTubeDetector
from mmstal_da.synthetic import PRESETS, generate
from tests.test_end_to_end import tiny_config, train, weights

pytestmark = pytest.mark.slow

CLASSES = ('pull', 'push', 'squat', 'wave')  # of the tiny pair


def copied(cfg: Config, **changes) -> Config:
    """A copy to change."""
    return Config({**cfg._cfg_dict.to_dict(), **changes})


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """Config, checkpoint and log of two iterations of the row ``mt``, one of them burn-in."""
    folder = tmp_path_factory.mktemp('mt')
    generate(folder / 'pair', PRESETS['tiny'])
    options = {
        'model.teacher.burn_in': 1,
        'model.teacher.ramp': 0,
        'model.teacher.thresholds': (0.01, 0.1),
        'model.teacher.momentum': 0.5,
        'train_dataloader.batch_size': 1,
        'default_hooks.checkpoint.interval': 2,
    }
    cfg = tiny_config(folder / 'pair', folder / 'work', 'synthetic_a/mt', **options)
    train_set = cfg.train_dataloader.dataset
    for part in (train_set.source, train_set.target, cfg.test_dataloader.dataset):
        part.classes = CLASSES
    for part in (cfg.val_dataloader.dataset, cfg.val_evaluator, cfg.test_evaluator):
        part.classes = CLASSES
    check_config(cfg)
    log = train(copied(cfg), 2)
    return cfg, folder / 'work/iter_2.pth', log


def part_of(state: dict, part: str) -> dict:
    return {k.removeprefix(f'{part}.'): v for k, v in state.items() if k.startswith(f'{part}.')}


def assert_has(model: ActionTubeDetector, state: dict) -> None:
    found = model.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_the_row_trains_with_a_burn_in(case):
    _, checkpoint, log = case
    assert 'target_loss_cls' not in log[0] and log[1]['target_boxes'] > 0
    assert {f'target_loss_{k}' for k in ('rpn_cls', 'rpn_bbox', 'cls', 'bbox')} <= log[1].keys()
    state = weights(checkpoint.parent, 2)
    teacher, student = (part_of(state, part) for part in ('teacher', 'student'))
    assert teacher.keys() == student.keys()
    key = 'roi_head.bbox_head.fc_cls.weight'
    assert not torch.equal(teacher[key], student[key])


@pytest.mark.parametrize('part', ['teacher', 'student'])
def test_tools_take_the_part_that_predicts(case, tmp_path, part):
    """infer.py and export_onnx.py; domain_gap.py and rank_checkpoints.py; dump_proposals.py."""
    cfg, checkpoint, _ = case
    expected = part_of(weights(checkpoint.parent, 2), part)
    own = copied(cfg)
    own.model.test_cfg = dict(predict_on=part)
    own.dump(tmp_path / 'own.py')
    trained = load_trained(checkpoint, tmp_path / 'own.py', 'cpu')
    assert trained.classes == list(CLASSES) and trained.cfg.model.type == 'DomainAdaptiveDetector'
    assert_has(trained.model, expected)
    assert_has(load_detector(own, str(checkpoint)), expected)
    if part == 'teacher':  # the default, which the checkpoint's own config has
        assert_has(load_trained(checkpoint, device='cpu').model, expected)
        assert_has(load_own_detector(str(checkpoint), own), expected)


def test_testing_is_testing_the_teacher(case, tmp_path):
    """tools/test.py on the checkpoint, and on the teacher's weights in the detector alone."""
    cfg, checkpoint, _ = case
    torch.save(part_of(weights(checkpoint.parent, 2), 'teacher'), tmp_path / 'alone.pth')
    alone = copied(cfg, model=cfg.model.detector.to_dict())
    alone.custom_hooks = []
    found = []
    for config, file in ((cfg, checkpoint), (alone, tmp_path / 'alone.pth')):
        config = copied(config)
        config.load_from, config.work_dir = str(file), str(tmp_path / 'test')
        config.experiment_name = f'{tmp_path.name}_{file.stem}'
        config.test_evaluator = dict(type='DumpResults', out_file_path=str(tmp_path / 'p.pkl'))
        runner = build_runner(config, testing=True)
        start(runner, 'test')
        found.append(np.load(tmp_path / 'p.pkl', allow_pickle=True))
    assert len(found[0]) == len(found[1]) > 0
    for ours, theirs in zip(*found, strict=True):
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(ours['pred_instances'][key], theirs['pred_instances'][key])


def test_checkpoints_with_and_without_a_teacher_are_told_by_their_names(case, tmp_path):
    cfg, checkpoint, _ = case
    alone = copied(cfg, model=cfg.model.detector.to_dict())
    with pytest.raises(CheckpointError, match='It is of a TeacherStudentDetector'):
        load_detector(alone, str(checkpoint))
    # the detector alone, as a teacher's config loads it
    torch.save(part_of(weights(checkpoint.parent, 2), 'student'), tmp_path / 'alone.pth')
    expected = part_of(weights(checkpoint.parent, 2), 'student')
    assert_has(load_detector(cfg, str(tmp_path / 'alone.pth')), expected)


def test_a_dry_run_sees_lambda_within_a_teacher(case):
    cfg = copied(case[0])
    assert 'da_lambda' not in planned_curves(cfg)
    cfg.model.detector.adaptation = dict(spatial=dict(type='SpatialDiscriminator'))
    assert 'da_lambda' in planned_curves(cfg)


def test_source_free_adaptation_begins_with_a_checkpoint_and_ends_elsewhere(case, tmp_path):
    """One iteration on target videos alone, from the weights of a detector without teacher."""
    cfg, checkpoint, _ = case
    given = part_of(weights(checkpoint.parent, 2), 'student')
    torch.save(given, tmp_path / 'given.pth')
    config = copied(cfg)
    config.load_from, config.work_dir = str(tmp_path / 'given.pth'), str(tmp_path / 'work')
    config.model.teacher.update(burn_in=0, source_free=True)
    config.train_dataloader.dataset.train_on = 'target'
    # nothing of the source is needed
    config.train_dataloader.dataset.source.ann_file = 'absent.json'
    config.default_hooks.checkpoint.interval = 1
    check_config(config)
    (entry,) = train(config, 1)
    assert entry['target_boxes'] > 0 and 'loss_cls' not in entry
    state = weights(tmp_path / 'work', 1)
    moved = {k for k, v in part_of(state, 'student').items() if not torch.equal(v, given[k])}
    assert 'roi_head.bbox_head.fc_cls.weight' in moved
