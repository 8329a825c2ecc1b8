"""A config of MMAction2, as its wheel ships it, through the tools."""

import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mmstal_da.compat  # noqa: F401  (torch.load reads checkpoints of MMEngine)
from tests.load_tool import run_tool

pytestmark = pytest.mark.slow

TOOLS = Path(__file__).parents[2] / 'tools'


def run(*command: str | Path, **environment: str) -> str:
    """Output of a command that must succeed, on one thread."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, 'OMP_NUM_THREADS': '1', **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def losses(work_dir: Path) -> list[float]:
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    lines = map(json.loads, log.read_text().splitlines())
    return [line['loss'] for line in lines if 'loss' in line]


@pytest.fixture(scope='module')
def trained(tmp_path_factory, stock_config, stock_options) -> Path:
    """The work dir of two iterations, seeded, in bfloat16 where there is no GPU."""
    work_dir = tmp_path_factory.mktemp('trained')
    flags = ['--amp', '--seed', '1', '--work-dir', work_dir, '--auto-scale-lr']
    output = run(
        sys.executable, TOOLS / 'train.py', stock_config, *flags, '--cfg-options', *stock_options
    )
    assert 'Scaling the original LR by 0.0078125.' in output  # 2 / 256
    assert 'RoIAlign and NMS: ' in output and 'RoIAlign and NMS: do not run' not in output
    assert 'mmstal_da: ' in output
    return work_dir


def test_trains(trained):
    assert len(losses(trained)) == 2
    assert (trained / 'epoch_1.pth').is_file()


def test_resumes_and_seed_repeats_the_run(trained, tmp_path, stock_config, stock_options):
    """Same seed, same losses; then one more epoch from the checkpoint, in a new process."""
    arguments = [sys.executable, TOOLS / 'train.py', stock_config, '--work-dir', tmp_path]
    arguments += ['--amp', '--seed', '1', '--no-validate']
    options = ['--cfg-options', *stock_options, 'optim_wrapper.optimizer.lr=0.000078125']
    run(*arguments, *options)
    assert losses(tmp_path) == losses(trained)

    output = run(*arguments, '--resume', *options, 'train_cfg.max_epochs=2')
    assert 'resumed epoch: 1, iter: 2' in output
    assert torch.load(tmp_path / 'epoch_2.pth')['meta']['iter'] == 4


def test_tests_and_dumps(trained, tmp_path, stock_config, stock_options):
    output = run_tool(
        *('test', stock_config, trained / 'epoch_1.pth'),
        *('--work-dir', tmp_path, '--dump', tmp_path / 'scores.pkl'),
        *('--cfg-options', *stock_options),
    )
    assert 'acc/top1' in output
    predictions = pickle.loads((tmp_path / 'scores.pkl').read_bytes())
    assert len(predictions) == 4


def test_two_processes(tmp_path, stock_config, stock_options):
    """Two processes see each video once between them: one iteration each."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = str(server.getsockname()[1])  # a free one
    run(
        *('bash', TOOLS / 'dist_train.sh', stock_config, '2', '--work-dir', tmp_path),
        *('--seed', '1', '--no-validate', '--cfg-options', *stock_options),
        PORT=port,
        PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
    )
    assert torch.load(tmp_path / 'epoch_1.pth')['meta']['iter'] == 1
