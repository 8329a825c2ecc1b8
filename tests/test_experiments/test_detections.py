"""Detections beside a published result: anybody scores them again, by the command of the README."""

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from mmstal_da.evaluation import published
from mmstal_da.evaluation.compact import LIMIT
from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.metrics import TubeMetric
from mmstal_da.experiments.fingerprint import Settings, digest_config, digest_file
from mmstal_da.experiments.rows import read_config
from mmstal_da.synthetic import PRESETS, annotate
from mmstal_da.synthetic.domains import Shift
from mmstal_da.tubes.annotation import save_annotation
from tests.evaluation_cases import annotation_of, random_case
from tests.load_tool import run_tool

from .fake_table import ROOT, files_of, make_pair, make_record

TOOL = 'analysis_tools/eval_detections'
MEANS = ('frame_mAP@0.5', *(f'video_mAP@{iou}' for iou in ('0.2', '0.5', '0.75', '0.5:0.95')))


@pytest.fixture()
def table(tmp_path):
    """A pair of one row, and its finished run with what TubeMetric found and dumped."""
    gt, rows = random_case(6, num_videos=6, max_frames=40, num_dets=400)
    rng = np.random.default_rng(0)
    rows[:, 3] *= 0.6
    known = [
        (v, row[0], label, rng.uniform(0.2, 0.9), *row[1:])
        for v, name in enumerate(gt['videos'])
        for label, tubes in gt['gttubes'][name].items()
        for row in np.concatenate(tubes)
    ]
    rows = np.concatenate((rows, known))
    rows[:, 4:] += rng.uniform(-0.6, 0.6, (len(rows), 1)) + [-0.5, -0.5, 0.5, 0.5]
    ann_file = tmp_path / 'data/target.json'
    save_annotation(annotation_of(gt), ann_file)
    pair, out = make_pair(tmp_path / 'configs/p', 'full'), tmp_path / 'out'
    choice = dict(ann_file=str(ann_file), split='test', max_gap=3)
    evaluator = dict(type='TubeMetric', **choice)
    config = pair / 'full.py'
    config.write_text(f'{config.read_text()}\ntest_evaluator = {evaluator!r}\n')
    folder = out / 'full/seed0'
    metric = TubeMetric(**choice, dump=str(folder / 'detections.npz'))
    kept = [v for v, name in enumerate(gt['videos']) if gt['gttubes'][name]]
    for video, frame in sorted({(v, f) for v, f in rows[:, :2].astype(int).tolist() if v in kept}):
        of = rows[(rows[:, 0] == video) & (rows[:, 1] == frame)]
        found = dict(bboxes=of[:, 4:], scores=of[:, 3], labels=of[:, 2])
        sample = dict(video_name=gt['videos'][video], key_frame=frame, pred_instances=found)
        metric.process({}, [sample])
    logged = metric.evaluate(1)
    metrics = {key: logged[key] for key in (*MEANS, 'protocol', 'dataset', 'split')}
    for key in ('frame_AP@0.5', 'video_AP@0.5'):
        named = {name: ap for name, ap in logged.items() if name.startswith(f'{key}/')}
        metrics[key] = {name.rpartition('/')[2]: ap for name, ap in named.items()}
    assert metrics['protocol'] == 'act(max_gap=3)' and min(metrics[key] for key in MEANS) > 1
    record = make_record('full', 0, 0.0, 0.0, pair='p')
    record['metrics'] = {**metrics, 'background_frames': True}
    record['data'] = {str(ann_file): digest_file(ann_file)}
    record['config_sha256'] = digest_config(read_config(config), Settings())
    (folder / 'result.json').write_text(json.dumps(record))
    return pair, out, ann_file


def publish(run_table, pair: Path, out: Path) -> int:
    return run_table(pair, '--out', out, '--collect', '--publish')


def test_a_published_row_is_scored_again_by_the_command(run_table, table, tmp_path, capsys):
    pair, out, ann_file = table
    assert publish(run_table, pair, out) == 0
    place = pair / 'results/full_seed0.npz'
    assert str(place) in capsys.readouterr().out
    record = json.loads(place.with_suffix('.json').read_text())
    facts = record['detections']
    assert facts['sha256'] == digest_file(place) and facts['score_thr'] == 0.01
    whole = load_detections(out / 'full/seed0/detections.npz').dets
    assert facts['of'] == len(whole) and 0 < len(whole) - facts['kept'] < 0.05 * len(whole)
    said = run_tool(TOOL, ann_file, place, '--out', tmp_path / 'again.json')
    again = json.loads((tmp_path / 'again.json').read_text())
    assert {key: again[key] for key in MEANS} == pytest.approx(facts['metrics'])
    boxes = load_detections(place).dets[:, 4:]
    assert (boxes % 0.0625 == 0).all() and (whole[:, 4:] % 0.0625 != 0).any()
    for key in MEANS:
        assert f'{record["metrics"][key]:.2f}' in said and f'{again[key]:.2f}' in said
    assert again['published'] == {key: record['metrics'][key] for key in MEANS}
    assert again['protocol'] == 'act(max_gap=3)' and 'another version' not in said
    assert load_detections(place).meta['config'] == 'configs/p/full.py'
    ann_file.write_text(ann_file.read_text() + '\n')
    assert 'is another version of target.json' in run_tool(TOOL, ann_file, place)


