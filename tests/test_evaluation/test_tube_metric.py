"""TubeMetric: what it scores, how it gathers, what it writes."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from mmstal_da.errors import OutputError
from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.functional import (
    evaluate_detections,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.evaluation.metrics import TubeMetric, tube_metric
from mmstal_da.registry import METRICS
from mmstal_da.tubes.annotation import save_annotation
from mmstal_da.tubes.evaluated import load_ground_truth
from tests.evaluation_cases import annotation_of, random_case
from tests.load_tool import run_tool

RESULTS = ('frame_mAP@0.5', 'video_mAP@0.2', 'video_mAP@0.5', 'video_mAP@0.75')


def make_case(folder: Path) -> tuple[dict, np.ndarray]:
    gt, dets = random_case(2, num_videos=4, max_frames=40, num_dets=500)
    save_annotation(annotation_of(gt), folder / 'toy.json')
    kept = [name for name in gt['videos'] if gt['gttubes'][name]]
    return {**gt, 'kept': kept}, dets


def key_frames(gt: dict, dets: np.ndarray) -> list[dict]:
    """A data sample per frame of the videos with ground truth, as a detector returns them."""
    samples = []
    for name in gt['kept']:
        v = gt['videos'].index(name)
        for frame in range(1, gt['nframes'][name] + 1):
            rows = dets[(dets[:, 0] == v) & (dets[:, 1] == frame)]
            sample = ActionDataSample(metainfo=dict(video_name=name, key_frame=frame))
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(rows[:, 4:], dtype=torch.float32),
                scores=torch.tensor(rows[:, 3], dtype=torch.float32),
                labels=torch.tensor(rows[:, 2], dtype=torch.int64),
            )
            samples.append(sample)
    return samples


def expected_result(gt: dict, dets: np.ndarray, background_frames: bool = True) -> dict:
    truth = parse_ground_truth({**gt, 'videos': gt['kept']})
    # the rows of a data loader that goes from frame to frame
    dets = dets[np.lexsort((dets[:, 1], dets[:, 0]))]
    parsed = parse_detections(dets, truth, gt['videos'])
    return evaluate_detections(parsed, truth, background_frames=background_frames)


def flat(result: dict) -> list[float]:
    keys = ('frame_mAP@0.5', 'video_mAP@0.2', 'video_mAP@0.5', 'video_mAP@0.75')
    return [result[key] for key in keys]


@pytest.mark.parametrize('background_frames', [True, False])
def test_scores_data_samples_in_any_order_of_batches(tmp_path, background_frames):
    gt, dets = make_case(tmp_path)
    metric = METRICS.build(
        dict(
            type='mmstal_da.TubeMetric',  # whatever default scope another test has left
            ann_file='toy.json',
            data_root=str(tmp_path),
            split='test',
            background_frames=background_frames,
        )
    )
    evaluator = Evaluator(metric)
    samples = key_frames(gt, dets)
    for begin in range(len(samples) - 1, -1, -4):
        evaluator.process(samples[max(begin - 3, 0) : begin + 1])
    found = evaluator.evaluate(len(samples))
    expected = expected_result(gt, dets, background_frames)
    assert [found[key] for key in RESULTS] == flat(expected)
    assert found['video_mAP@0.5:0.95'] == expected['video_mAP@0.5:0.95']
    assert found['frame_AP@0.5/class 1'] == expected['frame_AP@0.5'][1]
    annotated = expected_result(gt, dets, False)
    for key in ('frame_mAP@0.5', 'video_mAP@0.5'):
        assert found.get(f'annotated_{key}') == (annotated[key] if background_frames else None)
    assert 'frame_AP@0.5/class 2' not in found  # no ground truth
    for key in ('n_frames', 'n_videos', 'n_tubes'):
        assert found[key] == expected[key]
    assert (found['protocol'], found['dataset'], found['split']) == ('act', 'toy', 'test')
    assert metric.last_result['n_predicted_frames'] == len(samples)
    json.dumps(metric.last_result, allow_nan=False)


def test_boxes_between_key_frames_are_interpolated(tmp_path, monkeypatch):
    """A box that moves by 2 pixels a frame is found on frames 1, 3, ... and right on all."""
    frames = np.arange(1, 20)
    boxes = np.float32([10, 10, 40, 50]) + 2 * np.float32(frames)[:, None] * [1, 0, 1, 0]
    gt = dict(
        labels=['run'], videos=['v'], nframes={'v': 19}, resolution={'v': (64, 96)},
        gttubes={'v': {0: [np.column_stack((frames, boxes))]}},
    )  # fmt: skip
    save_annotation(annotation_of(gt), tmp_path / 'toy.json')
    dets = np.column_stack((np.zeros(19), frames, np.zeros(19), np.full(19, 0.5), boxes))
    samples = key_frames({**gt, 'kept': ['v']}, dets)
    arguments = dict(ann_file=str(tmp_path / 'toy.json'), split='test')
    messages = []
    monkeypatch.setattr(tube_metric, 'print_log', lambda text, **kwargs: messages.append(text))
    metric = TubeMetric(**arguments, key_frame_stride=2, dump=str(tmp_path / 'd.npz'))
    metric.process({}, [sample.to_dict() for sample in samples[::2]])
    found = metric.evaluate(10)
    assert (found['frame_mAP@0.5'], found['video_mAP@0.5']) == (100, 100)
    assert not any('no prediction' in text for text in messages)
    file = load_detections(tmp_path / 'd.npz')
    assert len(file.dets) == 10 and file.meta['key_frame_stride'] == 2
    files = tmp_path / 'toy.json', tmp_path / 'd.npz'
    assert '| 100.00' in run_tool('analysis_tools/eval_detections', *files)
    with pytest.raises(ValueError, match='frame 2: key_frame_stride=2 of the evaluator takes'):
        metric.process({}, [samples[1].to_dict()])
    every = TubeMetric(**arguments)
    every.process({}, [sample.to_dict() for sample in samples[::2]])
    assert every.evaluate(10)['frame_mAP@0.5'] < 60  # without the key the others count as empty


def test_dump_scores_the_same_without_the_model(tmp_path):
    gt, dets = make_case(tmp_path)
    metric = TubeMetric(
        str(tmp_path / 'toy.json'),
        'test',
        classes=['jump', 'class 1'],
        class_map={'class 0': 'jump'},
        background_frames=False,
        protocol='voc',
        max_gap=2,
        dump=str(tmp_path / 'out' / 'dump.npz'),
    )
    samples = [s.to_dict() for s in key_frames(gt, dets[dets[:, 2] < 2])]
    metric.process({}, samples)
    found = metric.evaluate(len(samples))
    assert metric.last_result['protocol'] == 'voc(max_gap=2)'
    arguments = ['toy.json', 'out/dump.npz', '--protocol', 'voc', '--set', 'max_gap=2']
    arguments += ['--out', 'again.json']
    run_tool('analysis_tools/eval_detections', *arguments, folder=tmp_path)
    again = json.loads((tmp_path / 'again.json').read_text())
    assert [found[key] for key in RESULTS] == pytest.approx(flat(again))
    assert again['labels'] == ['jump', 'class 1']
    assert again['background_frames'] is False
    assert load_detections(tmp_path / 'out' / 'dump.npz').meta['split'] == 'test'


def test_repeated_key_frames_count_once_and_missing_ones_are_reported(tmp_path, monkeypatch):
    gt, dets = make_case(tmp_path)
    samples = [s.to_dict() for s in key_frames(gt, dets)]
    metric = TubeMetric(str(tmp_path / 'toy.json'), 'test')
    metric.process({}, samples)
    once = metric.evaluate(len(samples))
    metric.process({}, samples + samples[:7])
    assert metric.evaluate(len(samples)) == once
    assert metric.results == []
    messages = []
    monkeypatch.setattr(tube_metric, 'print_log', lambda text, **kwargs: messages.append(text))
    metric.process({}, samples[1:])
    metric.evaluate(len(samples))
    assert any('1 frames to evaluate have no prediction' in text for text in messages)


def test_a_prediction_that_has_no_place_is_refused_at_once(tmp_path):
    gt, dets = make_case(tmp_path)
    metric = TubeMetric(str(tmp_path / 'toy.json'), 'test')
    sample = key_frames(gt, dets)[0].to_dict()
    with pytest.raises(ValueError, match=r"video 'elsewhere', frame 1: split 'test' of 'toy'"):
        metric.process({}, [{**sample, 'video_name': 'elsewhere'}])
    sample['pred_instances'] = dict(
        bboxes=torch.zeros(1, 4), scores=torch.tensor([np.nan]), labels=torch.zeros(1).long()
    )
    with pytest.raises(OutputError, match=f"video '{gt['kept'][0]}', frame 1: .* not finite"):
        metric.process({}, [sample])


def test_unknown_names_are_refused_when_it_is_built(tmp_path):
    make_case(tmp_path)
    path = str(tmp_path / 'toy.json')
    with pytest.raises(ValueError, match='val'):
        TubeMetric(path, 'val')
    with pytest.raises(ValueError, match='swim'):
        TubeMetric(path, 'test', classes=['swim'])
    with pytest.raises(ValueError, match='max_hole'):
        TubeMetric(path, 'test', max_hole=3)


def test_videos_of_the_split_that_are_not_evaluated_are_left_out_and_named(tmp_path, monkeypatch):
    gt, dets = make_case(tmp_path)
    messages = []
    monkeypatch.setattr(tube_metric, 'print_log', lambda text, **kwargs: messages.append(text))
    metric = TubeMetric(str(tmp_path / 'toy.json'), 'test', videos=gt['kept'][:1])
    samples = [s.to_dict() for s in key_frames(gt, dets)]
    metric.process({}, samples)
    all_given = metric.evaluate(len(samples))
    assert all_given['n_videos'] == 1
    left_out = len(gt['kept']) - 1
    assert any(f'{left_out} videos that are not evaluated' in text for text in messages)
    metric.process({}, [s for s in samples if s['video_name'] == gt['kept'][0]])
    assert metric.evaluate(len(samples)) == all_given


WORKER = """
import pickle, sys
import torch.distributed as dist
from mmstal_da.evaluation.metrics import TubeMetric
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
samples = pickle.load(open(f'{folder}/samples.pkl', 'rb'))
metric = TubeMetric(f'{folder}/toy.json', 'test', collect_dir=f'{folder}/parts')
# uneven shares of batches, with samples that both processes have
share = samples[:11] if rank else samples[5:]
for begin in range(0, len(share), 4):
    metric.process({}, share[begin:begin + 4])
