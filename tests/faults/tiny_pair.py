"""The smallest pair and rows on it, as files: for tools that run in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from mmengine.config import Config

from mmstal_da.synthetic import PRESETS, generate
from tests.model_builders import FROM_RANDOM_WEIGHTS, TINY

ROOT = Path(__file__).resolve().parents[2]


def make_rows(folder: Path, *rows: str) -> Path:
    """A folder of configs: rows of ``configs/synthetic``, much smaller, on the smallest pair.

    Returns:
        The folder; ``<row>.py`` in it are the configs.
    """
    generate(folder / 'data', PRESETS['tiny'])
    configs = folder / 'configs'
    configs.mkdir()
    changes = {
        **{f'model.{key}': value for key, value in (TINY | FROM_RANDOM_WEIGHTS).items()},
        'model.roi_head.bbox_head.num_classes': 4,
        'train_dataloader.batch_size': 1,
        'train_cfg.max_iters': 4,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': 1,
        'log_processor.window_size': 1,
        'train_dataloader.dataset.source.data_root': f'{folder}/data/',
        'train_dataloader.dataset.target.data_root': f'{folder}/data/',
    }
    for part in ('val', 'test'):
        changes[f'{part}_dataloader.dataset.data_root'] = f'{folder}/data/'
        changes[f'{part}_evaluator.ann_file'] = f'{folder}/data/target.json'
    for part in ('train', 'val', 'test'):
        changes[f'{part}_dataloader.num_workers'] = 0
        changes[f'{part}_dataloader.persistent_workers'] = False
    for row in rows:
        cfg = Config.fromfile(ROOT / f'configs/synthetic/{row}.py', import_custom_modules=False)
        cfg.merge_from_dict(changes)
        cfg.dump(configs / f'{row}.py')
    return configs


def environment(**changes: str) -> dict[str, str]:
    """That of a tool: this checkout, one thread."""
    return {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', **changes}


def start(tool: str, *arguments: str | Path, **env: str) -> subprocess.Popen:
    """``tools/<tool>.py`` in a process and session of its own."""
    return subprocess.Popen(
        [sys.executable, '-u', str(ROOT / f'tools/{tool}.py'), *map(str, arguments)],
        cwd=ROOT,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(tool: str, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess:
    """The same, to its end."""
    process = start(tool, *arguments, **env)
    out, err = process.communicate(timeout=900)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
