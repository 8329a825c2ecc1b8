"""Rows that read what other rows' runs make: proposals and pseudo-tubes."""

import hashlib
import json
from pathlib import Path

import pytest
from mmengine.config import Config

from mmstal_da.experiments.cells import State, make_cells
from mmstal_da.experiments.commands import Commands
from mmstal_da.experiments.display import Rates
from mmstal_da.experiments.fingerprint import Settings, digest_config, digest_file
from mmstal_da.experiments.products import PRODUCTS, Recipes
from mmstal_da.experiments.record import target_labels
from mmstal_da.experiments.rows import choose_rows, find_rows, read_config
from tests.load_tool import load_tool

from .fake_table import LEARNS, READS, ROOT, make_pair, starts

PROPOSALS, TUBES, BOXES = PRODUCTS
PAIRS = sorted(path.parent.name for path in (ROOT / 'configs').glob('*/slowonly.py'))
READERS = [(f'{pair}/{row}', PROPOSALS) for pair in PAIRS for row in ('slowonly', 'acrn')]
READERS += [
    (
        path.relative_to(ROOT / 'configs').with_suffix('').as_posix(),
        BOXES if 'boxes' in path.stem else TUBES,
    )
    for path in sorted((ROOT / 'configs').glob('*/pseudo*.py'))
]
# what the rows of the fixture read
MAKERS = {'fast': ('source_only', PROPOSALS), 'pseudo': ('full', TUBES), 'boxes': ('full', BOXES)}
either = pytest.mark.parametrize(('row', 'maker', 'product'), [(k, *v) for k, v in MAKERS.items()])


@pytest.fixture()
def pair(tmp_path):
    rows = ('source_only', 'full', 'fast', 'slow', 'pseudo', 'boxes')
    folder = make_pair(tmp_path / 'configs/pair', *rows)
    for row in ('fast', 'slow'):
        append(folder / f'{row}.py', READS.format(file='data/proposals/named.npz'))
    append(folder / 'pseudo.py', LEARNS)
    append(folder / 'boxes.py', LEARNS.replace('pseudo.json', 'pseudo_boxes.json'))
    return folder


def append(path, text):
    with open(path, 'a') as file:
        file.write(text)


def read(path):
    return json.loads(path.read_text())


def tool_of(product, tmp_path):
    return tmp_path / 'tools/data' / product.tool


@pytest.mark.slow
def test_the_run_of_the_same_seed_makes_them_once_and_before(
    run_table, pair, tmp_path, monkeypatch
):
    monkeypatch.setenv('SLEEP', '0.5')
    out = tmp_path / 'out'
    rows = ('--rows', 'source_only', 'full', 'fast', 'slow', 'pseudo', 'boxes')
    assert run_table(pair, *rows, '--seeds', 0, 1, '--out', out, '--jobs', 3) == 0
    for seed in (0, 1):
        for row, (maker, product) in {**MAKERS, 'slow': MAKERS['fast']}.items():
            file = out / f'{maker}/seed{seed}' / product.file
            assert file.read_text() == f'{product.name} of {maker} {seed}\n'  # once
            result = read(out / f'{row}/seed{seed}/result.json')
            assert result[product.name]['from'] == f'{maker} seed {seed}'
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            assert result[product.name]['sha256'] == digest
            learns = row in ('pseudo', 'boxes')
            assert result['target_labels'] == ('model' if learns else None)
            attempts = read(file.with_name('attempts.json'))['attempts']
            (made,) = (a for a in attempts if a['stage'] == product.stage)
            assert (made['stage'], made['sha256']) == (product.stage, digest)
            begun = read(out / f'{row}/seed{seed}/attempts.json')['attempts'][0]
            assert begun['began'] >= made['began']
            for step in ('train', 'test'):
                log = (out / f'{row}/seed{seed}/{step}.log').read_text()
                options = product.options(read_config(pair / f'{row}.py'), file)
                assert options and f'--cfg-options {" ".join(options)}' in log
        assert 'proposals' not in (out / f'full/seed{seed}/train.log').read_text()
    assert run_table(pair, '--out', out, '--collect') == 0
    assert (
        "a model's labels, uncorrected, of the target: boxes, pseudo."
        in (out / 'table.md').read_text()
    )


