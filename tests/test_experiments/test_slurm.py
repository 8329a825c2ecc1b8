"""A table on a real Slurm of one node, which tests/slurm/start.sh starts."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from mmstal_da.errors import UsageError
from mmstal_da.experiments import slurm as module
from mmstal_da.experiments.slurm import parse_sbatch_args

from .fake_table import ITERS, LEARNS, READS, ROOT, make_pair, starts

needs_slurm = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which('sbatch') or not shutil.which('munged'),
        reason='no Slurm: apt-get install slurm-wlm munge',
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason='only root can start a Slurm'),
]
SLURM = ('--launcher', 'slurm', '--sbatch-args', '--time=30 --partition=test')

# saves every iteration; stays in the second one until it is told to go on
TRAIN = f"""
import sys, time
from pathlib import Path
argv = sys.argv
folder = Path(argv[argv.index('--work-dir') + 1])
row, seed = Path(argv[1]).stem, argv[argv.index('--seed') + 1]
begin = int(argv[argv.index('--resume') + 1].split('_')[-1][:-4]) if '--resume' in argv else 0
print('train from', begin, flush=True)
for iteration in range(begin + 1, {ITERS + 1}):
    (folder / f'iter_{{iteration}}.pth').write_text(f'{{row}} {{seed}}')
    (folder / 'last_checkpoint').write_text(f'iter_{{iteration}}.pth')
    while iteration == 2 and not (folder / 'go').exists():
        time.sleep(0.05)