pickle.dump(metric.evaluate(len(samples)), open(f'{folder}/result{rank}.pkl', 'wb'))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(tmp_path):
    gt, dets = make_case(tmp_path)
    samples = [s.to_dict() for s in key_frames(gt, dets)]
    (tmp_path / 'samples.pkl').write_bytes(pickle.dumps(samples))
    (tmp_path / 'worker.py').write_text(WORKER)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    processes = [
        subprocess.Popen(
            [sys.executable, 'worker.py', str(rank), str(tmp_path)], cwd=tmp_path, env=environment
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    metric = TubeMetric(str(tmp_path / 'toy.json'), 'test')
    metric.process({}, samples)
    alone = metric.evaluate(len(samples))
    for rank in range(2):
        assert pickle.loads((tmp_path / f'result{rank}.pkl').read_bytes()) == alone


def test_ground_truth_of_a_split(tmp_path):
    gt, _ = make_case(tmp_path)
    truth = load_ground_truth(tmp_path / 'toy.json', 'test', ['class 1'], videos=['video [01]'])
    assert truth['labels'] == ['class 1']
    assert truth['split_videos'] == gt['videos']
    assert set(truth['nframes']) == set(gt['videos'])
    assert truth['videos'] == [v for v in gt['videos'][:2] if 1 in gt['gttubes'][v]]
    for name in truth['videos']:
        for found, tube in zip(truth['gttubes'][name][0], gt['gttubes'][name][1], strict=True):
            np.testing.assert_array_equal(found, tube)
    with pytest.raises(ValueError, match='has no tube of'):
        load_ground_truth(tmp_path / 'toy.json', 'test', ['class 2'])
