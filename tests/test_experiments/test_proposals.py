"""Rows that read proposals: where a table has these from."""

import hashlib
import json

import pytest
from mmengine.config import Config

from mmstal_da.experiments.cells import read_config
from mmstal_da.experiments.proposals import files_of, proposal_options

from .fake_table import READS, ROOT, make_pair, starts

PAIRS = ('ucfsports_to_ucf101', 'jhmdb_to_ucf101', 'synthetic_b', 'jhmdb_to_foggy')


@pytest.fixture()
def named(tmp_path):
    """The file that the configs name; not there."""
    return tmp_path / 'data/proposals.npz'


@pytest.fixture()
def pair(tmp_path, named):
    folder = make_pair(tmp_path / 'configs/pair', 'source_only', 'full', 'fast', 'slow')
    for row in ('fast', 'slow'):
        with open(folder / f'{row}.py', 'a') as file:
            file.write(READS.format(file=named))
    return folder


def read(path):
    return json.loads(path.read_text())


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
            assert f'train_dataloader.dataset.source.pipeline.1.proposals={file} ' in log
            assert f'test_dataloader.dataset.pipeline.0.proposals={file}' in log
            log = (out / f'{row}/seed{seed}/test.log').read_text()
            assert f'test_dataloader.dataset.pipeline.0.proposals={file}' in log
            data = read(out / f'{row}/seed{seed}/result.json')['data']
            assert data[f'source_only/seed{seed}/proposals.npz'] == digest(file)
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
    assert 'only its proposals are missing' in capsys.readouterr().out
    assert run_table(*args) == 0
    assert (folder / 'proposals.npz').is_file()
    assert before == ((folder / 'result.json').read_bytes(), (folder / 'train.log').read_bytes())


def test_a_result_without_checkpoint_is_trained_again_and_kept(run_table, pair, tmp_path):
    """Such as one that --restore put there."""
    out = tmp_path / 'out'
    assert run_table(pair, '--rows', 'source_only', '--seeds', 0, '--out', out) == 0
    folder = out / 'source_only/seed0'
    kept = (folder / 'result.json').read_bytes()
    for path in folder.iterdir():
        if path.name != 'result.json' and path.is_file():
            path.unlink()
    assert run_table(pair, '--rows', 'slow', '--seeds', 0, '--out', out) == 0
    assert (folder / 'result.json').read_bytes() == kept
    assert (folder / 'proposals.npz').is_file() and (folder / 'last_checkpoint').is_file()


def test_the_file_that_the_config_names_serves_where_source_only_is_not_run(
    run_table, pair, named, tmp_path
):
    named.parent.mkdir()
    named.write_text('made before')
    out = tmp_path / 'out'
    args = (pair, '--rows', 'fast', '--seeds', 0, '--out', out)
    assert run_table(*args) == 0
    assert not (out / 'source_only').exists()
    assert 'LoadProposals' not in (log := (out / 'fast/seed0/train.log').read_text())
    assert '.proposals=' not in log
    assert read(out / 'fast/seed0/result.json')['data'] == {str(named): digest(named)}
    named.write_text('another')
    assert run_table(*args) == 2  # not what it was run on


def test_source_only_of_the_table_comes_before_the_file_that_the_config_names(
    run_table, pair, named, tmp_path
):
    named.parent.mkdir()
    named.write_text('of long ago')
    out = tmp_path / 'out'
    assert run_table(pair, '--rows', 'source_only', 'fast', '--seeds', 0, '--out', out) == 0
    assert set(read(out / 'fast/seed0/result.json')['data']) == {'source_only/seed0/proposals.npz'}


def test_a_begun_run_stays_with_what_it_was_begun_on(run_table, pair, named, tmp_path):
    named.parent.mkdir()
    named.write_text('made before')
    out = tmp_path / 'out'
    assert run_table(pair, '--rows', 'fast', '--seeds', 0, '--out', out) == 0
    (out / 'fast/seed0/result.json').unlink()  # trained, not scored
    assert run_table(pair, '--rows', 'source_only', 'fast', '--seeds', 0, '--out', out) == 0
    assert read(out / 'fast/seed0/result.json')['data'] == {str(named): digest(named)}
    assert not (out / 'source_only/seed0/proposals.npz').exists()


def test_other_proposals_than_a_run_was_made_with_are_refused(run_table, pair, tmp_path, capsys):
    out = tmp_path / 'out'
    args = (pair, '--rows', 'source_only', 'fast', '--seeds', 0, '--out', out)
    assert run_table(*args) == 0
    (out / 'source_only/seed0/proposals.npz').write_text('others')
    for more in ((), ('--collect',)):
        assert run_table(*args, *more) == 2
        assert 'fast/seed0/result.json' in capsys.readouterr().err
    assert run_table(*args, '--rerun-changed') == 0
    assert len(list((out / 'fast').glob('seed0*'))) == 2
    ((name, value),) = read(out / 'fast/seed0/result.json')['data'].items()
    assert value == digest(out / name)


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
    assert 'fast.py needs proposals' in said and 'dump_proposals.py' in said


@pytest.mark.parametrize('pair', PAIRS)
@pytest.mark.parametrize('row', ['slowonly', 'slowfast', 'acrn'])
def test_the_options_reach_every_loader_of_the_configs(pair, row, tmp_path):
    path = ROOT / f'configs/{pair}/{row}.py'
    before = files_of(read_config(path))
    assert set(before.values()) == {ROOT.__class__(f'data/proposals/{pair}.npz')}
    assert {key.split('.')[0] for key in before} == {'train_dataloader', 'test_dataloader'}
    options = proposal_options(Config.fromfile(path), tmp_path / 'p.npz')
    after = files_of(read_config(path, options))
    assert after == dict.fromkeys(before, tmp_path / 'p.npz')
    assert not files_of(read_config(path.with_name(f'{row}_gt.py')))
    assert not files_of(read_config(path.with_name('source_only.py')))
