"""Published weights become checkpoints only if they are whole and what they should be."""

import hashlib
import importlib.util
import io
import json
import pickle
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models import ResNet
from torch import nn

from mmstal_da.models.backbones import InceptionI3D
from mmstal_da.pretrained import sources as published
from mmstal_da.pretrained.checkpoint import make_checkpoint
from mmstal_da.pretrained.download import DownloadError, digest, from_url, verify
from mmstal_da.pretrained.i3d_from_flax import BRANCHES, from_flax
from mmstal_da.pretrained.resnet50_from_keras import from_keras
from mmstal_da.pretrained.sources import Source

BRANCH_OF = {new: old for old, new in BRANCHES.items()}


def flax_tree(net: InceptionI3D) -> dict:
    """The variables that a Flax I3D with this network's weights would have, nested by name."""
    params: dict = {}
    stats: dict = {}

    def put(tree, name, key, value):
        for part in name.split('/'):
            tree = tree.setdefault(part, {})
        tree[key] = value.detach().numpy().copy()

    for name, module in net.named_modules():
        if not name or not hasattr(module, 'conv3d'):
            continue
        parent, _, branch = name.partition('.')
        layer = 'Logits/Conv3d_0c_1x1' if name == 'logits' else parent
        layer += '/' + BRANCH_OF[branch] if branch else ''
        put(params, f'{layer}/Conv_0', 'kernel', module.conv3d.weight.permute(2, 3, 4, 1, 0))
        if name == 'logits':
            put(params, f'{layer}/Conv_0', 'bias', module.conv3d.bias)
            continue
        shape = (1, 1, 1, 1, -1)
        put(params, f'{layer}/BatchNorm_0', 'bias', module.bn.bias)
        put(stats, f'{layer}/BatchNorm_0', 'mean', module.bn.running_mean.reshape(shape))
        put(stats, f'{layer}/BatchNorm_0', 'var', module.bn.running_var.reshape(shape))
    return dict(params=params, batch_stats=stats)


@pytest.fixture(scope='module')
def i3d():
    """A narrow network with batch-norm values of its own."""
    torch.manual_seed(0)
    net = InceptionI3D(end_point='Logits', num_classes=5, width=0.1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.bias)
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net


def test_flax_variables_become_the_same_network(i3d):
    state = from_flax(flax_tree(i3d))
    expected = {k: v for k, v in i3d.state_dict().items() if 'num_batches' not in k}
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_an_unknown_layer_is_named(i3d):
    tree = flax_tree(i3d)
    tree['params']['Mixed_3b']['Branch_9'] = {
        'Conv3d_0a_1x1': {'Conv_0': {'kernel': np.zeros((1,) * 5, np.float32)}}
    }
    with pytest.raises(ValueError, match='Mixed_3b/Branch_9'):
        from_flax(tree)


def keras_layers(net: ResNet, fc: nn.Linear, rng: np.random.Generator) -> dict:
    """What Keras would store for this network, with biases and its own epsilon."""
    layers = {'fc1000': [fc.weight.detach().numpy().T, fc.bias.detach().numpy()]}
    modules = dict(net.named_modules())
    for name, module in modules.items():
        if not isinstance(module, nn.Conv2d):
            continue
        if name == 'conv1':
            old, norm_name, norm = 'conv1', 'bn_conv1', modules['bn1']
        else:
            stage, block, part, *_ = name.split('.')
            tail = '1' if part == 'downsample' else '2' + 'abc'[int(part[-1]) - 1]
            key = f'{int(stage[-1]) + 1}{"abcdef"[int(block)]}_branch{tail}'
            old, norm_name = f'res{key}', f'bn{key}'
            sibling = 'downsample.1' if part == 'downsample' else part.replace('conv', 'bn')
            norm = modules[f'{stage}.{block}.{sibling}']
        bias = rng.normal(size=module.out_channels).astype(np.float32)
        layers[old] = [module.weight.detach().permute(2, 3, 1, 0).numpy(), bias]
        layers[norm_name] = [
            norm.weight.detach().numpy(),
            norm.bias.detach().numpy(),
            norm.running_mean.numpy() + bias,
            norm.running_var.numpy() - np.float32(1e-3 - 1e-5),
        ]
    return layers


@pytest.fixture(scope='module')
def keras() -> tuple[ResNet, nn.Linear, dict]:
    """A narrow ResNet-50 with batch-norm values of its own, its classifier, and Keras' layers."""
    torch.manual_seed(0)
    net = ResNet(depth=50, style='caffe', stem_channels=8, base_channels=8)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    fc = nn.Linear(256, 1000)
    return net, fc, keras_layers(net, fc, np.random.default_rng(0))


def test_keras_layers_become_the_same_network(keras):
    net, fc, layers = keras
    state = from_keras(layers)
    expected = {k: v for k, v in net.state_dict().items() if 'num_batches' not in k}
    expected |= {'fc.weight': fc.weight, 'fc.bias': fc.bias}
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(state[key], value, rtol=1e-6, atol=1e-6, msg=key)