@pytest.mark.slow
@either
def test_the_maker_is_added_where_it_is_not_asked_for(
    run_table, pair, tmp_path, capsys, row, maker, product
):
    out = tmp_path / 'out'
    args = (pair, '--rows', row, '--seeds', 2, '--out', out)
    assert run_table(*args, '--dry-run') == 0
    said = capsys.readouterr().out
    assert f'{maker} seed 2  to do, then to write its {product.title}' in said
    assert not out.exists()
    assert run_table(*args) == 0
    assert sorted(line.split()[1] for line in starts(out)) == sorted([row, maker])
    assert run_table(*args) == 0 and len(starts(out)) == 2


@pytest.mark.slow
@either
def test_a_finished_maker_makes_them_without_training(
    run_table, pair, tmp_path, capsys, row, maker, product
):
    out = tmp_path / 'out'
    assert run_table(pair, '--rows', maker, '--seeds', 0, '--out', out) == 0
    folder = out / f'{maker}/seed0'
    assert not (folder / product.file).exists()
    before = (folder / 'result.json').read_bytes(), (folder / 'train.log').read_bytes()
    args = (pair, '--rows', row, '--seeds', 0, '--out', out)
    assert run_table(*args, '--dry-run') == 0
    said = capsys.readouterr().out
    assert f'{maker} seed 0  to write its {product.title}, 0:' in said  # and how long it takes
    assert run_table(*args) == 0
    assert (folder / product.file).is_file()
    assert before == ((folder / 'result.json').read_bytes(), (folder / 'train.log').read_bytes())


@pytest.mark.slow
def test_a_result_without_checkpoint_is_trained_again_and_kept(run_table, pair, tmp_path, capsys):
    """Such as one that --restore put there. What an earlier training made does not count."""
    out = tmp_path / 'out'
    assert run_table(pair, '--rows', 'full', '--seeds', 0, '--out', out) == 0
    folder = out / 'full/seed0'
    kept = (folder / 'result.json').read_bytes()
    for path in folder.iterdir():
        if path.name != 'result.json' and path.is_file():
            path.unlink()
    (folder / 'proposals.npz').write_text('of the weights that are gone')
    args = (pair, '--rows', 'pseudo', '--seeds', 0, '--out', out)
    assert run_table(*args, '--dry-run') == 0
    assert 'full seed 0  to do' in capsys.readouterr().out
    for iteration, plan in ((2, 'to resume from iteration 2'), (4, 'to write its pseudo-tubes')):
        (folder / f'iter_{iteration}.pth').write_text('full 0')
        (folder / 'last_checkpoint').write_text(f'iter_{iteration}.pth')
        assert run_table(*args, '--dry-run') == 0
        assert f'full seed 0  {plan}' in capsys.readouterr().out
        (folder / f'iter_{iteration}.pth').unlink()
        (folder / 'last_checkpoint').unlink()
    assert run_table(*args) == 0
    assert (folder / 'result.json').read_bytes() == kept
    assert (folder / 'pseudo_tubes.json').is_file() and (folder / 'last_checkpoint').is_file()
    assert not (folder / 'proposals.npz').exists()


@pytest.mark.slow
@either
def test_where_the_maker_has_changed_its_readers_have_too(
    run_table, pair, tmp_path, capsys, row, maker, product
):
    out = tmp_path / 'out'
    args = (pair, '--rows', row, '--seeds', 0, '--out', out)
    assert run_table(*args) == 0
    text = (pair / f'{maker}.py').read_text()
    (pair / f'{maker}.py').write_text(text.replace('max_iters=4', 'max_iters=4, factor=2'))
    for more in ((), ('--collect',)):
        assert run_table(*args, *more) == 2
        assert f'{row}/seed0/result.json' in capsys.readouterr().err
    assert run_table(*args, '--dry-run', '--rerun-changed') == 0
    assert '2 of 2 runs to do' in capsys.readouterr().out
    assert run_table(*args, '--rerun-changed') == 0
    assert len(list(out.glob('*/seed0.changed-*'))) == 2 and len(list(out.glob('*/seed0'))) == 2
    assert run_table(pair, '--out', out, '--collect') == 0


