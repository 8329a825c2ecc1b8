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

from mmstal_da.synthetic import PRESETS, generate

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


@pytest.mark.slow
def test_a_killed_run_ends_with_the_result_of_an_uninterrupted_one(pair, tmp_path, capsys):
    main = load_main()
    args = (pair, '--rows', ROW, '--seeds', 1, '--jobs', 1, '--out')
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    assert main(*args, whole) == 0

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

    results = [json.loads((out / ROW / 'seed1/result.json').read_text()) for out in (whole, killed)]
    assert results[0]['metrics'] == results[1]['metrics']
    assert results[0]['config_sha256'] == results[1]['config_sha256']
    assert [result['train']['starts'] for result in results] == [1, 2]
    assert results[1]['train']['cpu_s'] is None  # of a killed process nobody knows it
    states = [
        torch.load(out / ROW / f'seed1/iter_{ITERS}.pth', weights_only=False)['state_dict']
        for out in (whole, killed)
    ]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
