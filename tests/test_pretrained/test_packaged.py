"""Weights that travel in the package: how they are made, found and refused."""

import hashlib

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmstal_da.errors import UsageError
from mmstal_da.pretrained import packaged
from mmstal_da.pretrained.strict import StrictPretrained
from tests.load_tool import load_tool


@pytest.fixture()
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, 'WEIGHTS', tmp_path / 'weights')
    monkeypatch.setattr(packaged.publish_weights, '__defaults__', (('',), tmp_path / 'weights'))
    monkeypatch.setattr(packaged._checksums, '__defaults__', (tmp_path / 'weights',))
    return tmp_path


@pytest.fixture()
def checkpoint(folder):
    torch.manual_seed(0)
    state = {f'neck.{k}': v for k, v in nn.BatchNorm2d(3).state_dict().items()}
    state['head.weight'] = torch.randn(3, 3)
    meta = dict(
        cfg="a = 1\nwork_dir = 'mine'\n",
        iter=7,
        dataset_meta=dict(classes=['run']),
        time='secret',
    )
    torch.save(dict(state_dict=state, meta=meta, optimizer=dict(x=1)), folder / 'iter_7.pth')
    return folder / 'iter_7.pth'


def test_a_config_loads_what_was_published(folder, checkpoint, capsys):
    assert load_tool('publish_weights').main([str(checkpoint), 'tiny', '--keep', 'neck.']) == 0
    assert 'mmstal_da://tiny' in capsys.readouterr().out
    file = folder / 'weights/tiny.pth'
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (folder / 'weights/SHA256SUMS').read_text() == f'{digest}  tiny.pth\n'
    loaded = CheckpointLoader.load_checkpoint('mmstal_da://tiny', map_location='cpu')
    assert all(key.startswith('neck.') for key in loaded['state_dict'])
    assert loaded['meta'] == dict(cfg='a = 1\n', iter=7, dataset_meta=dict(classes=('run',)))
    module = nn.BatchNorm2d(3)
    nn.init.constant_(module.weight, 5.0)
    StrictPretrained('mmstal_da://tiny', prefix='neck.')(module)
    assert module.weight.dtype == torch.float32 and module.weight.tolist() == [1.0] * 3


def test_half_precision_keeps_eleven_bits(folder, checkpoint):
    packaged.publish_weights(checkpoint, 'all')
    loaded = CheckpointLoader.load_checkpoint('mmstal_da://all', map_location='cpu')
    original = torch.load(checkpoint)['state_dict']
    weight = loaded['state_dict']['head.weight']
    torch.testing.assert_close(weight, original['head.weight'], rtol=2**-11, atol=0)
    assert loaded['state_dict']['neck.num_batches_tracked'].dtype == torch.int64


def test_absent_and_damaged_weights_are_named(folder, checkpoint):
    packaged.publish_weights(checkpoint, 'tiny')
    with pytest.raises(FileNotFoundError, match='no mmstal_da://other; it has mmstal_da://tiny'):
        packaged.load_packaged('mmstal_da://other')
    file = folder / 'weights/tiny.pth'
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r'tiny\.pth is damaged'):
        packaged.load_packaged('mmstal_da://tiny')


def test_what_cannot_be_published_is_refused(folder, checkpoint, monkeypatch):
    with pytest.raises(UsageError, match="no key that begins with 'tail'"):
        packaged.publish_weights(checkpoint, 'x', ['tail'])
    torch.save(dict(state_dict={'a': torch.tensor([1e6])}), folder / 'big.pth')
    with pytest.raises(UsageError, match='a does not fit into half precision'):
        packaged.publish_weights(folder / 'big.pth', 'x')
    monkeypatch.setattr(packaged, 'LIMIT', 100)
    with pytest.raises(UsageError, match='the limit is 0'):
        packaged.publish_weights(checkpoint, 'x')
    assert not (folder / 'weights/x.pth').exists()


def test_the_packages_own_weights_are_whole():
    files = sorted(packaged.WEIGHTS.glob('*.pth'))
    assert sorted(packaged._checksums()) == [file.name for file in files]
    for file in files:
        assert file.stat().st_size <= packaged.LIMIT
        packaged.load_packaged(packaged.PREFIX + file.stem)
