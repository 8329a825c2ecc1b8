"""Missing pretrained weights are named all at once, before anything is built."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmstal_da.errors import ConfigError
from mmstal_da.launch.weights import check_weights
from tests.load_tool import load_tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_both_files_of_the_papers_networks_are_named_with_their_commands(tmp_path):
    cfg = Config.fromfile(ROOT / 'configs/jhmdb_to_ucf101/full.py')
    with pytest.raises(ConfigError) as error:
        check_weights(cfg)
    text = str(error.value)
    assert text.startswith('2 files of pretrained weights not found')
    for name, key in (
        ('i3d_kinetics400', 'model.roi_head.shared_head.init_cfg.checkpoint'),
        ('resnet50_imagenet', 'model.backbone.init_cfg.checkpoint'),
    ):
        assert f'python tools/get_weights.py {name}' in text and key in text
        path = tmp_path / f'data/weights/{name}.pth'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    check_weights(cfg)


@pytest.mark.parametrize('row', ['jhmdb_to_foggy/slowfast', 'synthetic_a/full'])
def test_mmaction2s_backbones_and_random_weights(row):
    cfg = Config.fromfile(ROOT / f'configs/{row}.py')
    if 'foggy' in row:
        with pytest.raises(ConfigError, match=r'slow_pathway\.pretrained'):
            check_weights(cfg)
    else:
        check_weights(cfg)


def test_urls_and_names_of_mmengine_are_left_to_it():
    for row in ('jhmdb_to_ucf101/slowonly', '_base_/models/i3d_rpn_r50_torchvision'):
        cfg = Config.fromfile(ROOT / f'configs/{row}.py')
        if 'torchvision' in row:
            with pytest.raises(ConfigError, match=r'1 file .*\n.*i3d_kinetics400'):
                check_weights(cfg)
        else:
            check_weights(cfg)


@pytest.mark.slow
def test_the_tool_says_it_in_a_few_lines(tmp_path, monkeypatch, capsys):
    tool = load_tool('train')
    (tmp_path / 'c.py').write_text(
        "model = dict(init_cfg=dict(type='Pretrained', checkpoint='data/weights/x.pth'))\n"
    )
    monkeypatch.setattr('sys.argv', ['train.py', 'c.py', '--work-dir', 'work'])
    with pytest.raises(SystemExit):
        tool.main()
    assert len(capsys.readouterr().err.splitlines()) < 20
    assert not (tmp_path / 'work').exists()