@pytest.mark.slow
def test_a_table_goes_on_from_restored_results(run_table, pair, tmp_path):
    """What they read is not there; the maker's training may differ on another machine."""
    (pair / 'other.py').write_text((pair / 'pseudo.py').read_text())
    first, second = tmp_path / 'first', tmp_path / 'second'
    assert run_table(pair, '--rows', 'full', 'other', '--seeds', 0, '--out', first) == 0
    assert run_table(pair, '--out', first, '--collect', '--publish') == 0
    assert run_table(pair, '--out', second, '--restore') == 0
    assert run_table(pair, '--rows', 'other', '--seeds', 0, '--out', second) == 0
    assert starts(second) == []  # what is finished reads nothing
    tool = tool_of(TUBES, tmp_path)
    tool.write_text(tool.read_text().replace(' of ', ' out of '))
    assert run_table(pair, '--rows', 'other', 'pseudo', '--seeds', 0, '--out', second) == 0
    assert [line.split()[1] for line in starts(second)] == ['full', 'pseudo']
    assert run_table(pair, '--out', second, '--collect', '--publish') == 0
    results = [read(pair / f'results/{row}_seed0.json') for row in ('other', 'pseudo')]
    assert [result['target_labels'] for result in results] == ['model', 'model']
    used = [result['pseudo_tubes'] for result in results]
    assert used[0]['sha256'] != used[1]['sha256']
    assert used[0]['config_sha256'] == used[1]['config_sha256']


@pytest.mark.slow
@either
def test_a_begun_run_does_not_go_on_on_others(
    run_table, pair, tmp_path, capsys, row, maker, product
):
    out = tmp_path / 'out'
    args = (pair, '--rows', maker, row, '--seeds', 0, '--out', out)
    assert run_table(*args) == 0
    (out / row / 'seed0/result.json').unlink()  # trained, not scored
    file = out / maker / 'seed0' / product.file
    file.write_text('corrected by hand')
    assert run_table(*args) == 1
    assert f'{product.file} is not what {maker} seed 0 wrote' in capsys.readouterr().err
    file.unlink()
    tool = tool_of(product, tmp_path)
    text = tool.read_text()
    tool.write_text(text.replace(' of ', ' out of '))
    assert run_table(*args) == 1
    assert f'{row} seed 0 was begun on other {product.title}' in capsys.readouterr().err
    file.unlink()  # is made again, the same
    tool.write_text(text)
    assert run_table(*args) == 0 and len(starts(out)) == 2


@pytest.mark.slow
@either
def test_a_failed_tool_leaves_the_result_in_the_table(
    run_table, pair, tmp_path, capsys, row, maker, product
):
    tool = tool_of(product, tmp_path)
    text = tool.read_text()
    tool.write_text(f'raise SystemExit("{product.tool}: error: no tube")')
    out = tmp_path / 'out'
    args = (pair, '--rows', maker, row, '--seeds', 0, '--out', out)
    assert run_table(*args) == 1
    said = capsys.readouterr().err
    assert f'{maker} seed 0: {product.stage} ended with status 1' in said and 'no tube' in said
    assert f'{row} seed 0: no {product.title} in' in said
    assert set(read(out / 'table.json')['rows']) == {maker}
    tool.write_text(text)
    assert run_table(*args) == 0 and len(starts(out)) == 2


@pytest.mark.slow
@either
def test_ctrl_c_in_a_tool_leaves_the_result_in_the_table(
    run_table, pair, tmp_path, row, maker, product
):
    tool = tool_of(product, tmp_path)
    text = tool.read_text()
    stop = 'import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(60)'
    tool.write_text(stop)
    out = tmp_path / 'out'
    args = (pair, '--rows', maker, row, '--seeds', 0, '--out', out)
    assert run_table(*args) == 130
    assert set(read(out / 'table.json')['rows']) == {maker}
    tool.write_text(text)
    assert run_table(*args) == 0 and len(starts(out)) == 2


