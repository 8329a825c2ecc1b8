"""Planned curves against the schedules' formulas, and against what a training logs."""

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from mmstal_da.errors import UsageError
from mmstal_da.launch import dry_run
from mmstal_da.launch.dry_run import planned_curves
from tests.load_tool import load_tool
from tests.model_builders import CONFIGS
from tests.tiny_runner import make_runner


def test_warm_up_cosine_and_dann_of_the_synthetic_pair():
    cfg = Config.fromfile(CONFIGS / 'synthetic/full.py')
    curves = planned_curves(cfg)
    assert list(curves) == ['lr', 'da_lambda']
    lr, weight = dict(curves['lr']), dict(curves['da_lambda'])
    assert list(lr) == list(range(1, 301))
    assert lr[1] == pytest.approx(1e-4)  # a tenth
    for i in (51, 150, 300):  # MMEngine's cosine, to 1 % of 1e-3
        done = (i - 1 - 50) / 250
        expected = 1e-5 + (1e-3 - 1e-5) * (1 + np.cos(np.pi * done)) / 2
        assert lr[i] == pytest.approx(expected, rel=1e-3), i
        assert weight[i] == pytest.approx(0.1 * (2 / (1 + np.exp(-10 * (i - 1) / 300)) - 1))


def test_without_adaptation_there_is_no_lambda_and_long_trainings_have_fewer_points():
    cfg = Config.fromfile(CONFIGS / 'synthetic/source_only.py')
    assert list(planned_curves(cfg)) == ['lr']
    cfg.merge_from_dict({'train_cfg.max_iters': 4001, 'param_scheduler.1.end': 4001})
    points = planned_curves(cfg)['lr']
    assert 1000 < len(points) <= dry_run.POINTS + 1 and points[-1][0] == 4001


def test_parts_with_a_learning_rate_of_their_own_have_a_curve():
    cfg = Config.fromfile(CONFIGS / 'synthetic/t_img.py')
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys={'adaptation': dict(lr_mult=3)})
    curves = planned_curves(cfg)
    assert list(curves) == ['lr', 'lr (adaptation)', 'da_lambda']
    np.testing.assert_allclose(
        np.array(curves['lr (adaptation)'])[:, 1], 3 * np.array(curves['lr'])[:, 1], rtol=1e-9
    )


SCHEDULES = [
    [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3)],
    [dict(type='MultiStepLR', milestones=[2], gamma=0.1)],  # epochs of 2 iterations
    [dict(type='LinearLR', start_factor=0.5, end=1, convert_to_iter_based=True),
     dict(type='CosineAnnealingLR', begin=1, T_max=3, by_epoch=True, convert_to_iter_based=True)],
]  # fmt: skip


@pytest.mark.parametrize('schedule', SCHEDULES)
def test_they_are_what_mmengine_trains_with(tmp_path, schedule, monkeypatch):
    runner = make_runner(tmp_path, 6, dict(interval=100))
    used = []
    batches = [0, 1]  # of an epoch
    runner.param_schedulers = schedule
    monkeypatch.setattr(runner, 'optim_wrapper', runner.build_optim_wrapper(runner.optim_wrapper))
    monkeypatch.setattr(Runner, 'train_dataloader', batches)
    built = runner.build_param_scheduler(
        [dict(s, end=s.get('end', 3 if s.get('by_epoch', True) else 6)) for s in schedule]
    )
    for iteration in range(6):
        used.append(runner.optim_wrapper.get_lr()['lr'][0])
        runner.optim_wrapper.optimizer.step()  # else the schedulers warn
        for scheduler in built:
            if not scheduler.by_epoch or iteration % 2:
                scheduler.step()
    monkeypatch.setattr(dry_run.Runner, 'build_dataloader', lambda *a, **k: batches)
    cfg = Config(
        dict(
            train_cfg=dict(max_epochs=3), train_dataloader={}, param_scheduler=schedule,
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)), model=dict(),
        )
    )  # fmt: skip
    assert [value for _, value in planned_curves(cfg)['lr']] == pytest.approx(used)


def test_what_has_no_training_is_said():
    with pytest.raises(UsageError, match='no training'):
        planned_curves(Config(dict(model=dict())))
    several = dict(a=dict(optimizer=dict(lr=1)), b=dict(optimizer=dict(lr=1)))
    with pytest.raises(UsageError, match='several optimizers'):
        planned_curves(Config(dict(train_cfg=dict(max_iters=2), optim_wrapper=ConfigDict(several))))


@pytest.mark.slow
def test_the_tool_plots_a_config(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tool = load_tool('analysis_tools/plot_curves')
    config = str(CONFIGS / 'synthetic/full.py')
    assert tool.main(['--dry-run', config, '--cfg-options', 'optim_wrapper.optimizer.lr=0.5']) == 0
    said = capsys.readouterr().out
    assert 'full: lr 0.05 at iteration 1, highest 0.5 at' in said
    assert 'full: da_lambda 0 at iteration 1' in said
    assert (tmp_path / 'work_dirs/full/planned_curves.png').is_file()
    assert tool.main(['--dry-run', 'none.py']) == 2
    assert 'none.py does not exist' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(['some/run'])  # without --out
