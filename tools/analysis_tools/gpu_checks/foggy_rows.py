"""Steps ``foggy_<row>``: train a row of ``jhmdb_to_foggy`` from pretrained weights and score it.

``tools/train.py`` and ``tools/test.py`` do this, with the row's own schedule and precision, seed 0.
The last checkpoint is scored on all frames of the target's test videos.
"""

import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config

from mmstal_da.experiments.record import read_metrics

from .context import Context, cores
from .jhmdb import locate, require_weights
from .plan import PAIR, PREFIX, find_row

SEED = 0


def run(name: str, context: Context) -> None:
    """Train (or continue a stopped training) and score.

    Raises:
        NotPossible: Data or weights are missing.
        CalledProcessError: A tool failed; its log says why.
        RuntimeError: The training diverged.
    """
    require_weights()
    config_name, config = find_row(name.removeprefix(PREFIX))
    folder = context.work / name
    folder.mkdir(parents=True, exist_ok=True)
    config = locate(config, context.work)
    path = folder / f'{config_name}.py'
    config.dump(path)
    result = dict(
        pair=PAIR,
        row=config_name,
        seed=SEED,
        iterations=2 if context.tiny else config.train_cfg.max_iters,
        precision=config.optim_wrapper.type,
        clip=dict(config.test_dataloader.dataset.pipeline[0]),
        clips_per_domain=config.train_dataloader.batch_size,
    )
    start = time.monotonic()
    train = ['train.py', str(path), '--work-dir', str(folder / 'train'), '--seed', str(SEED)]
    call(*train, '--no-validate', '--resume', '--cfg-options', *train_options(config, context))
    result['train'] = {'seconds': since(start), **read_log(folder / 'train')}
    context.save(name, result)
    if not math.isfinite(result['train'].get('last', {}).get('loss', 0.0)):
        raise RuntimeError('the last loss of the training is not finite: nothing to score')

    start = time.monotonic()
    shutil.rmtree(folder / 'test', ignore_errors=True)
    checkpoint = Path((folder / 'train' / 'last_checkpoint').read_text().strip())
    test = ['test.py', str(path), str(checkpoint), '--work-dir', str(folder / 'test')]
    call(*test, '--cfg-options', *test_options(config, context))
    result['test'] = dict(seconds=since(start), checkpoint=checkpoint.name)
    result['metrics'] = read_metrics(folder / 'test')
    context.save(name, result)


def train_options(config: Config, context: Context) -> list[str]:
    """Options of the training: all cores decode, and a checkpoint is written about every minute."""
    if context.tiny:
        return ['train_cfg.max_iters=2', 'default_hooks.logger.interval=1']
    return [f'train_dataloader.num_workers={cores()}', 'default_hooks.checkpoint.interval=500']


def test_options(config: Config, context: Context) -> list[str]:
    """Options of the test; in a trial of two iterations only one frame of every video."""
    if context.tiny:
        return ['test_dataloader.dataset.key_frame_stride=1000']
    return [f'test_dataloader.num_workers={cores()}']


def call(tool: str, *arguments: str) -> None:
    """Run a tool of this project; its output joins the step's log."""
    subprocess.run([sys.executable, f'tools/{tool}', *arguments], check=True)


def since(start: float) -> float:
    """Seconds."""
    return round(time.monotonic() - start, 1)


def read_log(folder: Path) -> dict:
    """The log of a training, over all its starts.

    Returns:
        ``seconds_per_iteration`` and ``of_it_loading`` (medians of the logged means),
        ``peak_mib`` (None on a CPU) and ``last``: the losses logged last.
    """
    lines = []
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        lines += [json.loads(line) for line in file.read_text().splitlines()]
    lines = [line for line in lines if 'loss' in line]
    if not lines:
        return {}
    losses = {k: v for k, v in lines[-1].items() if k.startswith(('loss', 'acc', 'da_'))}
    return dict(
        seconds_per_iteration=statistics.median(line['time'] for line in lines),
        of_it_loading=statistics.median(line['data_time'] for line in lines),
        peak_mib=max((line['memory'] for line in lines if 'memory' in line), default=None),
        last=losses,
    )
