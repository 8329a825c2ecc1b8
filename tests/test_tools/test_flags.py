"""What each flag of tools/train.py and tools/test.py does to a config."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmstal_da.errors import UsageError
from mmstal_da.launch import config as launch
from tests.load_tool import load_tool


@pytest.fixture
def config(tmp_path) -> Path:
    """A config with the keys that the flags touch."""
    path = tmp_path / 'tiny.py'
    path.write_text(
        "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))\n"
        "val_cfg = dict(type='ValLoop')\n"
        'val_dataloader = test_dataloader = dict(batch_size=1)\n'
        "val_evaluator = dict(type='AccMetric')\n"
        "test_evaluator = dict(type='AccMetric')\n"
        "default_hooks = dict(checkpoint=dict(type='CheckpointHook'))\n"
        "load_from = 'pretrained.pth'\n"
    )
    return path


def saved(path: Path) -> Path:
    """A checkpoint."""
    torch.save(dict(state_dict={'weight': torch.ones(2)}), path)
    return path


def train_config(config: Path, *flags: str) -> Config:
    tool = load_tool('train')
    return tool.make_config(tool.make_parser().parse_args([str(config), *flags]))


def run_test_config(config: Path, *flags: str) -> Config:
    tool = load_tool('test')
    return tool.make_config(tool.make_parser().parse_args([str(config), *flags]))


@pytest.mark.parametrize('in_config', [None, 'dict(seed=1, deterministic=True)', 'dict(seed=None)'])
def test_seed_always_takes_effect(config, in_config):
    """MMAction2's tool drops --seed where the config has `randomness`."""
    if in_config is not None:
        config.write_text(f'{config.read_text()}randomness = {in_config}\n')
    assert train_config(config, '--seed', '7').randomness.seed == 7
    flags = ('--seed', '7', '--cfg-options', 'randomness.seed=3')
    assert train_config(config, *flags).randomness.seed == 7


def test_what_is_not_given_stays(config):
    config.write_text(f'{config.read_text()}randomness = dict(seed=1, diff_rank_seed=True)\n')
    cfg = train_config(config, '--deterministic')
    assert cfg.randomness == dict(seed=1, diff_rank_seed=True, deterministic=True)
    assert cfg.launcher == 'none'
    assert cfg.load_from == 'pretrained.pth'
    assert 'resume' not in cfg
    assert cfg.val_cfg is not None


def test_work_dir(config):
    assert train_config(config).work_dir == 'work_dirs/tiny'
    assert train_config(config, '--cfg-options', 'work_dir=a').work_dir == 'a'
    flags = ('--cfg-options', 'work_dir=a', '--work-dir', 'b')
    assert train_config(config, *flags).work_dir == 'b'


def test_no_validate(config):
    cfg = train_config(config, '--no-validate')
    assert cfg.val_cfg is None
    assert cfg.val_dataloader is None
    assert cfg.val_evaluator is None


def test_auto_scale_lr(config):
    with pytest.raises(UsageError, match='base_batch_size'):
        train_config(config, '--auto-scale-lr')
    flags = ('--cfg-options', 'auto_scale_lr.base_batch_size=8')
    cfg = train_config(config, '--auto-scale-lr', *flags)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=8)


def test_amp_without_gpu(config, monkeypatch, capsys):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    options = ('--cfg-options', 'optim_wrapper.loss_scale=512.0')
    wrapper = train_config(config, '--amp', *options).optim_wrapper
    assert wrapper.type == 'mmstal_da.BFloat16OptimWrapper'
    assert set(wrapper) == {'type', 'optimizer'}
    assert 'no GPU, so BFloat16OptimWrapper takes' in capsys.readouterr().out


def test_amp_with_gpu(config, monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    wrapper = train_config(config, '--amp').optim_wrapper
    assert wrapper.type == 'AmpOptimWrapper'
    assert wrapper.loss_scale == 'dynamic'


def test_amp_refuses_unknown_wrappers(config):
    with pytest.raises(UsageError, match='ApexOptimWrapper'):
        train_config(config, '--amp', '--cfg-options', 'optim_wrapper.type=ApexOptimWrapper')


def test_resume(config, tmp_path):
    checkpoint = saved(tmp_path / 'iter_2.pth')
    cfg = train_config(config, '--resume', str(checkpoint))
    assert cfg.resume
    assert cfg.load_from == str(checkpoint)
    with pytest.raises(UsageError, match=r'absent\.pth does not exist'):
        train_config(config, '--resume', 'absent.pth')


def test_auto_resume(config, tmp_path, capsys):
    flags = ('--work-dir', str(tmp_path), '--resume')
    cfg = train_config(config, *flags)
    assert not cfg.resume
    assert cfg.load_from == 'pretrained.pth'  # nothing saved: the training begins as configured
    assert 'nothing was saved' in capsys.readouterr().out

    checkpoint = tmp_path / 'iter_2.pth'
    (tmp_path / 'last_checkpoint').write_text(str(checkpoint))
    with pytest.raises(UsageError, match='last_checkpoint names'):
        train_config(config, *flags)
    saved(checkpoint)
    cfg = train_config(config, *flags)
    assert cfg.resume
    assert cfg.load_from == str(checkpoint)


def test_a_config_without_a_test_says_what_to_run_instead(config, tmp_path):
    saved(tmp_path / 'x.pth')
    config.write_text(f'{config.read_text()}test_evaluator = None\n')
    with pytest.raises(UsageError, match=r'has no test .*tools/infer\.py CHECKPOINT VIDEOS'):
        run_test_config(config, str(tmp_path / 'x.pth'))


def test_test_sets_load_from(config, tmp_path):
    checkpoint = saved(tmp_path / 'iter_2.pth')
    cfg = run_test_config(config, str(checkpoint), '--dump', 'a.pkl')
    assert cfg.load_from == str(checkpoint)
    assert [metric.type for metric in cfg.test_evaluator] == ['AccMetric', 'DumpResults']
    assert cfg.test_evaluator[1].out_file_path == 'a.pkl'
    with pytest.raises(UsageError, match='json'):
        run_test_config(config, str(checkpoint), '--dump', 'a.json')
    with pytest.raises(UsageError, match='visualization'):
        run_test_config(config, str(checkpoint), '--show-dir', 'pictures')
    options = ('--cfg-options', 'default_hooks.visualization.type=VisualizationHook')
    cfg = run_test_config(config, str(checkpoint), '--show-dir', 'pictures', *options)
    hook = cfg.default_hooks.visualization
    assert (hook.enable, hook.out_dir, hook.interval) == (True, 'pictures', 1)


@pytest.mark.parametrize('name', ['train', 'test'])
def test_missing_files_are_named(name, config, monkeypatch, capsys):
    tool = load_tool(name)
    absent = (
        [str(config), 'absent.pth'] if name == 'test' else [str(config), '--resume', 'absent.pth']
    )
    for arguments, message in (
        (['absent.py', 'x'][: 1 + (name == 'test')], 'config absent.py'),
        (absent, 'checkpoint absent.pth'),
    ):
        monkeypatch.setattr('sys.argv', [name, *arguments])
        with pytest.raises(SystemExit) as end:
            tool.main()
        assert end.value.code == 2
        assert f'{message} does not exist' in capsys.readouterr().err
