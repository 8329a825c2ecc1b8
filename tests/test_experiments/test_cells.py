"""Which runs a table has, and which of them are finished."""

import json

import pytest

from mmstal_da.errors import UsageError
from mmstal_da.experiments.cells import make_cells, state_of
from mmstal_da.experiments.fingerprint import Settings, digest_config
from mmstal_da.experiments.rows import PAPER_ROWS, choose_rows, read_config

from .fake_table import ITERS, ROOT, make_pair


@pytest.fixture()
def cell(tmp_path):
    pair = make_pair(tmp_path / 'pair', 'full')
    (cell,) = make_cells(pair, choose_rows(pair), [3], tmp_path / 'out', Settings())
    return cell


def test_rows_are_the_papers_unless_others_are_named():
    pair = ROOT / 'configs/jhmdb_to_ucf101'
    assert tuple(choose_rows(pair)) == PAPER_ROWS
    named = choose_rows(pair, ['full_112px_scratch', 'full', 't_img'])
    assert list(named) == ['t_img', 'full', 'full_112px_scratch']
    with pytest.raises(UsageError, match='has no fall; it has source_only, t_img'):
        choose_rows(pair, ['fall'])


def test_seeds_are_outside_and_the_two_ends_of_the_scale_come_first(tmp_path):
    rows = choose_rows(ROOT / 'configs/synthetic', ['full', 't_img', 'oracle', 'source_only'])
    cells = make_cells(ROOT / 'configs/synthetic', rows, [4, 2], tmp_path, Settings())
    once = ['source_only', 'oracle', 't_img', 'full']
    assert [(cell.seed, cell.row) for cell in cells] == [(s, row) for s in (4, 2) for row in once]
    assert cells[0].folder == tmp_path / 'source_only/seed4' and cells[0].max_iters == 300


def test_rows_that_are_scored_on_other_data_are_refused(tmp_path):
    pair = make_pair(tmp_path / 'pair', 'full', 'oracle')
    text = (pair / 'full.py').read_text()
    (pair / 'full.py').write_text(text.replace('background_frames=False', 'split="other"'))
    with pytest.raises(UsageError, match='oracle and full are not scored alike'):
        make_cells(pair, choose_rows(pair), [0], tmp_path, Settings())


@pytest.mark.slow
@pytest.mark.parametrize(
    ('options', 'same'),
    [
        (['default_hooks.logger.interval=1', 'default_hooks.checkpoint.interval=5'], True),
        (['work_dir=elsewhere', 'randomness.seed=7', 'log_level=DEBUG', 'train_cfg.val_begin=3'],
         True),
        (['optim_wrapper.optimizer.lr=0.5'], False),
        (['model.adaptation.spatial.loss.gamma=1.0'], False),
        (['test_evaluator.split=train'], False),
        (['default_hooks.adaptation_weight.max_weight=1.0'], False),
    ],
)  # fmt: skip
def test_digest_is_of_what_a_result_depends_on(options, same):
    path = ROOT / 'configs/synthetic/full.py'
    before = digest_config(read_config(path), Settings())
    assert (digest_config(read_config(path, options), Settings()) == before) is same


def test_precision_and_number_of_processes_count():
    cfg = read_config(ROOT / 'configs/synthetic/full.py')
    digests = {digest_config(cfg, Settings(amp=a, processes=p)) for a in (0, 1) for p in (1, 2)}
    assert len(digests) == 4


def test_states(cell):
    assert state_of(cell).kind == 'todo'
    cell.folder.mkdir(parents=True)
    (cell.folder / f'iter_{ITERS}.pth').touch()
    (cell.folder / 'last_checkpoint').write_text(f'/moved/from/iter_{ITERS}.pth')
    assert state_of(cell).kind == 'changed'  # trained by nobody knows which config
    cell.attempts_file.write_text(json.dumps({'config_sha256': cell.digest, 'attempts': []}))
    assert (state_of(cell).kind, state_of(cell).iteration) == ('resume', ITERS)
    cell.attempts_file.write_text(json.dumps({'config_sha256': 'other', 'attempts': []}))
    assert state_of(cell).kind == 'changed'
    cell.result_file.write_text(json.dumps({'config_sha256': cell.digest}))
    assert state_of(cell).kind == 'done'
    cell.result_file.write_text('half')
    with pytest.raises(UsageError, match='result.json: not JSON'):
        state_of(cell)


def test_a_pointer_to_a_lost_checkpoint_is_named(cell):
    cell.folder.mkdir(parents=True)
    (cell.folder / 'last_checkpoint').write_text('iter_9.pth')
    with pytest.raises(UsageError, match=r'last_checkpoint names iter_9\.pth, which is not there'):
        state_of(cell)
