"""What a result depends on, as digests: the config with its options, and the annotation files."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mmengine.config import Config

from mmstal_da.synthetic.generate import MANIFEST

# what a result depends on; not, for instance, how often a run logs
RESULT_KEYS = (
    *('model', 'data_preprocessor', 'model_wrapper_cfg', 'load_from'),
    *('train_dataloader', 'test_dataloader', 'test_evaluator', 'train_cfg', 'test_cfg'),
    *('optim_wrapper', 'param_scheduler', 'auto_scale_lr', 'default_hooks', 'custom_hooks'),
    *('env_cfg', 'randomness', 'default_scope', 'custom_imports', 'runner_type'),
    *('proposals_from', 'pseudo_tubes_from', 'pseudo_boxes_from'),  # the tables' own, see products
)
# parts of these that leave the result as it is; the seed is the cell's own
IGNORED = {
    'default_hooks': ('logger', 'checkpoint', 'timer', 'visualization', 'finite'),
    'train_cfg': ('val_interval', 'val_begin'),
    'randomness': ('seed',),
}


@dataclass(frozen=True)
class Settings:
    """What all runs of a table have in common and their results depend on.

    Attributes:
        cfg_options: ``('optim_wrapper.optimizer.lr=0.1', ...)``, as on the command line.
        amp: Mixed precision.
        processes: Processes (GPUs) per run; they multiply the batch.
    """

    cfg_options: tuple[str, ...] = ()
    amp: bool = False
    processes: int = 1

    def to_dict(self) -> dict:
        """The settings as JSON knows them."""
        options = list(self.cfg_options)
        return {'cfg_options': options, 'amp': self.amp, 'processes': self.processes}


def digest_config(cfg: Config, settings: Settings) -> str:
    """SHA-256 of all that a result depends on: the resolved config, precision, processes.

    Left out: how often a run logs, saves or validates, where it writes, and the seed. Comments
    and the way a config inherits do not count either.
    """
    values = {key: value for key, value in cfg.to_dict().items() if key in RESULT_KEYS}
    for key, parts in IGNORED.items():
        if isinstance(values.get(key), dict):
            values[key] = {k: v for k, v in values[key].items() if k not in parts}
    content = {'config': values, 'amp': settings.amp, 'processes': settings.processes}
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_data(cfg: Config) -> dict[str, str]:
    """SHA-256 of the annotation files that training and scoring read, as far as they exist.

    The videos of a synthetic pair are a function of the manifest in the annotations' folder, so
    this file counts too. Other videos are not read.

    Returns:
        Path as the config has it -> digest.
    """
    parts = (cfg.get(key) for key in ('train_dataloader', 'test_dataloader', 'test_evaluator'))
    named = sorted({path for part in parts for path in _annotation_files(part)})
    files = dict.fromkeys(path for name in named for path in (name, name.parent / MANIFEST))
    return {path.as_posix(): digest_file(path) for path in files if path.is_file()}


def data_changed(recorded: Mapping[str, str]) -> bool:
    """Whether a recorded file is another one now; files that are not here do not count."""
    files = ((Path(name), digest) for name, digest in recorded.items())
    return any(path.is_file() and digest_file(path) != digest for path, digest in files)


def _annotation_files(value) -> Iterator[Path]:
    """All ``ann_file`` within a part of a config, each with its ``data_root``."""
    if isinstance(value, Mapping):
        if isinstance(value.get('ann_file'), str):
            yield Path(value.get('data_root') or '', value['ann_file'])
        for item in value.values():
            yield from _annotation_files(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _annotation_files(item)


def digest_file(path: Path) -> str:
    """SHA-256 of a file. It is read again only if its time or size has changed."""
    stat = path.stat()
    return _digest_of(path.resolve(), stat.st_mtime_ns, stat.st_size)


@lru_cache
def _digest_of(path: Path, mtime_ns: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
