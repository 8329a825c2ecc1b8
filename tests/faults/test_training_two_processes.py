"""Two processes that are killed resume to the same weights; none waits for one that is gone."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel

from mmstal_da.experiments.scheduling import free_port
from tests.faults import forked
from tests.faults.tiny_pair import ROOT, environment
from tests.faults.tiny_training import MAX_ITERS, assert_same, final_weights, make, progress
from tests.tiny_runner import LinearModel

KILLS = 3  # of the first, of the second, of both


def work(rank: int, store: Path, folder: Path) -> None:
    """One of two processes; each keeps the weights that it has in the end."""
    torch.set_num_threads(1)
    os.chdir(folder.parent)  # in which MMEngine collects results, and killed processes leave them
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    torch.manual_seed(0)
    runner = make(folder, model=MMDistributedDataParallel(LinearModel()))
    runner.train()
    torch.save(runner.model.module.state_dict(), folder / f'of_{rank}.pt')
    dist.barrier()


def start_both(folder: Path) -> list:
    store = folder.with_name(f'store_{time.monotonic_ns()}')
    log = folder.with_name(f'{folder.name}.log')
    return [forked.start(work, rank, store, folder, log=log) for rank in range(2)]


def trained(folder: Path) -> dict[str, torch.Tensor]:
    """The weights after the last iteration, which are those of both processes."""
    log = folder.with_name(f'{folder.name}.log')
    assert [forked.wait(process) for process in start_both(folder)] == [0, 0], log.read_text()
    weights = final_weights(folder)
    for rank in range(2):
        assert_same(torch.load(folder / f'of_{rank}.pt'), weights)
    return weights


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> dict[str, torch.Tensor]:
    """Weights of an uninterrupted training in two processes."""
    return trained(tmp_path_factory.mktemp('two') / 'whole')


@pytest.mark.slow
@pytest.mark.parametrize('victims', [(0,), (1,), (0, 1)])
def test_killed_processes_resume_to_the_same_weights(victims, whole, tmp_path):
    """If one is killed, the other ends by itself."""
    folder, rng, killed = tmp_path / 'run', random.Random(len(victims)), 0
    while killed < KILLS:
        pair, before = start_both(folder), progress(folder)
        forked.until(lambda p=pair, n=before: progress(folder) > n + 2 or not p[0].is_alive())
        time.sleep(rng.uniform(0, 0.03))
        for rank in victims:
            forked.kill(pair[rank])
        codes = [forked.wait(process) for process in pair]
        if codes[victims[0]] == 0:  # it was at its end: begin again
            shutil.rmtree(folder)
            continue
        killed += 1
        assert codes == [-signal.SIGKILL if rank in victims else 1 for rank in range(2)]
        torch.load((folder / 'last_checkpoint').read_text())  # whole
    assert 0 < progress(folder) < MAX_ITERS
    assert_same(trained(folder), whole)
    assert not list(folder.glob('.*.tmp'))


def start_tools(config: Path, folder: Path, iters: int, *flags: str) -> list[subprocess.Popen]:
    """Two processes of ``train.py``, as a launcher starts them that does not watch them."""
    ways = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()))
    argv = [sys.executable, str(ROOT / 'tools/train.py'), str(config), '--work-dir', str(folder)]
    argv += ['--no-validate', '--launcher', 'pytorch', *flags]
    argv += ['--cfg-options', f'train_cfg.max_iters={iters}']
    pair = []
    for rank in map(str, range(2)):
        with open(folder.with_name(f'{folder.name}_{rank}.log'), 'a') as log:
            env = environment(**ways, RANK=rank, LOCAL_RANK=rank)
            pair.append(subprocess.Popen(argv, env=env, cwd=ROOT, stdout=log, stderr=log))
    return pair


def said(folder: Path) -> str:
    """The ends of what both have said."""
    logs = sorted(folder.parent.glob(f'{folder.name}_?.log'))
    return '\n'.join(log.read_text()[-2000:] for log in logs)


@pytest.mark.slow
def test_a_process_of_the_real_tool_that_is_killed(rows, tmp_path):
    """The first one, through which the other found it."""
    config, run = rows / 'source_only.py', tmp_path / 'run'
    pair = start_tools(config, run, 500)
    try:
        forked.until(lambda: progress(run) > 1 or any(p.poll() is not None for p in pair))
        assert [process.poll() for process in pair] == [None, None], said(run)
        pair[0].kill()
        assert [process.wait(900) for process in pair] == [-signal.SIGKILL, 1], said(run)
    finally:
        for process in pair:
            process.kill()
    last = progress(run)
    for folder, flags in ((run, ['--resume']), (tmp_path / 'whole', [])):
        pair = start_tools(config, folder, last + 1, *flags)
        assert [process.wait(900) for process in pair] == [0, 0], said(folder)
    assert_same(final_weights(run, last + 1), final_weights(tmp_path / 'whole', last + 1))
