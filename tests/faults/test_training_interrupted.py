"""Training and table killed or interrupted at any moment: they resume to the same result."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from mmstal_da.errors import TrainingError
from tests.faults import forked
from tests.faults.tiny_pair import ROOT, environment
from tests.load_tool import load_tool
from tests.test_experiments.fake_table import DUMP, ITERS, TEST, TRAIN, make_pair
from tests.tiny_runner import make_runner

MAX_ITERS = 60
CHECKPOINT = dict(type='mmstal_da.AtomicCheckpointHook', interval=1, max_keep_ckpts=1)
END_WITHIN = 10.0  # CPU seconds from Ctrl-C to the end


class Noise(Hook):
    """What a resumed run must repeat: draws of the generator, as those of dropout and samplers."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        data_batch['x'] = data_batch['x'] + 0.1 * torch.randn_like(data_batch['x'])


def train(folder: Path, max_iters: int = MAX_ITERS) -> None:
    """The tiny runner with this project's hooks, resumed from whatever is there."""
    hooks = [dict(type='mmstal_da.FiniteHook'), dict(type='mmstal_da.IterationSeedHook'), Noise()]
    torch.set_num_threads(1)
    make_runner(
        folder, max_iters, CHECKPOINT, custom_hooks=hooks, resume=True, randomness=dict(seed=0)
    ).train()


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / f'iter_{MAX_ITERS}.pth')['state_dict']


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> tuple[dict[str, torch.Tensor], float]:
    """Weights of an uninterrupted training, and its seconds."""
    folder = tmp_path_factory.mktemp('whole')
    began = time.monotonic()
    assert forked.wait(forked.start(train, folder, log=folder / 'log')) == 0
    return final_weights(folder), time.monotonic() - began


def assert_same(ours: dict, expected: dict) -> None:
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], value) for key, value in expected.items())


def progress(folder: Path) -> int:
    """Iterations behind the last checkpoint."""
    pointer = folder / 'last_checkpoint'
    return int(Path(pointer.read_text()).stem.rpartition('_')[2]) if pointer.is_file() else 0


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_a_training_that_is_stopped_twenty_times_ends_in_the_same_weights(number, whole, tmp_path):
    expected, seconds = whole
    rng = random.Random(int(number))
    stopped, at = 0, []
    while stopped < 20:
        process = forked.start(train, tmp_path, log=tmp_path / 'log')
        before = progress(tmp_path)
        if stopped % 2:  # at any moment of what is left
            time.sleep(rng.uniform(0, 0.4 * seconds))
        else:  # soon after it has saved something new
            forked.until(lambda p=process, n=before: progress(tmp_path) > n or not p.is_alive())
            time.sleep(rng.uniform(0, 0.01))
        if not process.is_alive():
            break
        forked.kill(process, number)
        process.join(120)
        assert process.exitcode in (-signal.SIGKILL, 130, 0), (tmp_path / 'log').read_text()[-2000:]
        stopped += 1
        at.append(progress(tmp_path))
        if at[-1] >= MAX_ITERS - 2:  # nearly there: begin anew, the moments are others
            shutil.rmtree(tmp_path)
            tmp_path.mkdir()
        for path in tmp_path.glob('iter_*.pth'):
            torch.load(path)  # whole
    assert forked.wait(forked.start(train, tmp_path, log=tmp_path / 'log')) == 0
    assert_same(final_weights(tmp_path), expected)
    assert len(set(at)) > 5
    assert not list(tmp_path.glob('.*.tmp'))


@pytest.mark.slow
def test_ctrl_c_ends_a_training_soon(tmp_path):
    process = forked.start(train, tmp_path, 100000, log=tmp_path / 'log')
    forked.until(lambda: progress(tmp_path) > 1)
    used = forked.cpu_seconds(process)
    forked.kill(process, signal.SIGINT)
    after = used
    while process.is_alive():
        try:
            after = forked.cpu_seconds(process)
        except (FileNotFoundError, IndexError):
            break
        assert after - used < END_WITHIN
        time.sleep(0.05)
    assert forked.wait(process) == 130


# --- the table


@pytest.fixture
def fake_tools(tmp_path, monkeypatch) -> Path:
    """A pair and tools that take a moment, as in the tests of the table."""
    tools = tmp_path / 'tools'
    (tools / 'data').mkdir(parents=True)
    for name, text in (('train', TRAIN), ('test', TEST), ('data/dump_proposals', DUMP)):
        (tools / f'{name}.py').write_text(text)
    monkeypatch.setattr('mmstal_da.experiments.commands.TOOLS', tools)
    monkeypatch.setenv('SLEEP', '0.1')
    return make_pair(tmp_path / 'pair', 'source_only', 'full', 'oracle')


