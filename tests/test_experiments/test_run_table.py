"""tools/run_table.py, with a training that takes a moment."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmstal_da.experiments import running
from mmstal_da.experiments.cells import CellLock, holder, make_cells
from mmstal_da.experiments.commands import Commands
from mmstal_da.experiments.fingerprint import Settings
from mmstal_da.experiments.rows import choose_rows, read_config

from .fake_table import ROOT, files_of, make_pair, starts

ROWS = ('source_only', 'full', 'oracle')


@pytest.fixture()
def pair(tmp_path):
    return make_pair(tmp_path / 'configs/pair', *ROWS, 'extra')


@pytest.mark.slow
def test_trains_and_scores_every_row_and_writes_the_table(run_table, pair, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run_table(pair, '--seeds', 0, 1, '--out', out, '--jobs', 2) == 0
    table = json.loads((out / 'table.json').read_text())
    assert table['pair'] == 'pair' and table['seeds'] == [0, 1] and table['missing'] == []
    assert {row: entry['frame_mAP@0.5']['mean'] for row, entry in table['rows'].items()} == {
        'source_only': 55.5,
        'full': 20.5,
        'oracle': 30.5,
    }
    assert table['background_frames'] is False
    assert (out / 'table.png').read_bytes()[1:4] == b'PNG'
    assert '| Oracle | 30.5 ± 0.7 |' in (out / 'table.md').read_text()
    record = json.loads((out / 'full/seed1/result.json').read_text())
    for iou in ('0.2', '0.5', '0.75', '0.5:0.95'):
        assert record['metrics'][f'video_mAP@{iou}'] == 10.5
    assert record['train']['wall_s'] > 0 and record['train']['cpu_s'] > 0
    assert record['checkpoint'] == 'iter_4.pth' and record['iterations'] == 4
    assert record['environment']['versions']['torch'] and record['environment']['cores'] >= 1
    assert record['config'] == str(pair / 'full.py') and len(record['commit']) == 40
    said = capsys.readouterr().out
    assert 'full seed 1 is finished' in said and '(6 of 6)' in said


@pytest.mark.slow
def test_finished_work_is_not_repeated(run_table, pair, tmp_path):
    out = tmp_path / 'out'
    assert run_table(pair, '--rows', 'full', '--seeds', 0, '--out', out) == 0
    before = files_of(out / 'full')
    assert run_table(pair, '--rows', 'full', 'oracle', '--seeds', 0, '--out', out) == 0
    assert {k: v for k, v in files_of(out / 'full').items() if k.name != '.lock'} == {
        k: v for k, v in before.items() if k.name != '.lock'
    }
    assert starts(out) == ['train full 0 threads 1', 'train oracle 0 threads 1']


@pytest.mark.slow
def test_training_is_not_repeated_where_only_the_score_is_missing(run_table, pair, tmp_path):
    out = tmp_path / 'out'
    args = (pair, '--rows', 'full', '--seeds', 0, '--out', out)
    assert run_table(*args) == 0
    (out / 'full/seed0/result.json').unlink()
    assert run_table(*args) == 0
    assert len(starts(out)) == 1
    assert json.loads((out / 'full/seed0/result.json').read_text())['train']['starts'] == 1


@pytest.mark.slow
def test_the_commit_is_that_of_the_start_of_training(run_table, pair, tmp_path, monkeypatch):
    commits = iter(['start', 'scoring'])  # the checkout moves on during the training
    state = {'dirty': False}
    monkeypatch.setattr(running, 'describe_git', lambda: {'commit': next(commits), **state})
    out = tmp_path / 'out'
    assert run_table(pair, '--rows', 'full', '--seeds', 0, '--out', out) == 0
    record = json.loads((out / 'full/seed0/result.json').read_text())
    assert (record['commit'], record['dirty'], record['earlier_commits']) == ('start', False, [])


@pytest.mark.slow
def test_a_failing_row_is_reported_and_the_others_finish(
    run_table, pair, tmp_path, monkeypatch, capsys
):
    out = tmp_path / 'out'
    monkeypatch.setenv('FAIL', 'source_only')
    args = (pair, '--seeds', 0, '--out', out, '--jobs', 1)
    assert run_table(*args) == 1
    log = out / 'source_only/seed0/train.log'
    assert f'source_only seed 0: train ended with status 1; log: {log}' in capsys.readouterr().err
    assert 'made to fail' in log.read_text()
    table = json.loads((out / 'table.json').read_text())
    assert list(table['rows']) == ['full', 'oracle']
    assert table['missing'] == []
    (failed,) = table['failed']
    assert (failed['row'], failed['seed']) == ('source_only', 0)
    assert failed['why'].endswith('which ends: made to fail')
    text = (out / 'table.md').read_text()
    assert 'I3D+RPN (source only) (**FAILED**)' in text
    assert '**FAILED**: source_only seed 0: train ended with status 1' in text
    monkeypatch.delenv('FAIL')
    assert run_table(*args) == 0
    table = json.loads((out / 'table.json').read_text())
    assert table['missing'] == [] and table['failed'] == []


@pytest.mark.slow
def test_a_changed_config_is_refused(run_table, pair, tmp_path, capsys):
    out = tmp_path / 'out'
    args = (pair, '--rows', 'full', '--seeds', 0, '--out', out)
    assert run_table(*args) == 0
    before = files_of(out)
    text = (pair / 'full.py').read_text()
    (pair / 'full.py').write_text(text.replace('max_iters=4', 'max_iters=4, factor=2'))
    for more in ((), ('--collect',)):
        assert run_table(*args, *more) == 2
        said = capsys.readouterr().err
        assert str(out / 'full/seed0/result.json') in said and '--rerun-changed' in said
        assert files_of(out) == before
    assert run_table(*args, '--rerun-changed') == 0
    (kept,) = (out / 'full').glob('seed0.changed-*')
    assert (kept / 'result.json').read_bytes() == before[out / 'full/seed0/result.json'][1]
    assert json.loads((out / 'table.json').read_text())['rows']['full']['n'] == 1


@pytest.mark.slow
def test_changed_annotations_are_refused(run_table, pair, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data/x').mkdir(parents=True)
    files = [tmp_path / 'data/x' / name for name in ('s.json', 't.json', 'synthetic.json')]
    for file in files:
        file.write_text('{}')
    args = (pair, '--rows', 'full', '--seeds', 0, '--out', tmp_path / 'out')
    assert run_table(*args) == 0
    record = json.loads((tmp_path / 'out/full/seed0/result.json').read_text())
    assert set(record['data']) == {f'data/x/{file.name}' for file in files}
    assert run_table(*args, '--collect') == 0
    for file in files:
        file.write_text('{"other": 1}')
        for more in ((), ('--collect',)):
            assert run_table(*args, *more) == 2
            assert 'full/seed0/result.json' in capsys.readouterr().err
        file.write_text('{}')
        assert run_table(*args) == 0
    assert len(starts(tmp_path / 'out')) == 1


@pytest.mark.slow
def test_other_options_need_another_folder(run_table, pair, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run_table(pair, '--rows', 'full', '--seeds', 0, '--out', out) == 0
    options = ('--cfg-options', 'model.row=2')
    before = files_of(out)
    assert run_table(pair, '--rows', 'oracle', '--seeds', 0, '--out', out, *options) == 2
    assert files_of(out) == before
    assert 'use another --out' in capsys.readouterr().err
    other = tmp_path / 'other'
    assert run_table(pair, '--rows', 'full', '--seeds', 0, '--out', other, *options) == 0
    log = (other / 'full/seed0/train.log').read_text()
    assert '--cfg-options model.row=2 default_hooks.checkpoint.interval=1\n' in log
    record = json.loads((other / 'full/seed0/result.json').read_text())
    assert record['cfg_options'] == ['model.row=2']


@pytest.mark.slow
def test_dry_run_writes_nothing_and_estimates(run_table, pair, tmp_path, capsys):
    out = tmp_path / 'out'
    args = (pair, '--seeds', 0, 1, '--out', out, '--jobs', 1)
    assert run_table(*args, '--dry-run') == 0
    assert 'time: unknown' in capsys.readouterr().out and not out.exists()
    assert run_table(*args, '--rows', 'full') == 0
    path = out / 'full/seed0/result.json'
    record = json.loads(path.read_text())
    record['train']['seconds_per_iteration'], record['test']['wall_s'] = 10.0, 20.0
    path.write_text(json.dumps(record))
    (out / 'full/seed1/result.json').unlink()
    (out / 'oracle/seed0').mkdir(parents=True)
    (oracle,) = make_cells(pair, choose_rows(pair, ['oracle']), [0], out, Settings())
    begun = {'config_sha256': oracle.digest, 'attempts': []}
    (out / 'oracle/seed0/attempts.json').write_text(json.dumps(begun))
    (out / 'oracle/seed0/iter_3.pth').touch()
    (out / 'oracle/seed0/last_checkpoint').write_text('iter_3.pth')
    before = files_of(tmp_path)
    capsys.readouterr()
    assert run_table(*args, '--dry-run') == 0
    said = capsys.readouterr().out
    assert files_of(tmp_path) == before
    assert 'full seed 0  done' in said
    assert 'full seed 1  to resume from iteration 4, 0:20' in said
    assert 'oracle seed 0  to resume from iteration 3, 0:30' in said
    assert 'source_only seed 0  to do, 1:00' in said
    # 20 for the score, 30 for the last iteration and the score, three times 4 x 10 + 20
    assert 'about 3:50, from finished runs' in said


@pytest.mark.slow
def test_two_processes_on_one_folder_share_the_work(run_table, pair, tmp_path):
    """A second process meets locked runs, waits for them, and ends with the whole table."""
    out = tmp_path / 'out'
    code = (
        'import sys; from pathlib import Path; from mmstal_da.experiments import commands; '
        f'commands.TOOLS = Path({str(tmp_path / "tools")!r}); '
        f'import runpy; sys.argv[0] = {str(ROOT / "tools/run_table.py")!r}; '
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    argv = [sys.executable, '-c', code, str(pair), '--seeds', '0', '--out', str(out), '--jobs', '1']
    env = {**os.environ, 'SLEEP': '1'}
    other = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)
    first = out / 'source_only/seed0'
    wait_for(lambda: holder(first))
    assert str(other.pid) in holder(first)
    assert run_table(pair, '--seeds', 0, '--out', out, '--jobs', 1) == 0
    assert other.wait(300) == 0
    assert sorted(line.split()[1] for line in starts(out)) == sorted(ROWS)
    assert json.loads((out / 'table.json').read_text())['missing'] == []
    assert holder(first) is None


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_children(run_table, pair, tmp_path, monkeypatch, capsys, number):
    out = tmp_path / 'out'
    monkeypatch.setenv('SLEEP', '60')
    pidfile = tmp_path / 'pid'
    train = tmp_path / 'tools/train.py'
    train.write_text(
        f'import os, signal; open({str(pidfile)!r}, "w").write(str(os.getpid()))\n'
        + train.read_text()
    )
    killer = subprocess.Popen(
        ['sh', '-c', f'while ! [ -s {pidfile} ]; do sleep 0.1; done; kill -{number} {os.getpid()}']
    )
    handler = signal.getsignal(number)
    assert run_table(pair, '--rows', 'full', '--seeds', 0, '--out', out) == 130
    killer.wait()
    assert signal.getsignal(number) is handler
    assert not Path(f'/proc/{pidfile.read_text()}').exists()
    said = capsys.readouterr().err
    assert 'run_table.py: stopped with 0 of 1 runs finished, in full seed 0 (train, ' in said
    assert '(train, nothing saved yet); to go on: ' in said
    again = shlex.split(said.partition('to go on: ')[2])[2:]
    assert again == [str(pair), '--rows', 'full', '--seeds', '0', '--out', str(out)]
    assert holder(out / 'full/seed0') is None
    (attempt,) = json.loads((out / 'full/seed0/attempts.json').read_text())['attempts']
    assert attempt['ended'] == 'interrupted' and attempt['wall_s'] > 0
    monkeypatch.setenv('SLEEP', '0')
    assert run_table(*again) == 0
    assert json.loads((out / 'table.json').read_text())['missing'] == []


def test_a_child_that_outlives_its_scheduler_holds_the_lock(tmp_path):
    lock = CellLock.take(tmp_path)
    child = subprocess.Popen(['sleep', '60'], pass_fds=(lock.fd,))
    lock.release()
    try:
        assert CellLock.take(tmp_path) is None
    finally:
        child.kill()
        child.wait()
    assert CellLock.take(tmp_path) is not None


def test_commands_of_torchrun(pair, tmp_path):
    rows = choose_rows(pair, ['full'])
    (cell,) = make_cells(pair, rows, [5], tmp_path, Settings())
    cfg = read_config(cell.config)
    two = Settings(('a.b=1',), amp=True, processes=2)
    argv = Commands(cell, cfg, two).train(None).argv
    assert argv[:4] == ['bash', str(ROOT / 'tools/dist_train.sh'), str(cell.config), '2']
    assert argv[4:9] == ['--work-dir', str(cell.folder), '--seed', '5', '--no-validate']
    assert argv[9:] == ['--amp', '--cfg-options', 'a.b=1', 'default_hooks.checkpoint.interval=1']


@pytest.mark.slow
def test_a_config_that_changes_while_its_run_waits_is_refused(run_table, pair, tmp_path, capsys):
    train = tmp_path / 'tools/train.py'
    change = f'open({str(pair / "full.py")!r}, "a").write("load_from = 1\\n")\n'
    train.write_text(change + train.read_text())
    args = (pair, '--rows', 'oracle', 'full', '--seeds', 0, '--out', tmp_path / 'out')
    assert run_table(*args, '--jobs', 1) == 1
    assert 'full.py has changed since' in capsys.readouterr().err
    assert [line.split()[1] for line in starts(tmp_path / 'out')] == ['oracle']


def wait_for(condition, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.02)
