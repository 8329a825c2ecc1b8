"""What is put beside the configs."""

import json
import re

import pytest
import yaml

from mmstal_da.errors import UsageError
from mmstal_da.experiments.publishing import (
    architecture_of,
    insert_table,
    make_metafile,
    publish,
    published_results,
    without_machine,
)
from mmstal_da.experiments.table import make_table

from .fake_table import ROOT, files_of, make_pair, make_record, starts

CELLS = [('source_only', 0), ('full', 0), ('full', 1)]


def test_pseudo_labels_are_said_to_be_such():
    made = make_metafile([make_record('pseudo', 0, 40.0, 20.0)], ROOT / 'configs/synthetic_a')
    assert made['Models'][0]['Metadata']['Training Data'] == [
        'synthetic_a/source.json (labelled)',
        'synthetic_a/target_pseudo.json (pseudo-labelled)',
    ]


def test_paths_of_the_machine_are_left_out(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    values = [f'x.y={tmp_path}/data/t.json', 'b=/elsewhere/data/t.json', 'https://x.org/a/b', 1]
    assert without_machine({'a': values, f'{tmp_path}/data/t.json': 'digest'}) == {
        'a': ['x.y=data/t.json', 'b=.../t.json', 'https://x.org/a/b', 1],
        'data/t.json': 'digest',
    }


def test_readme_keeps_what_is_around_the_table(tmp_path):
    pair = make_pair(tmp_path / 'pair')
    once = insert_table(pair / 'README.md', '| 1 \\g |\n')
    (pair / 'README.md').write_text(once)
    assert once.startswith('# A\n\n<!-- table:begin -->\n\n| 1 \\g |\n') and once.endswith(
        '\n\nB\n'
    )
    assert insert_table(pair / 'README.md', '| 1 \\g |\n') == once
    (pair / 'README.md').write_text('nothing')
    with pytest.raises(UsageError, match=r'README\.md needs the lines <!-- table:begin -->'):
        insert_table(pair / 'README.md', 'x')


def test_publish(tmp_path):
    pair = make_pair(tmp_path / 'configs/p', 'source_only', 'full')
    make_pair(tmp_path / 'configs/other')
    (tmp_path / 'configs/other/metafile.yml').write_text('{}')
    records = [
        make_record('source_only', 0, 30.0, 20.0),
        make_record('full', 0, 40.0, 21.0, cfg_options=['load_from=/abs/olute/b']),
        make_record('full', 1, 44.0, 25.0),
    ]
    notes = []
    publish(pair, make_table(records), records, dict.fromkeys(CELLS, tmp_path / 'no'), notes.append)
    # the configs of this pair have no annotation file
    assert len(notes) == 3 and 'is no single TubeMetric' in notes[0]
    table = json.loads((pair / 'results/table.json').read_text())
    assert table['rows']['full']['frame_mAP@0.5'] == {
        'mean': 42.0,
        'std': pytest.approx(8**0.5),
    }
    assert [(r['row'], r['seed']) for r in published_results(pair)] == [
        ('source_only', 0),
        ('full', 0),
        ('full', 1),
    ]
    assert '| T_img + T_inst + S_img | 42.0 ± 2.8 |' in (pair / 'README.md').read_text()
    metafile = yaml.safe_load((pair / 'metafile.yml').read_text())
    assert metafile['Collections'][0]['Name'] == 'p'
    full = metafile['Models'][1]
    assert full['Name'] == 'p_full' and full['Config'] == 'configs/p/full.py'
    assert full['Metadata']['Training Data'] == ['x/s.json (labelled)', 'x/t.json (unlabelled)']
    assert full['Results'][0]['Metrics']['frame_mAP@0.5'] == 42.0
    assert 'Weights' not in full
    index = yaml.safe_load((pair.parent / 'model-index.yml').read_text())
    assert index['Import'] == ['other/metafile.yml', 'p/metafile.yml']
    for path, (_, content) in files_of(pair).items():
        if path.suffix in ('.json', '.yml', '.md'):
            assert not re.search(rb'[\s"=](/\w+)+/', content), path


@pytest.mark.slow
def test_the_metafile_names_the_networks_of_each_row():
    pair = ROOT / 'configs/jhmdb_to_foggy'
    ours = ['DomainAdaptiveDetector', 'ResNet', 'InceptionI3D', 'RPNHead', 'ActionRoIHead']
    ours += ['InceptionRoIStage', 'BBoxHead']
    theirs = ['FastRCNN', 'ResNet3dSlowFast', 'AVARoIHead']
    assert architecture_of(pair / 'source_only.py') == ours
    assert architecture_of(pair / 's_img.py') == [*ours, 'SpatialDiscriminator']
    assert architecture_of(pair / 'slowfast.py') == [*theirs, 'BBoxHeadAVA']
    assert architecture_of(pair / 'acrn.py') == [*theirs, 'ACRNHead', 'BBoxHeadAVA']
    published = yaml.safe_load((ROOT / 'configs/jhmdb_static_to_moving/metafile.yml').read_text())
    for model in published['Models']:
        assert model['Metadata']['Architecture'] == architecture_of(ROOT / model['Config'])


def test_nothing_is_published_without_marks(tmp_path):
    pair = make_pair(tmp_path / 'p', 'full')
    (pair / 'README.md').unlink()
    records = [make_record('full', 0, 1.0, 1.0)]
    before = files_of(pair)
    with pytest.raises(UsageError, match='needs the lines'):
        publish(pair, make_table(records), records, {})
    assert files_of(pair) == before


@pytest.mark.slow
def test_collect_and_publish_from_the_command_line(run_table, tmp_path, capsys):
    pair, out = make_pair(tmp_path / 'configs/q', 'source_only', 'full'), tmp_path / 'out'
    assert run_table(pair, '--seeds', 0, '--out', out, '--collect') == 2
    assert 'is finished' in capsys.readouterr().err
    assert run_table(pair, '--seeds', 0, '--out', out) == 0
    (out / 'table.json').unlink()
    assert run_table(pair, '--out', out, '--collect', '--publish') == 0
    assert (out / 'table.json').is_file()
    assert (pair / 'results/full_seed0.json').is_file()
    assert 'T_img + T_inst + S_img' in capsys.readouterr().out


@pytest.mark.slow
def test_results_of_other_protocols_are_not_put_into_one_table(run_table, tmp_path, capsys):
    pair, out = make_pair(tmp_path / 'q', 'source_only', 'full'), tmp_path / 'out'
    assert run_table(pair, '--seeds', 0, '--out', out) == 0
    path = out / 'full/seed0/result.json'
    path.write_text(path.read_text().replace('"act"', '"voc"'))
    assert run_table(pair, '--out', out, '--collect') == 2
    assert "has protocol = 'voc'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_published_table_goes_on_elsewhere(run_table, tmp_path, capsys):
    pair = make_pair(tmp_path / 'configs/q', 'source_only', 'full', 'oracle')
    here, there = tmp_path / 'here', tmp_path / 'there'
    assert run_table(pair, '--seeds', 0, '--out', here) == 0
    assert run_table(pair, '--out', here, '--collect', '--publish') == 0
    config = pair / 'oracle.py'
    config.write_text(config.read_text() + "model = dict(type='Another')\n")
    capsys.readouterr()
    assert run_table(pair, '--out', there, '--restore') == 0
    said = capsys.readouterr()
    assert said.out.startswith('2 results restored')
    assert 'changed' in said.err and 'oracle_seed0.json' in said.err
    assert run_table(pair, '--seeds', 0, 1, '--out', there) == 0
    trained = starts(there)
    assert sorted(line.split(' threads')[0] for line in trained) == [
        'train full 1',
        'train oracle 0',
        'train oracle 1',
        'train source_only 1',
    ]
    table = json.loads((there / 'table.json').read_text())
    assert {row: entry['n'] for row, entry in table['rows'].items()} == {
        'source_only': 2,
        'full': 2,
        'oracle': 2,
    }
    before = files_of(there)
    assert run_table(pair, '--out', there, '--restore') == 1  # what is there stays
    assert files_of(there) == before
