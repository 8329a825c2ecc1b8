"""UCF101-24's test set, from its annotation to numbers: exact, and fast."""

import sys
import time

import numpy as np
import pytest

from mmstal_da.evaluation.functional import get_protocol
from mmstal_da.tubes.evaluated import load_ground_truth
from tests import reference_evaluator as per_detection
from tests.load_tool import TOOLS

sys.path.insert(0, str(TOOLS / 'analysis_tools'))

from benchmarks import evaluation

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def ground_truth(prepared):
    return load_ground_truth(prepared / 'ucf101_24/ucf101_24.json', 'test')


def test_the_split_is_whole(ground_truth):
    assert len(ground_truth['videos']) == 910
    assert len(ground_truth['labels']) == 24
    frames = sum(ground_truth['nframes'][name] for name in ground_truth['videos'])
    assert frames == pytest.approx(159_000, rel=0.01)


@pytest.mark.parametrize('protocol', ['act', 'voc'])
def test_agrees_detection_by_detection(ground_truth, protocol):
    gt = {**ground_truth, 'videos': ground_truth['videos'][::45]}
    dets = evaluation.make_detections(gt, 3, seed=4)
    result = evaluation.evaluate_ours(dets, gt, get_protocol(protocol))
    slow = per_detection.evaluate(dets, gt, get_protocol(protocol))
    assert evaluation.difference(result, slow) < 1e-9
    assert result['video_mAP@0.2'] > 0
    assert result['n_tubes'] > 20


def test_the_whole_test_set_takes_seconds_and_growth_is_linear(ground_truth):
    """CPU seconds, which other processes lengthen less; many times what a free machine needs."""
    seconds = []
    for per_frame in (2.3, 9.2):
        dets = evaluation.make_detections(ground_truth, per_frame, seed=4)
        times = []
        for _ in range(2):
            start = time.process_time()
            evaluation.evaluate_ours(dets, ground_truth, get_protocol())
            times.append(time.process_time() - start)
        seconds.append(min(times))
    assert len(dets) > 1e6
    assert seconds[0] < 3
    assert seconds[1] < 8 * seconds[0]
    assert np.isfinite(dets).all()