@pytest.mark.parametrize(
    ('product', 'words'),
    [
        (PROPOSALS, ['C', 'iter_4.pth']),
        (TUBES, ['iter_4.pth', '--config', 'C']),
        (
            BOXES,
            [
                'iter_4.pth',
                '--config',
                'C',
                '--link-iou',
                '1',
                '--tube-score',
                '0.8',
                '--min-length',
                '1',
                '--plausible-length',
                '1',
            ],
        ),
    ],
)
def test_one_process_makes_them(pair, tmp_path, product, words):
    rows = choose_rows(pair, ['full'])
    (cell,) = make_cells(pair, rows, [5], tmp_path, Settings(processes=4))
    four = Settings(('a.b=1',), processes=4)
    argv = Commands(cell, read_config(cell.config), four).make(Path('iter_4.pth'), product).argv
    words = [str(cell.config) if word == 'C' else word for word in words]
    out = str(tmp_path / 'full/seed5' / product.file)
    tool = str(ROOT / 'tools/data' / product.tool)
    assert argv[2:] == [tool, *words, '--out', out, '--cfg-options', 'a.b=1']
    args = load_tool(f'data/{Path(tool).stem}').make_parser().parse_args(argv[3:])
    assert (args.config, args.checkpoint) == (str(cell.config), 'iter_4.pth')
    assert str(args.out) == out and args.cfg_options == {'a.b': 1}


def test_making_them_counts_as_long_as_scoring(pair, tmp_path):
    (cell,) = make_cells(pair, choose_rows(pair, ['full']), [0], tmp_path, Settings())
    rates = Rates({'full': 10.0}, {'full': 20.0}, 'made up')
    assert rates.seconds(cell, State('todo')) == 4 * 10 + 20
    assert rates.seconds(cell, State('todo', unmade=(TUBES, BOXES))) == 4 * 10 + 3 * 20
    assert rates.seconds(cell, State('make', 4, unmade=(TUBES,))) == 20


@pytest.mark.parametrize('name', ['a b', 'a,b', "a'b"])
def test_folders_that_options_cannot_name_are_refused(run_table, pair, tmp_path, capsys, name):
    assert run_table(pair, '--out', tmp_path / name, '--seeds', 0) == 2
    assert '--cfg-options take no path with' in capsys.readouterr().err
    assert not (tmp_path / name).exists()


@pytest.mark.slow
@either
def test_without_the_maker_there_are_none(
    run_table, pair, tmp_path, monkeypatch, capsys, row, maker, product
):
    out = tmp_path / 'out'
    args = (pair, '--rows', row, '--seeds', 0, '--out', out)
    monkeypatch.setenv('FAIL', maker)
    assert run_table(*args) == 1
    said = capsys.readouterr().err
    assert f'{row} seed 0: no {product.title} in' in said and product.tool in said
    assert f'{maker} seed 0: train ended' in said
    assert not (out / f'{row}/seed0/train.log').exists()
    (pair / f'{maker}.py').unlink()
    assert run_table(*args[:-1], tmp_path / 'other') == 2
    said = capsys.readouterr().err
    assert f'{row}.py reads {product.title}' in said and f'has no {maker}.py' in said
    assert f"{product.name}_from = 'ROW'" in said


def test_a_config_says_whose_it_reads(pair):
    def makers(row):
        found = Recipes(find_rows(pair), Settings()).inputs(row)
        return [(item.product.name, item.row) for item in found]

    assert makers('pseudo') == [('pseudo_tubes', 'full')] and makers('full') == []
    text = (pair / 'pseudo.py').read_text()
    digests = {digest_config(read_config(pair / 'pseudo.py'), Settings())}
    for more, expected in (
        ("pseudo_tubes_from = 'source_only'\n", [('pseudo_tubes', 'source_only')]),
        ('pseudo_tubes_from = None\n', []),  # the file that the config names
    ):
        (pair / 'pseudo.py').write_text(text + more)
        assert makers('pseudo') == expected
        digests.add(digest_config(read_config(pair / 'pseudo.py'), Settings()))
    assert len(digests) == 3  # another maker is another result
    (pair / 'pseudo_aug.py').write_text(text)
    (pair / 'full_aug.py').write_text((pair / 'full.py').read_text())
    assert makers('pseudo_aug') == [('pseudo_tubes', 'full_aug')]  # of the same block