@pytest.mark.parametrize('epsilon_and_bias', [(1e-3, 0.3)])
def test_folding_keeps_the_function(epsilon_and_bias):
    """A Keras convolution with bias and batch norm, by its definition in NumPy."""
    eps, scale = epsilon_and_bias
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(7, 7, 3, 64)).astype(np.float32)
    bias, beta, mean = (scale * rng.normal(size=64).astype(np.float32) for _ in range(3))
    gamma, variance = (rng.uniform(0.5, 2, 64).astype(np.float32) for _ in range(2))
    state = from_keras({'conv1': [kernel, bias], 'bn_conv1': [gamma, beta, mean, variance]})
    patch = rng.normal(size=(7, 7, 3)).astype(np.float32)
    expected = (np.tensordot(patch, kernel, 3) + bias - mean) / np.sqrt(variance + eps)
    expected = expected * gamma + beta
    x = torch.from_numpy(patch).permute(2, 0, 1)[None]
    y = nn.functional.conv2d(x, state['conv1.weight'])
    y = nn.functional.batch_norm(
        y, state['bn1.running_mean'], state['bn1.running_var'], state['bn1.weight'],
        state['bn1.bias'], eps=1e-5,
    )  # fmt: skip
    np.testing.assert_allclose(y.flatten().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_checksums_are_those_of_the_tools(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'weights\n')
    git = subprocess.run(['git', 'hash-object', path], capture_output=True, text=True, check=True)
    assert digest(path, 'git') == git.stdout.strip()
    assert digest(path, 'sha256') == hashlib.sha256(b'weights\n').hexdigest()
    with pytest.raises(DownloadError, match='file: its md5 checksum is .*, not 0.*try again'):
        verify(path, 'md5:0')


def package(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, 'w:gz') as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def source_of(path: Path, read) -> Source:
    return Source(from_url, path.as_uri(), f'sha256:{digest(path, "sha256")}', read, 'MIT')


def test_a_pickle_with_code_is_refused_and_nothing_is_written(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / 'ran',)

    archive = package(
        tmp_path / 'p.tar.gz', {'p/weights/i3d-kinetics-400.ckpt': pickle.dumps(Evil())}
    )
    out = tmp_path / 'out.pth'
    with pytest.raises(ValueError, match='asks for'):
        make_checkpoint('i3d_kinetics400', source_of(archive, published.read_flax_package), out)
    assert not out.exists()
    assert not (tmp_path / 'ran').exists()


def test_a_network_of_another_size_is_refused(tmp_path, i3d):
    ckpt = pickle.dumps(flax_tree(i3d))
    archive = package(tmp_path / 'p.tar.gz', {'p/i3d-kinetics-400.ckpt': ckpt})
    out = tmp_path / 'out.pth'
    with pytest.raises(DownloadError, match='shape of Conv3d_1a_7x7.conv3d.weight'):
        make_checkpoint('i3d_kinetics400', source_of(archive, published.read_flax_package), out)
    assert not out.exists()


def test_a_changed_download_is_refused(tmp_path):
    archive = package(tmp_path / 'p.tar.gz', {'a': b'b'})
    source = source_of(archive, published.read_port)
    archive.write_bytes(archive.read_bytes()[:-3])
    with pytest.raises(DownloadError, match='nothing was kept'):
        make_checkpoint('i3d_kinetics400', source, tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def test_a_failed_download_says_what_else_to_do(tmp_path):
    with pytest.raises(DownloadError, match='nowhere.*--from-packages'):
        from_url((tmp_path / 'nowhere').as_uri(), 'md5:0', tmp_path)


@pytest.mark.slow
def test_the_port_s_file_needs_no_conversion(tmp_path):
    torch.manual_seed(0)
    state = InceptionI3D(end_point='Logits', num_classes=400).state_dict()
    file = tmp_path / 'rgb_imagenet.pt'
    torch.save(state, file, _use_new_zipfile_serialization=False)  # as PyTorch 0.3 wrote
    out = tmp_path / 'weights' / 'i3d.pth'
    assert make_checkpoint('i3d_kinetics400', source_of(file, published.read_port), out) == len(
        state
    )
    loaded = torch.load(out, weights_only=True)
    assert all(torch.equal(loaded['state_dict'][key], state[key]) for key in state)
    assert loaded['meta']['source'] == file.as_uri()


def test_a_tfjs_package_is_read_across_shards(tmp_path, keras):
    _, _, layers = keras
    weights, data = [], b''
    for name, arrays in layers.items():
        keys = ('gamma', 'beta', 'moving_mean', 'moving_variance')
        keys = keys if name.startswith('bn') else ('kernel', 'bias')
        for key, array in zip(keys, arrays, strict=True):
            weights.append(dict(name=f'{name}/{key}', shape=array.shape, dtype='float32'))
            data += np.ascontiguousarray(array).tobytes()
    cut = len(data) // 3 + 1  # inside a float
    model = dict(weightsManifest=[dict(paths=['s1.bin', 's2.bin'], weights=weights)])
    archive = package(
        tmp_path / 'p.tgz',
        {'package/R/model.json': json.dumps(model).encode(), 'package/R/s1.bin': data[:cut],
         'package/R/s2.bin': data[cut:]},
    )  # fmt: skip
    state, expected = published.read_tfjs_package(archive), from_keras(layers)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('h5py') is None, reason='h5py is not installed')
def test_keras_own_file_is_read(tmp_path, keras):
    import h5py

    _, _, layers = keras
    with h5py.File(tmp_path / 'r.h5', 'w') as file:
        for name, arrays in layers.items():
            group = file.create_group(name)
            names = [f'{name}_{i}:0' for i in range(len(arrays))]
            group.attrs['weight_names'] = np.array(names, dtype='S')
            for key, array in zip(names, arrays, strict=True):
                group[key] = array
        file.create_group('avg_pool').attrs['weight_names'] = np.array([], dtype='S1')
    state, expected = published.read_keras_file(tmp_path / 'r.h5'), from_keras(layers)
    assert all(torch.equal(state[key], expected[key]) for key in expected)
