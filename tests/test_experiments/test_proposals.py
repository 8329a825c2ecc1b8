"""Rows that read proposals: where a table has these from."""

import hashlib
import json
from pathlib import Path

import pytest
from mmengine.config import Config

from mmstal_da.experiments.cells import make_cells
from mmstal_da.experiments.commands import Commands
from mmstal_da.experiments.fingerprint import Settings
from mmstal_da.experiments.rows import choose_rows, proposal_files, proposal_options, read_config

from .fake_table import READS, ROOT, make_pair, starts

PAIRS = sorted(path.parent.name for path in (ROOT / 'configs').glob('*/slowonly.py'))


@pytest.fixture()
def pair(tmp_path):
    folder = make_pair(tmp_path / 'configs/pair', 'source_only', 'full', 'fast', 'slow')
    for row in ('fast', 'slow'):
        with open(folder / f'{row}.py', 'a') as file:
            file.write(READS.format(file='data/proposals/named.npz'))
    return folder


def read(path):
    return json.loads(path.read_text())


@pytest.mark.slow
def test_source_only_of_the_same_seed_makes_them_once_and_before(
    run_table, pair, tmp_path, monkeypatch
):
    monkeypatch.setenv('SLEEP', '0.5')
    out = tmp_path / 'out'
    rows = ('--rows', 'source_only', 'full', 'fast', 'slow')
    assert run_table(pair, *rows, '--seeds', 0, 1, '--out', out, '--jobs', 3) == 0
    for seed in (0, 1):
        file = out / f'source_only/seed{seed}/proposals.npz'
        assert file.read_text() == f'proposals of source_only {seed}\n'  # once
        for row in ('fast', 'slow'):
            log = (out / f'{row}/seed{seed}/train.log').read_text()
            assert f'train_dataloader.dataset.source.proposals={file} ' in log
            assert f'test_dataloader.dataset.proposals={file}' in log
            log = (out / f'{row}/seed{seed}/test.log').read_text()
            assert f'test_dataloader.dataset.proposals={file}' in log
            proposals = read(out / f'{row}/seed{seed}/result.json')['proposals']
            assert proposals['from'] == f'source_only seed {seed}'
            assert proposals['sha256'] == hashlib.sha256(file.read_bytes()).hexdigest()
            made = read(out / f'source_only/seed{seed}/attempts.json')['attempts'][-1]
            begun = read(out / f'{row}/seed{seed}/attempts.json')['attempts'][0]
            assert made['stage'] == 'propose' and begun['began'] >= made['began']
        assert 'proposals' not in (out / f'full/seed{seed}/train.log').read_text()
    assert run_table(pair, '--out', out, '--collect') == 0


def test_source_only_is_added_where_it_is_not_asked_for(run_table, pair, tmp_path, capsys):
    out = tmp_path / 'out'
    args = (pair, '--rows', 'fast', '--seeds', 2, '--out', out)
    assert run_table(*args, '--dry-run') == 0
    assert 'source_only seed 2  to do' in capsys.readouterr().out and not out.exists()
    assert run_table(*args) == 0
    assert [line.split()[1] for line in starts(out)] == ['fast', 'source_only']
    assert run_table(*args) == 0 and len(starts(out)) == 2


