"""Makes a checkpoint that the configs load from a published file."""

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
    """State dict of the network to which the weights of that name belong."""
    with contextlib.redirect_stdout(io.StringIO()):
        if name == 'i3d_kinetics400':
            return InceptionI3D(end_point='Logits', num_classes=400).state_dict()
        state = ResNet(depth=50, style='caffe').state_dict()
    classifier = torch.nn.Linear(2048, 1000).state_dict()
    return state | {f'fc.{key}': value for key, value in classifier.items()}


def make_checkpoint(name: str, source: Source, out: Path, file: Path | None = None) -> int:
    """Get a published file, check it, convert it and write the checkpoint.

    Args:
        name: ``'i3d_kinetics400'`` or ``'resnet50_imagenet'``.
        source: Where it comes from.
        out: The checkpoint: ``state_dict`` and, under ``meta``, its origin. Written completely or
            not at all.
        file: The published file, if it was downloaded already.

    Returns:
        Number of tensors.

    Raises:
        DownloadError: The file is not available, is another file, or does not fit the network.
    """
    with tempfile.TemporaryDirectory() as folder:
        if file is None:
            file = source.fetch(source.address, source.checksum, Path(folder))
        else:
            verify(file, source.checksum)
            link = Path(folder, file.name)  # the archive is unpacked next to it
            link.symlink_to(file.resolve())
            file = link
        state = source.read(file)
        problems = compare_state(state, reference_state(name))
        if problems:
            raise DownloadError(
                f'{source.address} does not fit {name}:\n  ' + '\n  '.join(problems)
            )
        meta = dict(source=source.address, checksum=source.checksum, licence=source.licence)
        with atomic_write(out, 'wb') as stream:
            torch.save(dict(state_dict=state, meta=meta), stream)
    return len(state)
