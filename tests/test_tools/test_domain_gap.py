"""The domain gap of a tiny detector on a tiny pair: numbers, pictures, features; in validation."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from PIL import Image

from mmstal_da.engine.hooks import DomainGapHook
from mmstal_da.synthetic import PRESETS, generate
from tests.load_tool import load_tool
from tests.model_builders import CONFIGS, FROM_RANDOM_WEIGHTS, TINY, build_detector, module_configs

pytestmark = pytest.mark.slow
SMALL = ['--videos', '4', '--folds', '2', '--workers', '0']


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """A config on the tiny pair, and its cfg."""
    folder = tmp_path_factory.mktemp('gap')
    generate(folder / 'pair', PRESETS['tiny'])
    cfg = Config.fromfile(CONFIGS / 'synthetic/full.py')
    changes = {f'model.{key}': value for key, value in (TINY | FROM_RANDOM_WEIGHTS).items()}
    cfg.merge_from_dict({**changes, 'model.adaptation': module_configs()})
    for side in ('source', 'target'):
        cfg.train_dataloader.dataset[side].data_root = f'{folder}/pair/'
    cfg.dump(folder / 'tiny.py')
    return folder / 'tiny.py', cfg


def checkpoint(path, seed: int) -> str:
    """Weights of the tiny detector without its config, as of another tool."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=build_detector(module_configs(), seed=seed).state_dict()), path)
    return str(path)


def test_the_tool_prints_and_writes_all(pair, tmp_path, capsys):
    tool = load_tool('analysis_tools/domain_gap')
    config, _ = pair
    checkpoints = [checkpoint(tmp_path / f'{row}/iter_9.pth', i) for i, row in enumerate('ab')]
    out = tmp_path / 'out'
    assert tool.main([str(config), *checkpoints, '--out', str(out), *SMALL]) == 0
    said = capsys.readouterr().out
    assert 'proxy A-distance' in said and 'probed on 4 source and 4 target videos' in said
    record = json.loads((out / 'domain_gap.json').read_text())['probes']
    assert list(record) == ['a', 'b'] and list(record['a']) == ['SF', 'TF1', 'TF2']
    for probe in record['a'].values():
        assert probe['distance'] == pytest.approx(2 * (2 * probe['accuracy'] - 1))
    for name in ('pca', 'tsne'):
        with Image.open(out / f'{name}.png') as image:
            assert image.height > image.width  # three rows, two columns
    with np.load(out / 'features_b.npz') as features:
        assert features['SF'].shape == (16, 128)
        assert features['domain'].tolist() == [0] * 8 + [1] * 8
        assert len(set(features['video'])) <= 8


def test_wrong_input_is_said(pair, tmp_path, capsys):
    tool = load_tool('analysis_tools/domain_gap')
    config, _ = pair
    weights = checkpoint(tmp_path / 'x/iter_9.pth', 0)
    assert tool.main([str(config), weights, '--out', str(tmp_path), '--folds', '9']) == 2
    assert 'too few for 9 folds' in capsys.readouterr().err
    assert tool.main([str(config), 'none.pth']) == 2
    assert 'none.pth does not exist' in capsys.readouterr().err
    assert tool.names_of(['r/full/iter_1.pth', 'r/full/iter_2.pth']) == [
        'full, iter_1', 'full, iter_2',
    ]  # fmt: skip


def test_a_validation_logs_the_same_numbers(pair, tmp_path):
    tool = load_tool('analysis_tools/domain_gap')
    config, cfg = pair
    weights = checkpoint(tmp_path / 'x/iter_9.pth', 0)
    assert tool.main([str(config), weights, '--out', str(tmp_path), '--no-pictures', *SMALL]) == 0
    record = json.loads((tmp_path / 'domain_gap.json').read_text())['probes']['x']
    detector = build_detector(module_configs())
    hub = MessageHub.get_instance('test_domain_gap_hook')
    runner = SimpleNamespace(model=detector, cfg=cfg, message_hub=hub)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    DomainGapHook(max_videos=4, folds=2).after_val_epoch(runner)
    for place, probe in record.items():
        for key, name in (('probe_accuracy', 'accuracy'), ('proxy_a_distance', 'distance')):
            assert hub.get_scalar(f'val/{key}_{place}').current() == pytest.approx(probe[name])
    assert detector.training and detector.roi_head.training
    for key, value in detector.state_dict().items():
        assert torch.equal(value, before[key]), key