@pytest.mark.slow
def test_their_own_file_is_read_where_the_config_says_none(run_table, pair, tmp_path):
    append(pair / 'pseudo.py', 'pseudo_tubes_from = None\n')
    out = tmp_path / 'out'
    assert run_table(pair, '--rows', 'pseudo', '--seeds', 0, '--out', out) == 0
    assert [line.split()[1] for line in starts(out)] == ['pseudo']
    assert 'ann_file' not in (out / 'pseudo/seed0/train.log').read_text()
    result = read(out / 'pseudo/seed0/result.json')
    assert 'pseudo_tubes' not in result and result['target_labels'] == 'model'


@pytest.mark.slow
def test_rounds(run_table, pair, tmp_path, capsys):
    """A row that learns the tubes of one that learns tubes; and no row those of its own."""
    text = (pair / 'pseudo.py').read_text() + "pseudo_tubes_from = 'pseudo'\n"
    (pair / 'again.py').write_text(text)  # comes before pseudo by name
    out = tmp_path / 'out'
    args = (pair, '--rows', 'again', 'pseudo', '--seeds', 0, '--out', out)
    assert run_table(*args, '--dry-run') == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if 'seed 0' in line]
    assert lines == ['full', 'pseudo', 'again']
    assert run_table(*args) == 0 and len(starts(out)) == 3
    assert (out / 'pseudo/seed0/pseudo_tubes.json').read_text() == 'pseudo_tubes of pseudo 0\n'
    log = (out / 'pseudo/seed0/label.log').read_text()
    assert f'target.ann_file={out}/full/seed0/pseudo_tubes.json' in log  # the videos' list
    append(pair / 'full.py', 'load_from = 1\n')  # it reaches those that do not read it directly
    assert run_table(*args) == 2
    said = capsys.readouterr().err
    assert all(f'{row}/seed0/result.json' in said for row in ('full', 'pseudo', 'again'))
    append(pair / 'pseudo.py', "pseudo_tubes_from = 'again'\n")
    assert run_table(*args) == 2
    assert 'again reads pseudo reads again' in capsys.readouterr().err


def test_the_data_of_the_maker_count_and_what_it_makes_does_not(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data/x').mkdir(parents=True)
    for name in ('s', 'pseudo', 'u'):
        (tmp_path / f'data/x/{name}.json').write_text(name)
    append(pair / 'full.py', "train_dataloader['dataset']['target'].update(ann_file='u.json')\n")
    (cell,) = make_cells(pair, {'pseudo': pair / 'pseudo.py'}, [0], tmp_path, Settings())
    names = ('data/x/s.json', 'data/x/u.json')
    assert cell.data == {name: digest_file(tmp_path / name) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(('config', 'product'), READERS)
def test_the_options_reach_every_loader_of_the_configs(config, product, tmp_path):
    path = ROOT / f'configs/{config}.py'
    (item,) = Recipes(find_rows(path.parent), Settings()).inputs(path.stem)
    assert item.product == product and item.row in ('source_only', 'full', 'full_aug')
    before = product.named(read_config(path))
    parts = {key.split('.')[0] for key in before}
    if product is PROPOSALS:
        assert set(before.values()) == {Path(f'data/proposals/{path.parent.name}.npz')}
        assert parts == {'train_dataloader', 'test_dataloader'}
        assert not product.named(read_config(path.with_name(f'{path.stem}_gt.py')))
    else:
        boxes = '_boxes' if product is BOXES else ''
        assert [file.name for file in before.values()] == [f'target_pseudo{boxes}.json']
        assert parts == {'train_dataloader'}
    file = tmp_path / product.file
    options = product.options(Config.fromfile(path), file)
    after = product.named(read_config(path, options))
    assert after == dict.fromkeys(before, file)
    for row in ('source_only', 'oracle', 'full'):
        assert not any(other.named(read_config(path.with_name(f'{row}.py'))) for other in PRODUCTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('row', 'whose'),
    [('full', None), ('source_only', None), ('pseudo_aug', 'model'), ('slowonly', None)]
    + [('da_aim_gt_aug', 'boxes'), ('source_only_gt_aug', None), ('oracle_st_gt_aug', 'person')]
    + [(row, 'person') for row in ('oracle', 'oracle_st', 'key_frame_only')],
)
def test_whose_labels_of_the_target_a_row_learns(row, whose):
    assert target_labels(read_config(ROOT / f'configs/synthetic_a/{row}.py')) == whose
