"""Disks that are full or cannot be written: trainings end in one sentence, and nothing is lost."""

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from mmstal_da.errors import TrainingError
from tests.faults.sources import act
from tests.faults.tiny_pair import ROOT, environment
from tests.faults.tiny_training import assert_same, final_weights, progress, train


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


@pytest.mark.slow
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
    train(tmp_path, 8)  # there is room again
    train(tmp_path / 'whole', 8)
    assert_same(final_weights(tmp_path, 8), final_weights(tmp_path / 'whole', 8))


def test_a_disk_that_refuses_the_first_checkpoint(tmp_path, monkeypatch):
    refuse(monkeypatch, errno.ENOSPC, after=0)
    with pytest.raises(TrainingError, match='There is no checkpoint yet'):
        train(tmp_path, 8)


@pytest.fixture(scope='module')
def namespace():
    """Runs lines of bash where file systems can be mounted; the process, which has ended."""
    unshare = shutil.which('unshare')
    argv = [str(unshare), '--user', '--map-root-user', '--mount']
    if unshare is None or subprocess.run([*argv, 'true'], capture_output=True).returncode:
        pytest.skip('no user namespaces here')

    def run(lines: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*argv, 'bash', '-c', f'set -u\n{lines}'],
            **dict(env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=900),
        )

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    found = sorted(path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.slow
def test_a_file_system_that_is_really_full(rows, tmp_path, namespace):
    """A tmpfs with room for one checkpoint and a half; once there is more, the training goes on."""
    train_py = f'{sys.executable} tools/train.py {rows}/source_only.py --no-validate --work-dir'
    ended = namespace(f"""
mount -t tmpfs -o size=5600k tmpfs {tmp_path} || exit 99
{train_py} {tmp_path}/run > /dev/null
echo "status $?" $(ls -A {tmp_path}/run)
mount -o remount,size=50m {tmp_path} || exit 99
{train_py} {tmp_path}/run --resume 2>&1 > /dev/null
echo "status $?" $(ls -A {tmp_path}/run)
""")
    assert ended.returncode == 0, ended.stderr[-2000:]
    said = ended.stderr.strip().splitlines()
    first, second = re.findall(r'^status .*$', ended.stdout, re.MULTILINE)
    assert first.startswith('status 1 '), ended.stderr[-1500:]
    assert {'iter_1.pth', 'last_checkpoint'} <= set(first.split())
    assert 'iter_2.pth' not in first and '.tmp' not in first
    assert said[-1].startswith('train.py: error: ') and 'No space left on device' in said[-1]
    assert f'The last checkpoint is {tmp_path}/run/iter_1.pth' in said[-1]
    assert 'Traceback' not in ended.stderr
    assert second.startswith('status 0 ') and 'iter_4.pth' in second, ended.stdout[-1500:]


READ_ONLY = 'mount --bind {0} {0} && mount -o remount,bind,ro {0}'


@pytest.mark.slow
@pytest.mark.parametrize('tool', ['train', 'run_table', 'data/prepare'])
def test_a_file_system_that_is_read_only(tool, rows, tmp_path, namespace):
    """Whether there is something in the folder or not: one sentence, and all is as before."""
    act(tmp_path)
    disk = tmp_path / 'disk'
    for name in ('table/table.json', 'act.json', 'run/iter_3.pth'):
        (disk / name).parent.mkdir(parents=True, exist_ok=True)
        (disk / name).write_text('what was there before')
    outs = {'train': ('run', 'new'), 'run_table': ('table', 'new'), 'data/prepare': ('', 'new')}
    before = files_of(disk)
    for out in outs[tool]:
        arguments = {
            'train': f'{rows}/source_only.py --no-validate --work-dir {disk}/{out}',
            'run_table': f'{rows} --rows source_only --seeds 0 --out {disk}/{out}',
            'data/prepare': f'act --annotations {tmp_path}/GT.pkl --out {disk}/{out}',
        }[tool]
        ended = namespace(f"""
{READ_ONLY.format(disk)} || exit 99
exec {sys.executable} tools/{tool}.py {arguments}
""")
        said = ended.stderr.strip().splitlines()
        assert ended.returncode in (1, 2), ended.stderr[-2000:]
        assert said[-1].startswith(f'{Path(tool).name}.py: ') and str(disk) in said[-1], said
        assert 'Read-only file system' in said[-1] and 'Traceback' not in ended.stderr
        assert files_of(disk) == before


@pytest.mark.slow
def test_a_file_system_that_becomes_read_only_in_a_training(rows, tmp_path, namespace):
    """The last checkpoint is left, and it resumes to the weights of an uninterrupted run."""
    run = tmp_path / 'run'
    run.mkdir()
    iters = 'train_cfg.max_iters='
    train_py = f'{sys.executable} tools/train.py {rows}/source_only.py --no-validate --work-dir'
    ended = namespace(f"""
{train_py} {run} --cfg-options {iters}500 &
until [ -e {run}/iter_2.pth ] || ! kill -0 $!; do sleep 0.1; done
{READ_ONLY.format(run)} || exit 99
wait $!
""")
    said = ended.stderr.strip().splitlines()
    assert ended.returncode == 1, ended.stderr[-2000:]
    last = progress(run)
    assert said[-1].startswith('train.py: error: train')  # at the checkpoint, or at the log
    assert 'Read-only file system' in said[-1] and ', and go on with --resume' in said[-1]
    assert 'Traceback' not in ended.stderr and not list(run.glob('.*.tmp'))
    for folder, flags in ((run, '--resume'), (tmp_path / 'whole', '')):
        again = f'{train_py} {folder} {flags} --cfg-options {iters}{last + 1}'.split()
        ended = subprocess.run(again, env=environment(), cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr[-2000:]
    assert_same(final_weights(run, last + 1), final_weights(tmp_path / 'whole', last + 1))
