"""AVA's frame-mAP against MMAction2's own evaluation of the same files."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmaction.evaluation.functional import ava_utils

from mmstal_da.evaluation.functional import (
    evaluate_detections,
    evaluate_frames,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.evaluation.metrics import TubeMetric
from mmstal_da.tubes.annotation import save_annotation
from mmstal_da.tubes.converters.ava import save_ava
from tests.evaluation_cases import annotation_of, random_case

AVA = get_protocol('ava')


class OneProcess:
    """In place of MMAction2's 32 processes."""

    def __init__(self, processes: int) -> None:
        pass

    map = staticmethod(lambda function, items: list(map(function, items)))


def distinct(dets: np.ndarray, seed: int) -> np.ndarray:
    """The detections with scores that differ: MMAction2's order of equal ones is NumPy's."""
    dets = dets.copy()
    order = np.random.default_rng(seed).permutation(len(dets))
    dets[:, 3] = (order + 1) / (len(dets) + 1)
    return dets


def of_mmaction2(gt: dict, dets: np.ndarray, folder, monkeypatch) -> float:
    """``ava_eval`` on the files: ground truth as our export writes it, detections as csv."""
    save_ava(annotation_of(gt), folder)
    lines = []
    for video, frame, label, score, *box in dets:
        x1, y1, x2, y2 = np.array(box) + [0, 0, 1, 1]
        name = annotation_of(gt).videos[gt['videos'][int(video)]].path
        lines.append(
            f'{name},{int(frame)},{x1 / 64},{y1 / 64},{x2 / 64},{y2 / 64},{int(label) + 1},{score}'
        )
    (folder / 'found.csv').write_text('\n'.join(lines))
    monkeypatch.setattr(ava_utils.multiprocessing, 'Pool', OneProcess)
    found = ava_utils.ava_eval(
        str(folder / 'found.csv'), 'mAP', str(folder / 'toy_action_list.pbtxt'),
        str(folder / 'toy_test.csv'), None, verbose=False,
    )  # fmt: skip
    return found['overall']


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), num_dets=st.integers(20, 120), gaps=st.booleans())
def test_ava_frame_map_is_mmaction2s(tmp_path_factory, seed, num_dets, gaps):
    gt, dets = random_case(seed, num_dets=num_dets, gt_gaps=gaps)
    dets = distinct(dets, seed)
    truth = parse_ground_truth(gt)
    parsed = parse_detections(dets, truth)
    result = evaluate_frames(parsed, truth, AVA)
    folder = tmp_path_factory.mktemp('ava')
    with pytest.MonkeyPatch.context() as patch:
        expected = of_mmaction2(gt, dets, folder, patch)
    # MMAction2 leaves classes out that are never detected in an annotated frame
    annotated = truth.annotated_frames()[truth.frame_number(parsed.video, parsed.frame)]
    seen = set(parsed.label[annotated].tolist())
    aps = [
        ap for label, ap in enumerate(result['frame_AP@0.5']) if ap is not None and label in seen
    ]
    if not aps:
        assert np.isnan(expected)
    else:
        assert np.mean(aps) == pytest.approx(100 * expected, abs=1e-9)
    # the whole evaluation under this protocol has the same frame-mAP
    whole = evaluate_detections(parsed, truth, AVA, background_frames=False)
    assert whole['frame_AP@0.5'] == result['frame_AP@0.5']


def test_a_class_that_is_never_detected_counts_as_zero():
    box = np.array([[1.0, 10, 10, 29, 29]])
    gt = dict(
        labels=['sit', 'walk'],
        videos=['v'],
        nframes=dict(v=1),
        gttubes=dict(v={0: [box], 1: [box]}),
    )
    truth = parse_ground_truth(gt)
    dets = parse_detections(np.array([[0, 1, 0, 0.9, 10, 10, 29, 29]]), truth)
    result = evaluate_frames(dets, truth, AVA)
    assert result == {'frame_mAP@0.5': 50.0, 'frame_AP@0.5': [100.0, 0.0]}


def test_a_detection_asks_for_the_box_it_overlaps_most():
    """By hand: the second detection overlaps the taken box more than the free one."""
    first, second = [1.0, 0, 0, 9, 9], [1.0, 4, 0, 13, 9]  # they share 6 of 10 columns
    gt = dict(
        labels=['a'], videos=['v'], nframes=dict(v=1),
        gttubes=dict(v={0: [np.array([first]), np.array([second])]}),
    )  # fmt: skip
    truth = parse_ground_truth(gt)
    dets = parse_detections(
        np.array([[0, 1, 0, 0.9, 0, 0, 9, 9], [0, 1, 0, 0.8, 1, 0, 10, 9]]), truth
    )
    # IoU of the second: 9/11 with the first box, 7/13 with the second
    assert evaluate_frames(dets, truth, AVA)['frame_mAP@0.5'] == pytest.approx(50)
    free = get_protocol('ava', match='free')
    assert evaluate_frames(dets, truth, free)['frame_mAP@0.5'] == pytest.approx(100)


def test_the_tube_metric_gives_it_beside_its_own(tmp_path):
    gt, dets = random_case(3, num_dets=80)
    dets = distinct(dets, 3)
    save_annotation(annotation_of(gt), tmp_path / 'toy.json')
    usual = dict(ann_file=str(tmp_path / 'toy.json'), split='test', background_frames=False)
    results = {}
    for ava in (False, True):
        metric = TubeMetric(**usual, ava=ava)
        metric.dataset_meta = {}
        for video, name in enumerate(gt['videos']):
            for frame in range(1, gt['nframes'][name] + 1):
                rows = dets[(dets[:, 0] == video) & (dets[:, 1] == frame)]
                found = dict(
                    bboxes=torch.from_numpy(rows[:, 4:]).float(),
                    scores=torch.from_numpy(rows[:, 3]).float(),
                    labels=torch.from_numpy(rows[:, 2]).long(),
                )
                sample = dict(video_name=name, key_frame=frame, pred_instances=found)
                metric.process({}, [sample])
        results[ava] = metric.evaluate(1)
    more = {key: value for key, value in results[True].items() if key.startswith('AVA_')}
    assert {key: value for key, value in results[True].items() if key not in more} == results[False]
    truth = metric.ground_truth
    index = {name: number for number, name in enumerate(truth.videos)}
    kept = np.array([gt['videos'][int(row[0])] in index for row in dets])
    rows = dets[kept]
    rows[:, 0] = [index[gt['videos'][int(video)]] for video in rows[:, 0]]
    expected = evaluate_frames(parse_detections(rows, truth), truth, AVA)
    assert more['AVA_frame_mAP@0.5'] == pytest.approx(expected['frame_mAP@0.5'], abs=1e-5)
    assert more.keys() - {'AVA_frame_mAP@0.5'} == {
        f'AVA_frame_AP@0.5/{name}'
        for name, ap in zip(truth.labels, expected['frame_AP@0.5'], strict=True)
        if ap is not None
    }
