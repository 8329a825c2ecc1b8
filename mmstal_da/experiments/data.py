"""Which data a run saw: digests of the annotation files that its config names."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from mmengine.config import Config

from mmstal_da.synthetic.generate import MANIFEST


def digest_data(cfg: Config) -> dict[str, str]:
    """SHA-256 of the annotation files that training and scoring read, as far as they exist.

    The videos of a synthetic pair are a function of the manifest beside its annotation files, so
    this counts too; other videos are not looked at.

    Returns:
        Path as the config has it -> digest.
    """
    parts = (cfg.get(key) for key in ('train_dataloader', 'test_dataloader', 'test_evaluator'))
    named = sorted({path for part in parts for path in _annotation_files(part)})
    files = dict.fromkeys(path for name in named for path in (name, name.parent / MANIFEST))
    return {path.as_posix(): digest_file(path) for path in files if path.is_file()}


def data_changed(recorded: Mapping[str, str]) -> list[str]:
    """Of recorded files those that are another one now; files that are not here do not count."""
    paths = ((name, Path(name)) for name in recorded)
    return [name for name, p in paths if p.is_file() and digest_file(p) != recorded[name]]


def _annotation_files(value) -> Iterator[Path]:
    """All ``ann_file`` within a part of a config, with the ``data_root`` beside them."""
    if isinstance(value, Mapping):
        if isinstance(value.get('ann_file'), str):
            yield Path(value.get('data_root') or '', value['ann_file'])
        for item in value.values():
            yield from _annotation_files(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _annotation_files(item)


def digest_file(path: Path) -> str:
    """SHA-256 of a file, which is read once as long as it is not touched."""
    stat = path.stat()
    return _digest_of(path.resolve(), stat.st_mtime_ns, stat.st_size)


@lru_cache
def _digest_of(path: Path, mtime_ns: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
