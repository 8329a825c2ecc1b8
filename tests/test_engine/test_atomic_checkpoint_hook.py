"""A run that is interrupted at any moment of saving leaves something to resume from."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmstal_da.engine.atomic_backend import AtomicLocalBackend
from mmstal_da.registry import HOOKS
from tests.tiny_runner import make_runner

HOOK = dict(type='mmstal_da.AtomicCheckpointHook', max_keep_ckpts=1)


class Killed(BaseException):
    """Stands for the process's end: nothing catches it."""


def die_at(call: int, monkeypatch, method: str = 'put'):
    """Let the ``call``-th call of the backend's method write half of its data and die."""
    calls = []
    whole = getattr(AtomicLocalBackend, method)

    def put(self, obj, filepath):
        calls.append(filepath)
        if len(calls) == call:
            temporary = Path(filepath).parent / f'.{Path(filepath).name}.abc.tmp'
            temporary.write_bytes(obj[: len(obj) // 2])
            raise Killed
        whole(self, obj, filepath)

    monkeypatch.setattr(AtomicLocalBackend, method, put)
    return calls


def resumable(work_dir: Path) -> int:
    """The iteration that a resumed run starts from."""
    path = (work_dir / 'last_checkpoint').read_text()
    return torch.load(path)['meta']['iter']


# Each save is one put of the checkpoint and one of `last_checkpoint`: 1, 2 at iteration 2,
# 3, 4 at iteration 4.
@pytest.mark.slow
@pytest.mark.parametrize(('call', 'left'), [(3, 2), (4, 2), (5, 4)])
def test_interrupted_saving_can_be_resumed(tmp_path, monkeypatch, call, left):
    with monkeypatch.context() as patch:
        die_at(call, patch)
        with pytest.raises(Killed):
            make_runner(tmp_path, 6, HOOK).train()
    assert resumable(tmp_path) == left

    resumed = make_runner(tmp_path, 6, HOOK, resume=True)
    resumed.train()
    assert resumable(tmp_path) == 6
    assert sorted(path.name for path in tmp_path.glob('iter_*.pth')) == ['iter_6.pth']
    assert not list(tmp_path.glob('.*.tmp'))

    whole = make_runner(tmp_path / 'whole', 6, HOOK)
    whole.train()
    for resumed_value, value in zip(
        resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True
    ):
        assert torch.equal(resumed_value, value)


@pytest.mark.slow
def test_killed_process_can_be_resumed(tmp_path):
    """A real SIGKILL in the middle of writing the second checkpoint."""
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from contextlib import contextmanager
from tests.tiny_runner import make_runner
import mmstal_da.engine.atomic_backend as backend
whole, calls = backend.atomic_write, []

@contextmanager
def atomic_write(path, mode):
    calls.append(path)
    with whole(path, mode) as file:
        if len(calls) == 3:
            file.write(b'half')
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        yield file

backend.atomic_write = atomic_write
import mmstal_da.engine.hooks
make_runner(Path({str(tmp_path)!r}), 6, {HOOK!r}).train()
"""
    ended = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(list(tmp_path.glob('.iter_4.pth.*.tmp'))) == 1
    assert resumable(tmp_path) == 2
    make_runner(tmp_path, 6, HOOK, resume=True).train()
    assert resumable(tmp_path) == 6
    assert not list(tmp_path.glob('.*.tmp'))


def test_former_best_checkpoint_outlives_a_failed_save(tmp_path, monkeypatch):
    """Every evaluation is better; the run dies while it writes the second best."""
    hook = dict(**HOOK, save_best='score', rule='greater')
    written = []
    whole = AtomicLocalBackend.put

    def put(self, obj, filepath):
        written.append(Path(filepath).name)
        if written[-1] == 'best_score_iter_4.pth':
            assert (tmp_path / 'best_score_iter_2.pth').is_file()
            raise Killed
        whole(self, obj, filepath)

    with monkeypatch.context() as patch:
        patch.setattr(AtomicLocalBackend, 'put', put)
        with pytest.raises(Killed):
            make_runner(tmp_path, 4, hook).train()
    torch.load(tmp_path / 'best_score_iter_2.pth')

    make_runner(tmp_path, 6, hook, resume=True).train()
    assert [path.name for path in tmp_path.glob('best_*.pth')] == ['best_score_iter_6.pth']


def test_keeps_as_many_as_mmengine(tmp_path):
    names = {}
    for hook in ('CheckpointHook', 'mmstal_da.AtomicCheckpointHook'):
        work_dir = tmp_path / hook
        arguments = dict(type=hook, max_keep_ckpts=2, save_best='score', rule='greater')
        make_runner(work_dir, 8, arguments).train()
        names[hook] = sorted(path.name for path in work_dir.glob('*.pth'))
        assert Path((work_dir / 'last_checkpoint').read_text()) == work_dir / 'iter_8.pth'
    assert names['CheckpointHook'] == names['mmstal_da.AtomicCheckpointHook']
    assert names['CheckpointHook'] == ['best_score_iter_8.pth', 'iter_6.pth', 'iter_8.pth']


def test_other_storage_is_refused():
    with pytest.raises(ValueError, match='backend_args'):
        HOOKS.build(dict(**HOOK, backend_args=dict(backend='petrel')))