@pytest.mark.slow
def test_a_restored_row_is_published_as_it_was(run_table, table, tmp_path):
    pair, out, _ = table
    assert publish(run_table, pair, out) == 0
    before = {path: content for path, (_, content) in files_of(pair).items()}
    there = tmp_path / 'there'
    assert run_table(pair, '--out', there, '--restore') == 0
    assert publish(run_table, pair, there) == 0
    assert {path: content for path, (_, content) in files_of(pair).items()} == before
    (pair / 'results/full_seed0.npz').unlink()
    assert run_table(pair, '--out', tmp_path / 'third', '--restore') == 2
    assert not (tmp_path / 'third/full').exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda out, ann: (out / 'detections.npz').unlink(), 'has no '),
        (lambda out, ann: ann.unlink(), 'which is not here'),
        (lambda out, ann: _change_score(out / 'result.json'), 'the file is of another run'),
        (lambda out, ann: (out / 'detections.npz').write_bytes(b'PK\x03\x04'), 'detections.npz'),
    ],
)
def test_nothing_is_published_that_cannot_be_scored_again(
    run_table, table, capsys, change, message
):
    pair, out, ann_file = table
    change(out / 'full/seed0', ann_file)
    before = files_of(pair)
    assert publish(run_table, pair, out) == 2
    assert message in capsys.readouterr().err
    assert files_of(pair) == before


def _change_score(path: Path) -> None:
    record = json.loads(path.read_text())
    record['metrics']['video_AP@0.5']['class 1'] += 0.3
    path.write_text(json.dumps(record))


@pytest.mark.slow
def test_old_results_stay_without_detections(run_table, table, tmp_path, capsys):
    pair, out, _ = table
    assert publish(run_table, pair, out) == 0
    path = pair / 'results/full_seed0.json'
    record = json.loads(path.read_text())
    del record['detections']
    path.write_text(json.dumps(record))  # as version 0.1 published it
    path.with_suffix('.npz').unlink()
    there = tmp_path / 'there'
    assert run_table(pair, '--out', there, '--restore') == 0
    assert publish(run_table, pair, there) == 0
    assert 'was published without detections, and stays so' in capsys.readouterr().err
    assert not path.with_suffix('.npz').exists()


@pytest.mark.slow
def test_who_publishes_is_told_what_does_not_fit(run_table, table, monkeypatch, capsys):
    pair, out, _ = table
    encode = published.encode_compact
    monkeypatch.setattr(published, 'encode_compact', lambda *args: encode(*args, limit=3000))
    assert publish(run_table, pair, out) == 0
    said = capsys.readouterr().err
    facts = json.loads((pair / 'results/full_seed0.json').read_text())['detections']
    assert facts['score_thr'] > 0.3 and f'above {facts["score_thr"]:g} are published' in said
    assert 'the published detections give' in said


@lru_cache
def rendered(preset: str):
    """The target's annotation of a rendered pair; a function of the preset alone."""
    name = preset.removesuffix(' of version 0.2')
    config = PRESETS[name]
    if name != preset:
        config = replace(config, seed=0, untrimmed=(), shift=Shift(0.4, 0.4, 0.3, 0.3))
    return annotate(config, domains=('target',), splits=('test',))['target']


# the quickstart's shift has become stronger since
PRESET_OF = {
    'synthetic': 'default of version 0.2',
    'synthetic_a': 'untrimmed',
}
PUBLISHED = sorted(path.relative_to(ROOT) for path in ROOT.glob('configs/**/*.npz'))


# 5 seconds for the 60 clips of A, whose actors are drawn to find their boxes
@pytest.mark.slow
@pytest.mark.parametrize('place', PUBLISHED, ids=str)
def test_what_is_published_gives_its_numbers(place, tmp_path):
    """Every file of detections in the repository, where its annotation can be made here."""
    path = ROOT / place
    assert path.stat().st_size <= LIMIT
    meta = load_detections(path).meta
    beside = path.with_suffix('.json')
    if beside.is_file():  # of run_table.py
        record = json.loads(beside.read_text())
        numbers, facts = record['metrics'], record['detections']
    else:  # of compare_runs.py --keep-detections
        stem, _, name = path.stem.rpartition('_')
        record = json.loads(path.with_name(f'{stem}.json').read_text())[name]
        numbers, facts = record, record['detections']
    assert facts['sha256'] == digest_file(path)
    assert meta['published'] == {key: numbers[key] for key in meta['published']}
    pair = place.parts[1]
    if pair not in PRESET_OF:
        pytest.skip(f'the annotation of {pair} is made of a download')
    save_annotation(rendered(PRESET_OF[pair]), tmp_path / 'target.json')
    run_tool(TOOL, tmp_path / 'target.json', path, '--out', tmp_path / 'again.json')
    again = json.loads((tmp_path / 'again.json').read_text())
    for key, value in facts['metrics'].items():  # another CPU orders equal scores differently
        assert again[key] == pytest.approx(value, abs=0.05)
