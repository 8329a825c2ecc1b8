"""From a published file to a checkpoint that the configs load."""

import contextlib
import io
import tempfile
from pathlib import Path

import torch
from mmdet.models import ResNet
from torch import Tensor

from mmstal_da.models.backbones import InceptionI3D
from mmstal_da.pretrained.strict import compare_state
from mmstal_da.utils import atomic_write

from .download import DownloadError, verify
from .sources import Source


def reference_state(name: str) -> dict[str, Tensor]:
    """State dict of the network the weights of that name belong to."""
    with contextlib.redirect_stdout(io.StringIO()):
        if name == 'i3d_kinetics400':
            return InceptionI3D(end_point='Logits', num_classes=400).state_dict()
        state = ResNet(depth=50, style='caffe').state_dict()
    classifier = torch.nn.Linear(2048, 1000).state_dict()
    return state | {f'fc.{key}': value for key, value in classifier.items()}


def make_checkpoint(name: str, source: Source, out: Path, file: Path | None = None) -> int:
    """Bring a published file, check it, convert it and write the checkpoint.

    Args:
        name: ``'i3d_kinetics400'`` or ``'resnet50_imagenet'``.
        source: Where it comes from.
        out: The checkpoint: ``state_dict`` and, under ``meta``, its origin. Written whole or not
            at all.
        file: The published file, if it is already here.

    Returns:
        Number of tensors.

    Raises:
        DownloadError: The file cannot be had, is another one, or does not fill the network.
    """
    with tempfile.TemporaryDirectory() as folder:
        if file is None:
            file = source.fetch(source.address, source.checksum, Path(folder))
        else:
            verify(file, source.checksum)
            link = Path(folder, file.name)  # what is unpacked goes beside it
            link.symlink_to(file.resolve())
            file = link
        state = source.read(file)
        problems = compare_state(state, reference_state(name))
        if problems:
            raise DownloadError(
                f'{source.address} does not fill {name}:\n  ' + '\n  '.join(problems)
            )
        meta = dict(source=source.address, checksum=source.checksum, licence=source.licence)
        with atomic_write(out, 'wb') as stream:
            torch.save(dict(state_dict=state, meta=meta), stream)
    return len(state)
