"""Weights load whole or not at all."""

import functools
import http.server
import re
import threading

import pytest
import torch

import mmstal_da.register  # noqa: F401  (StrictPretrained is looked up by its name)
from mmstal_da.models.backbones import InceptionI3D
from mmstal_da.models.layers.domain_batch_norm import DomainNorm, convert_batch_norm
from mmstal_da.models.roi_heads import InceptionRoIStage


@pytest.fixture()
def whole(tmp_path):
    """A checkpoint of a whole network in the public port's names."""
    torch.manual_seed(0)
    state = InceptionI3D(end_point='Logits', num_classes=7, width=0.1).state_dict()
    torch.save(state, tmp_path / 'i3d.pt')
    return tmp_path / 'i3d.pt', state


def init_cfg(path, *unused):
    return dict(type='StrictPretrained', checkpoint=str(path), unused=unused)


@pytest.mark.slow
def test_one_file_fills_backbone_and_roi_stage(whole):
    path, state = whole
    backbone = InceptionI3D(width=0.1, init_cfg=init_cfg(path, 'Mixed_5', 'logits.'))
    backbone.init_weights()
    stage = InceptionRoIStage(
        width=0.1, init_cfg=init_cfg(path, 'Conv3d_', 'Mixed_3', 'Mixed_4', 'logits.')
    )
    stage.init_weights()
    for module in (backbone, stage):
        for key, value in module.state_dict().items():
            assert torch.equal(value, state[key]), key


def test_pretrained_weights_fill_a_network_of_statistics_per_domain(whole):
    path, state = whole
    net = InceptionI3D(width=0.1, init_cfg=init_cfg(path, 'Mixed_5', 'logits.'))
    convert_batch_norm(net, DomainNorm('target'))
    net.init_weights()
    for key, value in net.state_dict().items():
        assert torch.equal(value, state[re.sub('(target|source)_(running|seen)', 'running', key)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda s: s.pop('Mixed_4f.b0.bn.bias'), 'missing: Mixed_4f.b0.bn.bias'),
        (lambda s: s.update(extra=torch.zeros(1)), 'unexpected: extra'),
        (
            lambda s: s.update({'Mixed_4f.b0.bn.bias': torch.zeros(2)}),
            r'shape of Mixed_4f.b0.bn.bias: \(2,\) in the checkpoint',
        ),
    ],
)
def test_a_key_that_does_not_fit_is_listed_and_nothing_is_loaded(whole, change, words):
    path, state = whole
    change(state)
    torch.save(state, path)
    net = InceptionI3D(width=0.1, init_cfg=init_cfg(path, 'Mixed_5', 'logits.'))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(RuntimeError, match=words):
        net.init_weights()
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_a_missing_file_is_named(tmp_path):
    net = InceptionI3D(width=0.1, init_cfg=init_cfg(tmp_path / 'nowhere.pt'))
    with pytest.raises(FileNotFoundError, match='nowhere.pt.*get_weights'):
        net.init_weights()


@pytest.fixture()
def served(whole, tmp_path, monkeypatch):
    """The folder of that checkpoint behind HTTP on this machine, and an empty download cache."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()
    server.server_close()


def test_weights_load_from_a_url(whole, served):
    _, state = whole
    net = InceptionI3D(width=0.1, init_cfg=init_cfg(f'{served}/i3d.pt', 'Mixed_5', 'logits.'))
    net.init_weights()
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@pytest.mark.slow
def test_a_url_whose_file_does_not_fit_loads_nothing(whole, served):
    path, state = whole
    state.pop('Mixed_4f.b0.bn.bias')
    torch.save(state, path)
    net = InceptionI3D(width=0.1, init_cfg=init_cfg(f'{served}/i3d.pt', 'Mixed_5', 'logits.'))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(RuntimeError, match='missing: Mixed_4f.b0.bn.bias'):
        net.init_weights()
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


@pytest.mark.slow
def test_a_url_without_a_file_is_named(served):
    net = InceptionI3D(width=0.1, init_cfg=init_cfg(f'{served}/nowhere.pt'))
    with pytest.raises(FileNotFoundError, match='nowhere.pt.*404'):
        net.init_weights()