def test_a_finished_source_only_makes_them_without_training(run_table, pair, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run_table(pair, '--rows', 'source_only', '--seeds', 0, '--out', out) == 0
    folder = out / 'source_only/seed0'
    assert not (folder / 'proposals.npz').exists()
    before = (folder / 'result.json').read_bytes(), (folder / 'train.log').read_bytes()
    args = (pair, '--rows', 'slow', '--seeds', 0, '--out', out)
    assert run_table(*args, '--dry-run') == 0
    assert 'source_only seed 0  to write its proposals' in capsys.readouterr().out
    assert run_table(*args) == 0
    assert (folder / 'proposals.npz').is_file()
    assert before == ((folder / 'result.json').read_bytes(), (folder / 'train.log').read_bytes())


def test_a_result_without_checkpoint_is_trained_again_and_kept(run_table, pair, tmp_path, capsys):
    """Such as one that --restore put there."""
    out = tmp_path / 'out'
    assert run_table(pair, '--rows', 'source_only', '--seeds', 0, '--out', out) == 0
    folder = out / 'source_only/seed0'
    kept = (folder / 'result.json').read_bytes()
    for path in folder.iterdir():
        if path.name != 'result.json' and path.is_file():
            path.unlink()
    args = (pair, '--rows', 'slow', '--seeds', 0, '--out', out)
    assert run_table(*args, '--dry-run') == 0
    assert 'source_only seed 0  to do' in capsys.readouterr().out
    for iteration, plan in ((2, 'to resume from iteration 2'), (4, 'to write its proposals')):
        (folder / f'iter_{iteration}.pth').write_text('source_only 0')
        (folder / 'last_checkpoint').write_text(f'iter_{iteration}.pth')
        assert run_table(*args, '--dry-run') == 0
        assert f'source_only seed 0  {plan}' in capsys.readouterr().out
        (folder / f'iter_{iteration}.pth').unlink()
        (folder / 'last_checkpoint').unlink()
    assert run_table(*args) == 0
    assert (folder / 'result.json').read_bytes() == kept
    assert (folder / 'proposals.npz').is_file() and (folder / 'last_checkpoint').is_file()


@pytest.mark.slow
def test_where_source_only_has_changed_its_readers_have_too(run_table, pair, tmp_path, capsys):
    out = tmp_path / 'out'
    args = (pair, '--rows', 'fast', '--seeds', 0, '--out', out)
    assert run_table(*args) == 0
    text = (pair / 'source_only.py').read_text()
    (pair / 'source_only.py').write_text(text.replace('max_iters=4', 'max_iters=4, factor=2'))
    for more in ((), ('--collect',)):
        assert run_table(*args, *more) == 2
        assert 'fast/seed0/result.json' in capsys.readouterr().err
    assert run_table(*args, '--dry-run', '--rerun-changed') == 0
    assert '2 of 2 runs to do' in capsys.readouterr().out
    assert run_table(*args, '--rerun-changed') == 0
    assert len(list(out.glob('*/seed0.changed-*'))) == 2 and len(list(out.glob('*/seed0'))) == 2
    assert run_table(pair, '--out', out, '--collect') == 0


@pytest.mark.slow
def test_a_table_goes_on_from_restored_results(run_table, pair, tmp_path):
    """Their proposals are not there; source-only's training may differ on another machine."""
    first, second = tmp_path / 'first', tmp_path / 'second'
    assert run_table(pair, '--rows', 'source_only', 'slow', '--seeds', 0, '--out', first) == 0
    assert run_table(pair, '--out', first, '--collect', '--publish') == 0
    assert run_table(pair, '--out', second, '--restore') == 0
    assert run_table(pair, '--rows', 'slow', '--seeds', 0, '--out', second) == 0
    assert starts(second) == []  # what is finished needs no proposals
    dump = tmp_path / 'tools/data/dump_proposals.py'
    dump.write_text(dump.read_text().replace('proposals of', 'other proposals of'))
    assert run_table(pair, '--rows', 'slow', 'fast', '--seeds', 0, '--out', second) == 0
    assert [line.split()[1] for line in starts(second)] == ['fast', 'source_only']
    assert run_table(pair, '--out', second, '--collect', '--publish') == 0
    used = [read(pair / f'results/{row}_seed0.json')['proposals'] for row in ('slow', 'fast')]
    assert used[0]['sha256'] != used[1]['sha256']
    assert used[0]['config_sha256'] == used[1]['config_sha256']


@pytest.mark.slow
def test_a_begun_run_does_not_go_on_on_other_proposals(run_table, pair, tmp_path, capsys):
    out = tmp_path / 'out'
    args = (pair, '--rows', 'source_only', 'fast', '--seeds', 0, '--out', out)
    assert run_table(*args) == 0
    (out / 'fast/seed0/result.json').unlink()  # trained, not scored
    (out / 'source_only/seed0/proposals.npz').write_text('others')
    assert run_table(*args) == 1
    assert 'fast seed 0 was begun on other proposals' in capsys.readouterr().err
    (out / 'source_only/seed0/proposals.npz').unlink()  # is made again, the same
    assert run_table(*args) == 0 and len(starts(out)) == 2


@pytest.mark.slow
def test_a_failed_dump_leaves_the_result_in_the_table(run_table, pair, tmp_path, capsys):
    dump = tmp_path / 'tools/data/dump_proposals.py'
    text = dump.read_text()
    dump.write_text('raise SystemExit("no")')
    out = tmp_path / 'out'
    args = (pair, '--rows', 'source_only', 'fast', '--seeds', 0, '--out', out)
    assert run_table(*args) == 1
    assert 'source_only seed 0: propose ended with status 1' in capsys.readouterr().err
    table = read(out / 'table.json')
    assert set(table['rows']) == {'source_only'}
    dump.write_text(text)
    assert run_table(*args) == 0 and len(starts(out)) == 2


@pytest.mark.slow
def test_ctrl_c_in_a_dump_leaves_the_result_in_the_table(run_table, pair, tmp_path):
    dump = tmp_path / 'tools/data/dump_proposals.py'
    text = dump.read_text()
    stop = 'import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(60)'
    dump.write_text(stop)
    out = tmp_path / 'out'
    args = (pair, '--rows', 'source_only', 'fast', '--seeds', 0, '--out', out)
    assert run_table(*args) == 130
    assert set(read(out / 'table.json')['rows']) == {'source_only'}
    dump.write_text(text)
    assert run_table(*args) == 0 and len(starts(out)) == 2


def test_one_process_writes_the_proposals(pair, tmp_path):
    rows = choose_rows(pair, ['source_only'])
    (cell,) = make_cells(pair, rows, [5], tmp_path, Settings(processes=4))
    four = Settings(('a.b=1',), processes=4)
    argv = Commands(cell, read_config(cell.config), four).propose(Path('iter_4.pth')).argv
    assert argv[2:5] == [str(ROOT / 'tools/data/dump_proposals.py'), str(cell.config), 'iter_4.pth']
    assert argv[-4:] == ['--out', str(cell.proposals_file), '--cfg-options', 'a.b=1']
    assert '--launcher' not in argv


@pytest.mark.parametrize('name', ['a b', 'a,b', "a'b"])
def test_folders_that_options_cannot_name_are_refused(run_table, pair, tmp_path, capsys, name):
    assert run_table(pair, '--out', tmp_path / name, '--seeds', 0) == 2
    assert '--cfg-options take no path with' in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_without_source_only_there_are_none(run_table, pair, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'out'
    args = (pair, '--rows', 'fast', '--seeds', 0, '--out', out)
    monkeypatch.setenv('FAIL', 'source_only')
    assert run_table(*args) == 1
    said = capsys.readouterr().err
    assert 'fast seed 0: no proposals in' in said and 'source_only seed 0: train ended' in said
    assert not (out / 'fast/seed0/train.log').exists()
    (pair / 'source_only.py').unlink()
    assert run_table(*args[:-1], tmp_path / 'other') == 2
    said = capsys.readouterr().err
    assert 'fast.py reads proposals' in said and 'has no source_only.py' in said


@pytest.mark.parametrize('pair', PAIRS)
@pytest.mark.parametrize('row', ['slowonly', 'slowfast', 'acrn'])
def test_the_options_reach_every_loader_of_the_configs(pair, row, tmp_path):
    path = ROOT / f'configs/{pair}/{row}.py'
    before = proposal_files(read_config(path))
    assert set(before.values()) == {Path(f'data/proposals/{pair}.npz')}
    assert {key.split('.')[0] for key in before} == {'train_dataloader', 'test_dataloader'}
    options = proposal_options(Config.fromfile(path), tmp_path / 'p.npz')
    after = proposal_files(read_config(path, options))
    assert after == dict.fromkeys(before, tmp_path / 'p.npz')
    assert not proposal_files(read_config(path.with_name(f'{row}_gt.py')))
    assert not proposal_files(read_config(path.with_name('source_only.py')))
