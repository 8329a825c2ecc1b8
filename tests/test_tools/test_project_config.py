"""A config of this project through MMAction2's own tool and through this project's."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mmstal_da.compat  # noqa: F401  (torch.load reads checkpoints of MMEngine)
from tests.load_tool import run_tool

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs' / 'synthetic' / 'full.py'
MMACTION_TOOLS = (
    Path(importlib.util.find_spec('mmaction').submodule_search_locations[0]) / '.mim' / 'tools'
)


def run(*command: str | Path) -> str:
    """Output of a command that must succeed, on one thread."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> str:
    """The smallest synthetic pair."""
    folder = tmp_path_factory.mktemp('synthetic') / 'tiny'
    run_tool('data/make_synthetic', '--preset', 'tiny', '--out', folder)
    return f'{folder}/'


def options(root: str, *train_parts: str) -> list[str]:
    """``--cfg-options`` for 2 iterations on it."""
    return [
        'train_cfg.max_iters=2',
        'train_dataloader.batch_size=1',
        *(f'train_dataloader.dataset.{part}.data_root={root}' for part in train_parts),
        f'test_dataloader.dataset.data_root={root}',
        f'test_evaluator.ann_file={root}target.json',
        *(f'{name}_dataloader.num_workers=0' for name in ('train', 'test')),
        *(f'{name}_dataloader.persistent_workers=False' for name in ('train', 'test')),
    ]


def test_both_tools_run_it(tmp_path, data):
    changes = options(data, 'source', 'target')
    arguments = [CONFIG, '--work-dir', tmp_path, '--no-validate', '--cfg-options', *changes]
    run(sys.executable, MMACTION_TOOLS / 'train.py', *arguments)
    assert torch.load(tmp_path / 'iter_2.pth')['meta']['iter'] == 2

    output = run_tool(
        *('train', CONFIG, '--resume', '--amp', '--no-validate'),
        *('--work-dir', tmp_path, '--cfg-options', *changes, 'train_cfg.max_iters=3'),
    )
    assert 'resumed epoch: 0, iter: 2' in output
    assert torch.load(tmp_path / 'iter_3.pth')['meta']['iter'] == 3

    output = run_tool(
        *('test', CONFIG, tmp_path / 'iter_3.pth'),
        *('--show-dir', tmp_path / 'shown', '--interval', '20'),
        *('--work-dir', tmp_path / 'test', '--cfg-options', *changes),
    )
    assert 'frame_mAP@0.5' in output
    assert len(list(tmp_path.glob('shown/**/*.png'))) >= 2


def test_ava_style_rows_train_and_test_in_bfloat16(tmp_path, data):
    """As their schedule asks for, without a flag."""
    config = ROOT / 'configs/synthetic_a/slowonly_gt.py'
    classes = "('pull','push','squat','wave')"  # of the smallest pair
    changes = options(data, 'source')
    for part in ('train_dataloader.dataset.source', 'test_dataloader.dataset', 'test_evaluator'):
        changes.append(f'{part}.classes={classes}')
    run_tool(
        *('train', config, '--work-dir', tmp_path),
        *('--no-validate', '--cfg-options', *changes),
    )
    output = run_tool(
        *('test', config, tmp_path / 'iter_2.pth'),
        *('--work-dir', tmp_path / 'test', '--cfg-options', *changes),
    )
    assert 'frame_mAP@0.5' in output
