"""Damaged detections, ground truth and proposals: the right value, or an error with the name."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmstal_da.datasets.proposals import ProposalFile, save_proposals
from mmstal_da.errors import ProposalError
from mmstal_da.evaluation.files import load_detections
from tests.evaluation_cases import random_case
from tests.faults.damage import damage
from tests.faults.guard import no_hang
from tests.load_tool import load_tool

FEW, MANY = 25, 150
SEEDS = [
    pytest.param(range(FEW), id='few'),
    pytest.param(range(FEW, FEW + MANY), id='many', marks=pytest.mark.slow),
]


@pytest.fixture(scope='module')
def case(tmp_path_factory) -> tuple[Path, dict, np.ndarray]:
    """A folder with ground truth and detections."""
    folder = tmp_path_factory.mktemp('evaluation')
    gt, dets = random_case(0, num_dets=40)
    (folder / 'gt.pkl').write_bytes(pickle.dumps(gt, protocol=2))
    return folder, gt, dets.astype(np.float32)


@pytest.fixture(scope='module')
def score():
    return load_tool('analysis_tools/eval_detections')


def run(score: Any, capsys: Any, gt: Path, dets: Path, where: str) -> dict | None:
    """The result; None after an error that names one of the files."""
    out = dets.with_name('result.json')
    out.unlink(missing_ok=True)
    with no_hang(where):
        code = score.main([str(gt), str(dets), '--out', str(out)])
    printed = capsys.readouterr()
    if not code:
        return json.loads(out.read_text())
    assert code == 2, where
    assert str(gt) in printed.err or str(dets) in printed.err, (where, printed.err)
    assert not out.exists(), where
    return None


def packed(dets: np.ndarray, gt: dict, form: str) -> bytes:
    if form == 'pkl':
        return pickle.dumps({'dets': dets.tolist(), 'videos': gt['videos']}, protocol=2)
    out = io.BytesIO()
    save = np.savez_compressed if form == 'npz' else np.savez
    save(out, dets=dets, videos=np.array(gt['videos']), labels=np.array(gt['labels']),
         meta=np.array(json.dumps({'split': 1})))  # fmt: skip
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize('seeds', SEEDS)
@pytest.mark.parametrize('form', ['npz', 'plain.npz', 'pkl'])
def test_damaged_detections(case, score, capsys, form, seeds):
    folder, gt, dets = case
    file = folder / f'dets.{form}'
    whole = packed(dets, gt, form)
    file.write_bytes(whole)
    expected = run(score, capsys, folder / 'gt.pkl', file, 'whole')
    assert expected is not None and expected['n_detections'] == len(dets)
    errors = 0
    for seed in seeds:
        data, way = damage(whole, 'pickle' if form == 'pkl' else 'bytes', seed)
        file.write_bytes(data)
        found = run(score, capsys, folder / 'gt.pkl', file, f'{form}, seed {seed} ({way})')
        errors += found is None
        if found is not None and form != 'pkl':  # checksums find every other byte
            found.pop('seconds'), expected.pop('seconds', None)
            assert found == expected, (form, seed, way)
    assert errors


COLUMNS: dict[str, Callable[[np.ndarray], Any]] = {
    'nan': lambda d: np.where(d == d[3, 3], np.nan, d),
    'infinite': lambda d: np.where(d == d[3, 5], np.inf, d),
    'video beyond': lambda d: d + [9, 0, 0, 0, 0, 0, 0, 0],
    'video below': lambda d: d - [9, 0, 0, 0, 0, 0, 0, 0],
    'frame 0': lambda d: d * [1, 0, 1, 1, 1, 1, 1, 1],
    'frame beyond': lambda d: d + [0, 99, 0, 0, 0, 0, 0, 0],
    'half a frame': lambda d: d + [0, 0.5, 0, 0, 0, 0, 0, 0],
    'label beyond': lambda d: d + [0, 0, 9, 0, 0, 0, 0, 0],
    'half a label': lambda d: d + [0, 0, 0.6, 0, 0, 0, 0, 0],
    'inverted': lambda d: d[:, [0, 1, 2, 3, 6, 7, 4, 5]],
    'seven columns': lambda d: d[:, :7],
    'flat': lambda d: d.ravel(),
    'unsigned': lambda d: d.astype(np.uint8),
    'half floats': lambda d: d.astype(np.float16),
    'text': lambda d: d.astype(str),
    'complex': lambda d: d.astype(complex),
    'fractions': lambda d: np.column_stack([d[:, :4], d[:, 4:] / 1000]),
    'a number': lambda d: np.array(3.0),
}


@pytest.mark.parametrize('name', COLUMNS)
def test_detections_with_a_wrong_column(case, score, capsys, name):
    folder, gt, dets = case
    np.savez(folder / 'dets.npz', dets=COLUMNS[name](dets), videos=np.array(gt['videos']))
    assert run(score, capsys, folder / 'gt.pkl', folder / 'dets.npz', name) is None


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(videos=['video 0', 'video 0', 'video 1']), "'videos' has the name 'video 0' twice"),
        (dict(videos=['x', 'video 1', 'video 2']), 'does not have'),
        (dict(videos=7), "'videos' is a list of names"),
        (dict(videos=[1, 2, 3]), "'videos' is a list of names"),
        (dict(meta=np.array('{')), "'meta' is not JSON"),
        (dict(meta=np.array('[1]')), "'meta' is a dict"),
        (dict(dets=None), "no 'dets'"),
    ],
)
def test_detections_with_a_wrong_key(case, score, capsys, changes, message):
    folder, gt, dets = case
    content = {'dets': dets, 'videos': np.array(gt['videos']), **changes}
    content = {key: value for key, value in content.items() if value is not None}
    np.savez(folder / 'dets.npz', **content)
    code = score.main([str(folder / 'gt.pkl'), str(folder / 'dets.npz')])
    error = capsys.readouterr().err
    assert code == 2 and message in error and 'dets.npz' in error


def test_an_array_that_is_there_twice_is_refused(case):
    folder, _, dets = case
    one = io.BytesIO()
    np.save(one, dets)
    with zipfile.ZipFile(folder / 'twice.npz', 'w') as archive:
        for _ in range(2):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr('warnings.warn', lambda *a, **k: None)
                archive.writestr('dets.npy', one.getvalue())
    with pytest.raises(ValueError, match=r"twice\.npz.*it has the array 'dets' twice"):
        load_detections(folder / 'twice.npz')


@pytest.mark.parametrize('seeds', SEEDS)
def test_damaged_ground_truth(case, score, capsys, tmp_path, seeds):
    folder, gt, dets = case
    np.savez(tmp_path / 'dets.npz', dets=dets, videos=np.array(gt['videos']))
    whole = (folder / 'gt.pkl').read_bytes()
    errors = 0
    for seed in seeds:
        data, way = damage(whole, 'pickle', seed)
        (tmp_path / 'gt.pkl').write_bytes(data)
        where = f'seed {seed} ({way})'
        with np.errstate(all='ignore'):
            found = run(score, capsys, tmp_path / 'gt.pkl', tmp_path / 'dets.npz', where)
        errors += found is None
        if found is not None:
            assert all(v is None or 0 <= v <= 100 for v in found['frame_AP@0.5']), where
    assert errors


PROPOSALS = {
    (f'video {v}', f): (np.array([[1.0, 2, 30, 40], [3, 4, 50.5, 60]]), np.array([0.9, 0.25]))
    for v in range(3)
    for f in range(1, 9)
}


@pytest.fixture
def proposals(tmp_path) -> Path:
    path = tmp_path / 'p.npz'
    lengths = {f'video {v}': 8 for v in range(3)}
    save_proposals(path, {'train': (PROPOSALS, lengths), 'test': (PROPOSALS, lengths)})
    return path


@pytest.mark.parametrize('seeds', SEEDS)
def test_damaged_proposals(proposals, seeds):
    whole, errors = proposals.read_bytes(), 0
    for seed in seeds:
        data, way = damage(whole, 'bytes', seed)
        proposals.write_bytes(data)
        try:
            with no_hang(f'seed {seed} ({way})'):
                part = ProposalFile(proposals, 'train')
                found = {(v, f): part.of_frame(v, f, 8) for v, f in PROPOSALS}
        except ProposalError as error:
            assert str(proposals) in str(error), (seed, way)
            errors += 1
        else:
            for key, (boxes, scores) in PROPOSALS.items():
                assert np.array_equal(found[key][0], boxes), (seed, way)
                assert np.array_equal(found[key][1], scores.astype(np.float32)), (seed, way)
    assert errors


ENTRIES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], str]] = {
    'nan': ('boxes', lambda a: np.where(a == 50.5, np.nan, a), "'video 0', frame 1, proposal 1 is"),
    'score of 7': ('scores', lambda a: a * 0 + 7, r"'video 0', frame 1, proposal 0 has a score"),
    'score below': ('scores', lambda a: a - 1, 'has a score outside'),
    'score nan': ('scores', lambda a: a * np.nan, 'is not finite'),
    'ascending': ('scores', lambda a: a[::-1], "'video 0', frame 1, proposal 1 has a higher"),
    'inverted': ('boxes', lambda a: a[:, [2, 3, 0, 1]], 'proposal 0 is inverted: box 30 40 1 2'),
    'fractions': ('boxes', lambda a: a / 100, 'fractions of the frame'),
    'three numbers': ('boxes', lambda a: a[:, :3], "'boxes' has shape"),
    'one box less': ('boxes', lambda a: a[1:], "'boxes' has shape"),
    'whole boxes': ('boxes', lambda a: a.astype(int), "'boxes' is an array of int"),
    'negative offset': ('first', lambda a: a - 3, "'first' does not run from 0"),
    'offsets back': ('first', lambda a: a[[0, 5, 3, *range(3, len(a))]], "'first' does not run"),
    'too few offsets': ('first', lambda a: a[1:], 'offsets of key frames'),
    'frame 0': ('frame', lambda a: a - 1, r"video 'video 0': frame 0 is not in 1\.\.8"),
    'frame beyond': ('frame', lambda a: a + 3, r'frame 9 is not in 1\.\.8'),
    'frames back': ('frame', lambda a: a[::-1], 'is not in order'),
    'half a frame': ('frame', lambda a: a + 0.5, "'frame' is an array of float"),
    'unknown video': ('video', lambda a: a + 1, "'video' is not below 3"),
    'videos back': ('video', lambda a: a[::-1], 'is not in order'),
    'a video twice': ('videos', lambda a: a[[0, 0, 1]], 'a video is there twice'),
    'no length': ('num_frames', lambda a: a * 0, "'num_frames' is not a length"),
    'numbers as names': ('videos', lambda a: np.arange(3), "'videos' is an array"),
}  # fmt: skip


@pytest.mark.parametrize('case', ENTRIES)
def test_proposals_with_a_wrong_entry(proposals, case):
    name, change, message = ENTRIES[case]
    with np.load(proposals) as archive:
        arrays = dict(archive)
    arrays[f'train/{name}'] = change(arrays[f'train/{name}'])
    np.savez(proposals, **arrays)
    with pytest.raises(ProposalError, match=rf"p\.npz, part 'train': .*{message}"):
        ProposalFile(proposals, 'train')
    assert len(ProposalFile(proposals, 'test').of_frame('video 1', 3, 8)[1]) == 2


def test_proposals_without_an_array(proposals):
    with np.load(proposals) as archive:
        arrays = dict(archive)
    del arrays['train/first']
    np.savez(proposals, **arrays)
    with pytest.raises(ProposalError, match=r"p\.npz: not a readable .*lacks \['first'\]"):
        ProposalFile(proposals, 'train')