"""


@pytest.fixture(scope='module')
def cluster():
    """A running Slurm, named by SLURM_CONF."""
    folder = tempfile.mkdtemp(prefix='slurm_')  # short: a socket's path has at most 107 bytes
    start, stop = (str(ROOT / f'tests/slurm/{name}.sh') for name in ('start', 'stop'))
    with pytest.MonkeyPatch.context() as patch:
        try:
            done = subprocess.run(['bash', start, folder], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            patch.setenv('SLURM_CONF', re.search(r'SLURM_CONF=(.*)', done.stdout)[1])
            # the jobs unpickle what this checkout pickled
            patch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), *sys.path]))
            yield folder
        finally:
            subprocess.run(['bash', stop, folder], check=False)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture()
def quick(monkeypatch):
    monkeypatch.setattr(module, 'POLL', 0.5)


def job_of(cell: Path) -> str:
    (path,) = (cell / 'slurm').glob('*_submitted.pkl')
    return path.name.partition('_')[0]


def when_in_second_iteration(cell: Path, act) -> threading.Thread:
    """Call ``act`` once a training is in its second iteration, and let it go on then."""

    def wait() -> None:
        end = time.monotonic() + 120
        while not (cell / 'iter_2.pth').exists() and time.monotonic() < end:
            time.sleep(0.05)
        act()
        (cell / 'go').touch()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


class TestOnSlurm:
    pytestmark = needs_slurm

    def test_a_table_runs_to_its_end(
        self, cluster, quick, run_table, tmp_path, monkeypatch, capsys
    ):
        pair = make_pair(tmp_path / 'pair', 'source_only', 'full', 'oracle', 'fast')
        with open(pair / 'fast.py', 'a') as file:
            file.write(READS.format(file='data/named.npz'))
        out = tmp_path / 'out'
        args = (pair, '--rows', 'source_only', 'full', 'oracle', 'fast', '--seeds', 0)
        args = (*args, '--out', out, *SLURM, '--jobs', 2)
        monkeypatch.setenv('FAIL', 'oracle')
        assert run_table(*args) == 1
        said = capsys.readouterr()
        assert 'oracle seed 0: train ended with status 1; log:' in said.err
        assert re.search(r'fast seed 0 is finished .*: frame-mAP 20.0', said.out)
        table = json.loads((out / 'table.json').read_text())
        assert list(table['rows']) == ['source_only', 'full', 'fast']
        record = json.loads((out / 'fast/seed0/result.json').read_text())
        assert record['proposals']['from'] == 'source_only seed 0'
        environment = record['environment']
        assert (environment['launcher'], environment['jobs']) == ('slurm', 2)
        assert environment['cores'] >= 1
        monkeypatch.delenv('FAIL')
        assert run_table(*args) == 0
        assert json.loads((out / 'table.json').read_text())['missing'] == []
        assert len(starts(out)) == 5  # the failed one twice, no other again

    @pytest.mark.parametrize('how', ['scontrol requeue', 'scancel --signal=USR2'])
    def test_a_requeued_cell_resumes_from_its_checkpoint(
        self, cluster, quick, run_table, tmp_path, how
    ):
        """Requeued by Slurm, as when it is preempted; or by submitit before the time limit."""
        (tmp_path / 'tools/train.py').write_text(TRAIN)
        pair = make_pair(tmp_path / 'pair', 'full')
        cell = tmp_path / 'out/full/seed0'

        def requeue() -> None:
            job = job_of(cell)
            subprocess.run([*how.split(), job], check=True)
            # Slurm lets a requeued job wait two minutes
            begin = ['scontrol', 'update', f'JobId={job}', 'StartTime=now']
            end = time.monotonic() + 200
            while 'train from 2' not in (cell / 'train.log').read_text() and time.monotonic() < end:
                subprocess.run(begin, capture_output=True, check=False)
                time.sleep(0.3)

        thread = when_in_second_iteration(cell, requeue)
        assert run_table(pair, '--seeds', 0, '--out', tmp_path / 'out', *SLURM) == 0
        thread.join()
        log = (cell / 'train.log').read_text()
        assert re.findall(r'^train from (\d)', log, re.MULTILINE) == ['0', '2']
        attempts = json.loads((cell / 'attempts.json').read_text())['attempts']
        assert [(a['stage'], a['from_iteration'], a['ended']) for a in attempts] == [
            ('train', 0, 'interrupted'),
            ('train', 2, 0),
            ('test', ITERS, 0),
        ]
        assert json.loads((cell / 'result.json').read_text())['train']['starts'] == 2
        assert job_of(cell)  # one job, not two

    def test_jobs_outlive_the_command_that_watches(
        self, cluster, quick, run_table, tmp_path, capsys, request
    ):
        (tmp_path / 'tools/train.py').write_text(TRAIN)
        args = (make_pair(tmp_path / 'pair', 'full'), '--seeds', 0, '--out', tmp_path / 'out')
        # a shell starts what is in its background with the signal ignored
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
        cell = tmp_path / 'out/full/seed0'
        ready = threading.Event()

        def stop() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            ready.wait(60)

        thread = when_in_second_iteration(cell, stop)
        assert run_table(*args, *SLURM) == 130
        assert 'jobs stay in the queue' in capsys.readouterr().err
        ready.set()
        assert run_table(*args, *SLURM) == 0
        thread.join()
        assert job_of(cell)  # which was found again
        assert (cell / 'train.log').read_text().count('train from') == 1


def test_a_reader_waits_for_the_job_that_makes_what_it_reads(run_table, tmp_path, monkeypatch):
    pair = make_pair(tmp_path / 'pair', 'source_only', 'full', 'fast', 'pseudo')
    for row, text in (('fast', READS.format(file='data/named.npz')), ('pseudo', LEARNS)):
        with open(pair / f'{row}.py', 'a') as file:
            file.write(text)
    submitted = []

    def submit(task, flags, after):
        submitted.append((task.cell.row, after))
        return str(len(submitted))

    monkeypatch.setattr(module, '_submit', submit)
    monkeypatch.setattr(module, 'read_queue', dict)
    monkeypatch.setattr(module, 'POLL', 0.0)
    args = (pair, '--rows', 'fast', 'pseudo', '--seeds', 0, '--out', tmp_path / 'out', *SLURM)
    assert run_table(*args) == 1  # no job ran
    assert submitted == [('source_only', []), ('fast', ['1']), ('full', []), ('pseudo', ['3'])]


def test_sbatch_flags():
    flags = parse_sbatch_args('--time=1-0 --gres=gpu:4 --exclusive --comment="a b"')
    assert flags == {'time': '1-0', 'gres': 'gpu:4', 'exclusive': True, 'comment': 'a b'}
    with pytest.raises(UsageError, match='needs a time limit'):
        parse_sbatch_args('--gres=gpu:4')
    with pytest.raises(UsageError, match="'-p' is not --KEY=VALUE"):
        parse_sbatch_args('-p x --time=5')


def test_where_there_is_no_slurm_the_command_says_so(run_table, tmp_path, monkeypatch, capsys):
    pair = make_pair(tmp_path / 'pair', 'full')
    args = (pair, '--seeds', 0, '--out', tmp_path / 'out', '--launcher', 'slurm')
    assert run_table(*args) == 2
    assert 'needs a time limit' in capsys.readouterr().err
    monkeypatch.setenv('PATH', str(tmp_path))
    assert run_table(*args, '--sbatch-args=--time=5') == 2
    assert 'squeue --noheader' in capsys.readouterr().err
