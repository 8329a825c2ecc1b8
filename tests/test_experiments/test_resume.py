"""A table that is killed in the middle of a training, on the tiny synthetic pair."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_end_to_end import tiny_config

from mmstal_da.experiments.record import read_metrics
from mmstal_da.synthetic import PRESETS, generate
from tests.load_tool import run_tool

from .fake_table import ROOT, load_main

ITERS = 5
ROW = 't_img'  # of those with a module that is trained on both domains, the smallest


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """A row of the synthetic pair, narrower, on the tiny pair."""
    folder = tmp_path_factory.mktemp('resume')
    generate(folder / 'data', PRESETS['tiny'])
    (folder / 'tiny').mkdir()
    options = {'train_cfg.max_iters': ITERS, 'train_dataloader.batch_size': 1}
    cfg = tiny_config(folder / 'data', folder, ROW, **options)
    cfg.pop('work_dir')
    cfg.dump(folder / 'tiny' / f'{ROW}.py')
    return folder / 'tiny'


def kill_all_of(word: str) -> int:
    """``kill -9`` every process whose command line has a word that no other's has."""
    count = 0
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            if word.encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
                count += 1
        except (FileNotFoundError, ProcessLookupError):
            continue
    return count


def train_and_test(config: Path, folder: Path) -> dict:
    """Train and score a row in this process, in one go; returns the metrics."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a table: another number may sum in another order
    try:
        flags = ('--work-dir', folder, '--seed', '1', '--no-validate')
        run_tool('train', config, *flags)
        run_tool('test', config, folder / f'iter_{ITERS}.pth', '--work-dir', folder / 'test')
    finally:
        torch.set_num_threads(threads)
    return read_metrics(folder / 'test')


@pytest.mark.slow
def test_a_killed_run_ends_with_the_result_of_an_uninterrupted_one(pair, tmp_path, capsys):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    metrics = train_and_test(pair / f'{ROW}.py', whole)

    main = load_main()
    args = (pair, '--rows', ROW, '--seeds', 1, '--jobs', 1, '--out')
    argv = [sys.executable, str(ROOT / 'tools/run_table.py'), *map(str, args), str(killed)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    cell = killed / ROW / 'seed1'
    end = time.monotonic() + 600
    while not (cell / 'iter_2.pth').is_file():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.005)
    assert kill_all_of(str(killed)) >= 2  # the table and the training
    process.wait()
    assert not (cell / f'iter_{ITERS}.pth').exists() and not (cell / 'result.json').exists()

    capsys.readouterr()
    assert main(*args, killed, '--dry-run') == 0
    assert f'{ROW} seed 1  to resume from iteration' in capsys.readouterr().out
    assert main(*args, killed) == 0
    assert f'{ROW} seed 1 resumes from iter_' in capsys.readouterr().out

    result = json.loads((cell / 'result.json').read_text())
    assert {key: result['metrics'][key] for key in metrics} == metrics
    assert result['train']['starts'] == 2
    assert result['train']['cpu_s'] is None  # of a killed process nobody knows it
    states = [
        torch.load(folder / f'iter_{ITERS}.pth', weights_only=False)['state_dict']
        for folder in (whole, cell)
    ]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
