"""Boxes in another unit than pixels are errors everywhere that labels are used."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.errors import AnnotationError, ConfigError
from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.functional import parse_ground_truth
from mmstal_da.launch.checks import check_config
from mmstal_da.tubes.annotation import load_annotation, save_annotation
from mmstal_da.tubes.evaluated import load_ground_truth
from mmstal_da.tubes.integrity import check_tubes, check_videos
from mmstal_da.tubes.plausible import look_like_fractions, off_frame, refuse_implausible
from tests.clips import write_dataset
from tests.load_tool import load_tool

CHANGES = {  # what is done to boxes in frames of 64 x 48
    'fractions': (lambda boxes: boxes / [64, 48, 64, 48], 'fractions of the frame'),
    'hundredfold': (lambda boxes: boxes * 100 + 100, 'is not in the frame of 64x48'),
    'far away': (lambda boxes: boxes - 500, 'is not in the frame of 64x48'),
    'outside': (lambda boxes: boxes + [64, 0, 64, 0], 'is not in the frame of 64x48'),
}


@pytest.fixture(params=CHANGES)
def wrong(request, tmp_path) -> tuple[Path, str]:
    """An annotation file with boxes in a wrong unit, and what is said about it."""
    change, message = CHANGES[request.param]
    path = write_dataset(tmp_path, ['a', 'b'], ['run', 'jump'], num_frames=6)
    annotation = load_annotation(path)
    for tubes in annotation.tubes.values():
        for tube in tubes:
            tube.boxes[:] = change(tube.boxes)
    save_annotation(annotation, path)
    return path, message


def config_of(path: Path) -> dict:
    from mmengine.config import Config

    data = dict(type='ActionTubeDataset', ann_file=str(path), split='train',
                data_prefix=str(path.parent))  # fmt: skip
    return Config(dict(train_dataloader=dict(dataset=data)))


@pytest.mark.slow
def test_nothing_trains_on_it(wrong):
    path, message = wrong
    with pytest.raises(AnnotationError, match=f'{path.name}.*{message}'):
        ActionTubeDataset(str(path), 'train', data_prefix=str(path.parent))
    with pytest.raises(ConfigError, match=f'train_dataloader.*{path.name}.*{message}'):
        check_config(config_of(path))
    # without labels nothing is wrong
    assert len(ActionTubeDataset(str(path), 'train', labelled=False)) == 12


def test_nothing_is_scored_against_it(wrong):
    path, message = wrong
    with pytest.raises(AnnotationError, match=f'{path.name}.*{message}'):
        load_ground_truth(path, 'train')


def test_check_complains(wrong):
    path, _ = wrong
    annotation = load_annotation(path)
    found = check_tubes(annotation)
    found += [c for _, c in check_videos(annotation, path.parent) if c]
    assert found and {c.kind for c in found} <= {'unit', 'box'}


def test_a_conversion_does_not_write_it(wrong, tmp_path, capsys):
    path, _ = wrong
    prepare = load_tool('data/prepare')
    for kind, name in (('act', 'GT.pkl'), ('coco_video', 'x.json')):
        assert prepare.main(['export', kind, str(path), '--out', str(tmp_path / name)]) == 0
        out = tmp_path / f'{kind}_out.json'
        assert prepare.main([kind, '--annotations', str(tmp_path / name), '--out', str(out)]) == 1
        error = capsys.readouterr().err
        assert name in error and (
            'fractions' in error or '20 of 20 boxes' in error or '8 of 8' in error
        )
        assert not out.exists()


@pytest.mark.slow
def test_without_a_size_the_first_frame_says_it(tmp_path):
    path = write_dataset(tmp_path, ['a'], ['run'], num_frames=6)
    annotation = load_annotation(path)
    annotation.videos['a'].width = annotation.videos['a'].height = None
    pipeline = [dict(type='SampleKeyFrameClip', clip_len=1), dict(type='DecodeFrames')]
    for shift, fine in ((0, True), (90, False)):
        annotation.tubes['a'][0].boxes += shift
        save_annotation(annotation, path)
        dataset = ActionTubeDataset(str(path), 'train', pipeline, data_prefix=str(tmp_path))
        if fine:
            assert dataset[0]['gt_bboxes'].shape == (1, 4)
        else:
            with pytest.raises(AnnotationError, match=r'a\.mkv, frame 3: box .* frame of 64x48'):
                dataset[0]


def test_ground_truth_of_act_with_a_resolution():
    tube = np.array([[1, 10, 10, 40, 40], [2, 10, 10, 40, 40.0]])
    gt = dict(labels=['run'], videos=['a'], nframes={'a': 5}, resolution={'a': (48, 64)})
    assert len(parse_ground_truth({**gt, 'gttubes': {'a': {0: [tube]}}}).tubes) == 1
    for wrong_tube in (tube + [0, 100, 0, 100, 0], tube * [1, 100, 100, 100, 100]):
        with pytest.raises(
            ValueError, match=r"video 'a', class 'run', tube 0, frame 1: box .* not"
        ):
            parse_ground_truth({**gt, 'gttubes': {'a': {0: [wrong_tube]}}})


def test_detections_in_fractions_are_refused(tmp_path):
    rows = np.array([[0, 1, 0, 0.9, 0.1, 0.2, 0.5, 0.9], [0, 2, 0, 0.8, 0, 0, 1, 1]], np.float32)
    np.savez(tmp_path / 'dets.npz', dets=rows)
    with pytest.raises(ValueError, match=r'dets\.npz: all boxes lie between 0 and 1'):
        load_detections(tmp_path / 'dets.npz')
    rows[:, 4:] *= 64
    np.savez(tmp_path / 'dets.npz', dets=rows)
    assert len(load_detections(tmp_path / 'dets.npz').dets) == 2


@pytest.mark.parametrize(
    ('boxes', 'expected'),
    [
        ([[0.1, 0.2, 0.5, 0.9]], True),
        ([[-0.1, 0, 1.2, 1]], True),
        ([[0, 0, 1, 1]], False),  # two pixels by two
        ([[0, 0, 0, 0]], False),
        ([[0.1, 0.2, 0.5, 2]], False),
        (np.zeros((0, 4)), False),
    ],
)
def test_what_looks_like_fractions(boxes, expected):
    assert look_like_fractions(np.array(boxes)) == expected


@pytest.mark.parametrize(
    ('box', 'expected'),
    [
        ([0, 0, 63, 47], False),
        ([-30, -20, 70, 60], False),  # beyond the border, as detectors and people draw
        ([63, 47, 90, 80], False),
        ([64, 0, 70, 10], True),
        ([0, -9, 10, -1], True),
        ([-65, 0, 10, 10], True),
        ([0, 0, 10, 96], True),
    ],
)
def test_what_is_not_in_the_frame(box, expected):
    assert off_frame(np.array([box], np.float32), 64, 48).tolist() == [expected]


@pytest.mark.slow
def test_published_annotations_are_plausible(prepared):
    for name in ('jhmdb', 'ucf101_24', 'ucf_sports'):
        path = prepared / name / f'{name}.json'
        refuse_implausible(load_annotation(path), str(path))
        problems = json.loads((path.parent / 'stats.json').read_text())['problems']
        assert not any('not in the frame' in problem['problem'] for problem in problems)
