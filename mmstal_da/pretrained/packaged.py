"""Small weights that travel in the package, named ``mmstal_da://<name>`` in configs.

They lie in ``weights/`` in half precision. ``weights/SHA256SUMS`` has their checksums.
"""

import hashlib
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader

from mmstal_da.errors import UsageError
from mmstal_da.utils.io import atomic_write

PREFIX = 'mmstal_da://'
WEIGHTS = Path(__file__).with_name('weights')
LIST = 'SHA256SUMS'
LIMIT = 4 << 20  # bytes of a file


def packaged_file(address: str) -> Path:
    """The file of ``mmstal_da://<name>``.

    Raises:
        FileNotFoundError: There are no such weights; the message lists those that there are.
    """
    path = WEIGHTS / f'{address.removeprefix(PREFIX)}.pth'
    if not path.is_file():
        known = ', '.join(sorted(PREFIX + file.stem for file in WEIGHTS.glob('*.pth'))) or 'none'
        raise FileNotFoundError(f'the package has no {address}; it has {known}')
    return path


@CheckpointLoader.register_scheme(prefixes=PREFIX, force=True)
def load_packaged(filename: str, map_location: str | None = None) -> dict[str, Any]:
    """Load weights of the package; MMEngine's loader calls this.

    Args:
        filename: ``mmstal_da://<name>``.
        map_location: As :func:`torch.load`.

    Returns:
        ``state_dict`` in float32, and ``meta``.

    Raises:
        FileNotFoundError: There are no such weights.
        UsageError: The file is not the one that was published.
    """
    path = packaged_file(filename)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != _checksums().get(path.name):
        raise UsageError(f'{path} is damaged: its SHA-256 is not the one in {LIST}; install again')
    loaded = torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
    loaded['state_dict'] = {
        key: value.float() if value.is_floating_point() else value
        for key, value in loaded['state_dict'].items()
    }
    return loaded


def publish_weights(
    checkpoint: str | os.PathLike[str],
    name: str,
    prefixes: Sequence[str] = ('',),
    folder: Path = WEIGHTS,
) -> Path:
    """Make a file of the package from a checkpoint of ``tools/train.py``.

    Args:
        checkpoint: Where the weights come from.
        name: Of ``mmstal_da://<name>``.
        prefixes: Only keys that begin with one of these are kept.
        folder: Where the file and the list of checksums lie.

    Returns:
        The file. ``meta`` keeps the config without its ``work_dir``, the classes and the number of
        iterations.

    Raises:
        UsageError: A prefix matches nothing, a value overflows half precision, or the file would
            be too large.
    """
    loaded = torch.load(checkpoint, map_location='cpu', weights_only=False)
    state = loaded['state_dict']
    for prefix in prefixes:
        if not any(key.startswith(prefix) for key in state):
            raise UsageError(f'{checkpoint} has no key that begins with {prefix!r}')
    kept = {}
    for key, value in state.items():
        if key.startswith(tuple(prefixes)):
            half = value.half() if value.is_floating_point() else value
            if not torch.isfinite(half).all():
                raise UsageError(f'{checkpoint}: {key} does not fit into half precision')
            kept[key] = half.clone()
    meta = loaded.get('meta', {})
    kept_meta = {key: meta[key] for key in ('cfg', 'iter', 'seed') if key in meta}
    if 'cfg' in meta:  # whose folder it was is nobody's business
        kept_meta['cfg'] = re.sub(r'^work_dir = .*\n', '', meta['cfg'], flags=re.MULTILINE)
    classes = (meta.get('dataset_meta') or {}).get('classes')
    if classes:
        kept_meta['dataset_meta'] = dict(classes=tuple(classes))
    buffer = io.BytesIO()
    torch.save(dict(state_dict=kept, meta=kept_meta), buffer)
    content = buffer.getvalue()
    if len(content) > LIMIT:
        raise UsageError(
            f'{name} would have {len(content) / 2**20:.1f} MiB; the limit is {LIMIT >> 20}'
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{name}.pth'
    with atomic_write(path, 'wb') as file:
        file.write(content)
    sums = {**_checksums(folder), path.name: hashlib.sha256(content).hexdigest()}
    with atomic_write(folder / LIST) as file:
        file.write(''.join(f'{sums[key]}  {key}\n' for key in sorted(sums)))
    return path


def _checksums(folder: Path = WEIGHTS) -> dict[str, str]:
    """File name -> SHA-256, as ``sha256sum`` writes it."""
    path = folder / LIST
    if not path.is_file():
        return {}
    pairs = (line.split() for line in path.read_text().splitlines() if line.strip())
    return {name: digest for digest, name in pairs}
