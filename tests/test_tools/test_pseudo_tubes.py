"""pseudo_tubes.py: a file of pseudo-labels that can be looked at and trained on, or a complaint."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.functional import Detections
from mmstal_da.evaluation.functional.pseudo_labels import PseudoTubeRule, pseudo_tubes
from mmstal_da.tubes.annotation import load_annotation, save_annotation
from tests.clips import write_dataset
from tests.load_tool import load_tool
from tests.model_builders import FROM_RANDOM_WEIGHTS, TINY, build_detector

ROOT = Path(__file__).resolve().parents[2]
LOOSE = dict(box_score=0.2, tube_score=0.2, min_length=3, plausible_length=2)
FLAGS = [f'--{k.replace("_", "-")}={v}' for k, v in LOOSE.items()] + ['--trim-penalty=-1']


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """A tiny detector with random weights, its checkpoint, and a pair of three and two videos."""
    folder = tmp_path_factory.mktemp('case')
    classes = ['pull', 'push', 'squat']
    config = Config.fromfile(ROOT / 'configs/synthetic/source_only.py')
    config.merge_from_dict(
        {f'model.{key}': value for key, value in (TINY | FROM_RANDOM_WEIGHTS).items()}
    )
    for seed, (side, names) in enumerate((('source', 'abe'), ('target', 'cd'))):
        file = write_dataset(folder / side, list(names), classes, num_frames=8, seed=seed)
        data = dict(data_root='', ann_file=str(file), data_prefix=str(file.parent), split='train')
        config.train_dataloader.dataset[side].update(data, classes=classes)
    config.dump(folder / 'config.py')
    meta = dict(cfg=config.pretty_text, dataset_meta=dict(classes=classes))
    state = build_detector(seed=3).state_dict()
    torch.save(dict(meta=meta, state_dict=state), folder / 'x.pth')
    return folder


def run(case, out, *more) -> int:
    words = [case / 'x.pth', '--out', out, '--workers', 0, *FLAGS, *more]
    return load_tool('data/pseudo_tubes').main([*map(str, words)])


@pytest.fixture(scope='module')
def made(case):
    """Detections and the file made of them."""
    assert run(case, case / 'pseudo.json', '--detections', case / 'dets.npz') == 0
    return case / 'pseudo.json'


@pytest.mark.slow
def test_the_file_holds_the_chosen_tubes_of_the_targets_videos(case, made):
    written = load_annotation(made)
    target = load_annotation(case / 'target/annotation.json', with_tubes=False)
    assert written.videos == target.videos and written.splits == {'train': ['c', 'd']}
    assert written.pseudo['checkpoint'] == str(case / 'x.pth')
    assert written.pseudo['rule'] == vars(PseudoTubeRule(**LOOSE, trim_penalty=None))
    file = load_detections(case / 'dets.npz')
    assert file.videos == ['c', 'd'] and file.labels == written.classes
    assert set(file.dets[:, 1]) == set(range(1, 9))  # every frame
    rule = PseudoTubeRule(**LOOSE, trim_penalty=None)
    found = pseudo_tubes(Detections.from_rows(file.dets), rule)
    for name in ('c', 'd'):
        for tubes, ignored in zip(found, (False, True), strict=True):
            here = [tube for tube in written.tubes.get(name, []) if tube.ignored == ignored]
            expected = np.flatnonzero(tubes.video == 'cd'.index(name))
            assert len(here) == len(expected)
            for tube, number in zip(here, expected, strict=True):
                first = tubes.offset[number]
                boxes = tubes.boxes[first : first + len(tube.frames)].clip(0, [63, 47, 63, 47])
                np.testing.assert_allclose(tube.boxes, boxes, atol=0.051)
                assert tube.frames[0] == tubes.begin[number]
                assert tube.label == written.classes[tubes.label[number]]


@pytest.mark.slow
def test_the_targets_own_labels_do_not_matter(case, made, tmp_path):
    """They are changed, then taken away; the diagnosis alone reads them."""
    file = case / 'target/annotation.json'
    before, expected = file.read_bytes(), made.read_bytes()
    try:
        changed = load_annotation(file)
        changed.tubes = {'c': changed.tubes['d']}
        save_annotation(changed, file)
        assert run(case, tmp_path / 'p.json') == 0
        assert (tmp_path / 'p.json').read_bytes() == expected
        content = json.loads(before)
        content['tubes'] = 'nothing'
        file.write_text(json.dumps(content))
        assert run(case, tmp_path / 'q.json', '--detections', case / 'dets.npz') == 0
        assert (tmp_path / 'q.json').read_bytes() == expected
    finally:
        file.write_bytes(before)


@pytest.mark.slow
def test_detections_are_read_again_and_compared_with_the_truth(case, made, tmp_path, capsys):
    before = (case / 'dets.npz').stat().st_mtime_ns
    out = tmp_path / 'p.json'
    assert run(case, out, '--detections', case / 'dets.npz', '--diagnose') == 0
    said = capsys.readouterr().out
    assert 'pull: ' in said and 'precision: ' in said and 'recall: ' in said
    assert (case / 'dets.npz').stat().st_mtime_ns == before
    assert out.read_bytes() == made.read_bytes()


@pytest.mark.slow
def test_an_override_counts_and_a_wrong_one_is_refused(case, tmp_path, capsys):
    option = 'train_dataloader.dataset.target.videos=[c]'
    config = ('--config', case / 'config.py')
    assert run(case, tmp_path / 'p.json', *config, '--cfg-options', option) == 0
    assert list(load_annotation(tmp_path / 'p.json').videos) == ['c']
    with pytest.raises(SystemExit):
        wrong = option.replace('videos', 'vidoes')
        run(case, tmp_path / 'x.json', *config, '--cfg-options', wrong)
    assert 'target.videos' in capsys.readouterr().err


@pytest.mark.slow
def test_it_can_be_trained_on_and_looked_at(case, made, tmp_path, monkeypatch):
    config = Config.fromfile(case / 'config.py')
    row = Config.fromfile(ROOT / 'configs/synthetic/pseudo.py')
    dataset = config.train_dataloader.dataset
    dataset.train_on = row.train_dataloader.dataset.train_on
    dataset.target.update({k: row.train_dataloader.dataset.target[k] for k in ('class_map',)})
    dataset.target.ann_file = str(made)
    config.train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=10**6)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.test_dataloader = config.test_cfg = config.test_evaluator = None
    config.dump(tmp_path / 'row.py')
    words = [tmp_path / 'row.py', '--work-dir', tmp_path / 'run', '--no-validate']
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', *map(str, words)])
    monkeypatch.setenv('LOCAL_RANK', '0')
    assert load_tool('train').main() in (None, 0)
    assert (tmp_path / 'run/iter_2.pth').is_file()
    words = [tmp_path / 'row.py', '--out', tmp_path / 'seen', '--num', 2]
    assert load_tool('data/browse').main([*map(str, words)]) in (None, 0)


@pytest.mark.slow
def test_complaints(case, made, tmp_path, capsys):
    dets = ('--detections', case / 'dets.npz')
    for flags, said in (
        (['--tube-score', '0.99', *dets], 'no tube has a mean score of 0.99'),
        (['--tube-score', '1.5', *dets], 'tube_score'),
        (['--config', ROOT / 'configs/ava_style/does_not_exist.py'], 'does_not_exist.py'),
        (['--cfg-options', 'model.test_cfg.rcnn.score_thr=0.99'], 'which is not given'),
        (
            # the model's options count, too: no box is left
            ['--config', case / 'config.py', '--cfg-options', 'model.test_cfg.rcnn.score_thr=0.99'],
            'no tube has a mean score of 0.2',
        ),
    ):
        with pytest.raises(SystemExit) as ended:
            run(case, tmp_path / 'p.json', *flags)
        assert ended.value.code and said in capsys.readouterr().err
        assert not list(tmp_path.iterdir())
    file = load_detections(case / 'dets.npz')
    np.savez(tmp_path / 'other.npz', dets=file.dets, videos=['x', 'y'], labels=file.labels)
    with pytest.raises(SystemExit):
        run(case, tmp_path / 'p.json', '--detections', tmp_path / 'other.npz')
    assert 'other.npz holds detections of other videos' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(case, tmp_path / 'p.txt')


@pytest.mark.slow
def test_labels_of_a_person_are_not_overwritten(case, made, capsys):
    file = case / 'target/annotation.json'
    before = file.read_bytes()
    with pytest.raises(SystemExit):
        run(case, file, '--detections', case / 'dets.npz')
    assert 'annotation.json is there and holds no pseudo-labels' in capsys.readouterr().err
    assert file.read_bytes() == before
    assert run(case, made, '--detections', case / 'dets.npz') == 0  # the next round