def table(pair: Path, out: Path) -> int:
    arguments = [pair, '--seeds', 0, 1, '--out', out, '--jobs', 2]
    return load_tool('run_table').main([*map(str, arguments)])


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_a_table_that_is_stopped_again_and_again_is_whole_in_the_end(number, fake_tools, tmp_path):
    out, log, rng = tmp_path / 'out', tmp_path / 'log', random.Random(3)
    stopped = 0
    for _ in range(8):
        process = forked.start(table, fake_tools, out, log=log)
        time.sleep(rng.uniform(0.05, 1.0))
        if not process.is_alive():
            break
        forked.kill(process, number)
        code = forked.wait(process)
        assert code in (-signal.SIGKILL, 130, 0), log.read_text()[-3000:]
        stopped += 1
    assert stopped > 1
    assert forked.wait(forked.start(table, fake_tools, out, log=log)) == 0, log.read_text()[-3000:]
    found = json.loads((out / 'table.json').read_text())
    assert found['missing'] == [] and found['failed'] == []
    results = [json.loads(path.read_text()) for path in sorted(out.glob('*/seed*/result.json'))]
    assert len(results) == 6
    for record in results:
        assert record['metrics']['frame_mAP@0.5'] == 5.0 * len(record['row']) + record['seed']
        assert record['checkpoint'] == f'iter_{ITERS}.pth'


@pytest.mark.slow
def test_ctrl_c_in_the_real_tools_at_several_moments(rows, tmp_path):
    """At the start, while it imports, and in the middle of the training; then it resumes."""
    flags = [
        *('--work-dir', str(tmp_path), '--no-validate', '--resume'),
        *('--cfg-options', 'train_cfg.max_iters=2000'),
    ]
    argv = [sys.executable, str(ROOT / 'tools/train.py'), str(rows / 'source_only.py'), *flags]
    for moment in ('start', 'import', 'training'):
        process = subprocess.Popen(
            argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if moment == 'import':
            time.sleep(1.5)
        elif moment == 'training':
            forked.until(lambda p=process: progress(tmp_path) > 1 or p.poll() is not None)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
        assert process.returncode in (130, 1, -signal.SIGINT)
    done = progress(tmp_path)
    argv[-1] = f'train_cfg.max_iters={done + 1}'
    ended = subprocess.run(argv, env=environment(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert progress(tmp_path) == done + 1


# --- disks


def refuse(monkeypatch, number: int, after: int) -> None:
    """Let the kernel refuse temporary files after so many: /dev/full, or an error of its own."""
    make, made = tempfile.mkstemp, []

    def mkstemp(*args, **kwargs):
        if '.pth' not in kwargs.get('prefix', ''):
            return make(*args, **kwargs)
        made.append(kwargs['prefix'])
        if len(made) <= after:
            return make(*args, **kwargs)
        if number == errno.ENOSPC:
            fd, name = make(*args, **kwargs)
            os.close(fd)
            return os.open('/dev/full', os.O_WRONLY), name
        raise OSError(number, os.strerror(number), kwargs['prefix'])

    monkeypatch.setattr(tempfile, 'mkstemp', mkstemp)


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_a_checkpoint_stops_the_training(number, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        refuse(patch, number, after=3)
        with pytest.raises(TrainingError) as error:
            train(tmp_path, 8)
    message = str(error.value)
    assert 'stopped at iteration 4: the checkpoint could not be written' in message
    assert os.strerror(number) in message and f'The last checkpoint is {tmp_path}/iter_3' in message
    assert '--resume' in message
    assert progress(tmp_path) == 3 and torch.load(tmp_path / 'iter_3.pth')
    assert not list(tmp_path.glob('.*.tmp'))
    train(tmp_path, MAX_ITERS)  # there is room again
    train(tmp_path / 'whole', MAX_ITERS)
    assert_same(final_weights(tmp_path), final_weights(tmp_path / 'whole'))


def test_a_disk_that_refuses_the_first_checkpoint(tmp_path, monkeypatch):
    refuse(monkeypatch, errno.ENOSPC, after=0)
    with pytest.raises(TrainingError, match='There is no checkpoint yet'):
        train(tmp_path, 8)


@pytest.mark.slow
def test_a_file_system_that_is_really_full(rows, tmp_path):
    """A tmpfs in a mount namespace: room for one checkpoint and a half."""
    unshare = shutil.which('unshare')
    probe = [str(unshare), '--user', '--map-root-user', '--mount', 'true']
    if unshare is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip('no user namespaces here')
    command = f"""
mount -t tmpfs -o size=7m tmpfs {tmp_path}
{sys.executable} {ROOT}/tools/train.py {rows}/full.py --work-dir {tmp_path}/run --no-validate
echo "status $?"
ls -A {tmp_path}/run
"""
    argv = [*probe[:-1], 'bash', '-c', command]
    ended = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=500)
    said = ended.stderr.strip().splitlines()
    assert 'status 1' in ended.stdout, ended.stdout[-1500:] + ended.stderr[-1500:]
    assert said[-1].startswith('train.py: error: ') and 'No space left on device' in said[-1]
    assert 'Traceback' not in ended.stderr
    assert '.tmp' not in ended.stdout.rpartition('status 1')[2]
