"""``dump_proposals.py`` that is killed: the old file or the whole new one, and no process stays."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmstal_da.datasets.proposals import ProposalFile
from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS
from tests.faults import forked, tiny_pair
from tests.load_tool import load_tool

KILLS = 12
OLD = b'what was there before'


@pytest.fixture(scope='module')
def case(rows, tmp_path_factory) -> list[str]:
    """Arguments of the tool: a config, and a checkpoint of random weights."""
    register_all_modules()
    config = rows / 'source_only.py'
    detector = MODELS.build(Config.fromfile(config, import_custom_modules=False).model)
    checkpoint = tmp_path_factory.mktemp('detector') / 'iter_1.pth'
    torch.save(dict(state_dict=detector.state_dict()), checkpoint)
    return [str(config), str(checkpoint), '--max-per-frame', '9', '--workers', '1', '--out']


def dump(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    return load_tool('data/dump_proposals').main(arguments)


def unfinished(out: Path) -> set[Path]:
    """Temporary files of ``out``: one is being written, others were left by killed processes."""
    return set(out.parent.glob(f'.{out.name}.*.tmp'))


def make_old(path: Path) -> None:
    """As if what lies there had been left long ago."""
    os.utime(path, (0, 0))


@pytest.mark.slow
def test_killed_at_several_random_moments(case, tmp_path):
    """A fork of this process, which needs no imports, runs the whole tool."""
    out, log, rng = tmp_path / 'out' / 'p.npz', tmp_path / 'log', random.Random(0)
    began = time.monotonic()
    assert forked.wait(forked.start(dump, [*case, str(out)], log=log)) == 0, log.read_text()
    seconds, expected, killed = time.monotonic() - began, out.read_bytes(), 0
    for part in ('train', 'test'):
        ProposalFile(out, part)
    for number in range(KILLS):
        out.unlink(missing_ok=True)
        if number % 2:
            out.write_bytes(OLD)
        for path in out.parent.iterdir():
            make_old(path)
        left = unfinished(out)
        process = forked.start(dump, [*case, str(out)], log=log)
        if number % 3:  # at any moment
            time.sleep(rng.uniform(0, seconds))
        else:
            forked.until(lambda p=process, n=left: unfinished(out) - n or not p.is_alive())
            time.sleep(rng.uniform(0, 0.003))
        forked.kill(process)
        killed += forked.wait(process) == -signal.SIGKILL
        allowed = [expected, OLD if number % 2 else None]
        assert (out.read_bytes() if out.exists() else None) in allowed
        forked.until(lambda p=process: not forked.alive_in_session(p.pid))  # its workers
    assert killed > KILLS / 2
    for path in out.parent.iterdir():
        make_old(path)
    assert forked.wait(forked.start(dump, [*case, str(out)], log=log)) == 0, log.read_text()
    assert out.read_bytes() == expected
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.slow
def test_the_tool_itself_is_killed_while_it_writes(case, tmp_path):
    out = tmp_path / 'p.npz'
    process = tiny_pair.start('data/dump_proposals', *case, out)
    forked.until(lambda: unfinished(out) or process.poll() is not None)
    os.kill(process.pid, signal.SIGKILL)
    _, said = process.communicate(timeout=900)
    assert process.returncode in (-signal.SIGKILL, 0), said
    forked.until(lambda: not forked.alive_in_session(process.pid))
    assert not out.exists() or ProposalFile(out, 'train')
    for path in tmp_path.iterdir():
        make_old(path)
    ended = tiny_pair.run('data/dump_proposals', *case, out)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ProposalFile(out, 'test').meta['checkpoint'] == case[1]
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
