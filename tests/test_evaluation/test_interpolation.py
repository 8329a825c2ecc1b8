"""Boxes between key frames, by hand and as the command line scores them."""

import json
import pickle

import numpy as np
import pytest

from mmstal_da.evaluation.files import save_detections
from mmstal_da.evaluation.functional import Detections
from mmstal_da.evaluation.functional.interpolation import interpolate_detections
from tests.evaluation_cases import random_case
from tests.load_tool import load_tool


def rows_of(dets: Detections) -> np.ndarray:
    rows = np.column_stack((dets.video, dets.frame, dets.label, dets.score, dets.boxes))
    return rows[np.lexsort(rows.T[::-1])]


def test_linked_boxes_are_interpolated_and_single_ones_stay():
    given = np.array([
        (0, 1, 0, 0.8, 10, 10, 30, 30),
        (0, 5, 0, 0.4, 14, 10, 38, 30),  # overlaps the first: linked
        (0, 9, 0, 0.4, 60, 60, 70, 70),  # overlaps nothing
        (0, 9, 1, 0.9, 14, 10, 38, 30),  # of another class
        (1, 5, 0, 0.9, 10, 10, 30, 30),  # of another video
        (0, 17, 0, 0.4, 60, 60, 70, 70),  # two strides later
    ], np.float32)  # fmt: skip
    between = [(0, 1 + i, 0, 0.8 - 0.1 * i, 10 + i, 10, 30 + 2 * i, 30) for i in range(1, 4)]
    expected = Detections.from_rows(np.concatenate((given, between)))
    found = interpolate_detections(Detections.from_rows(given), 4)
    np.testing.assert_allclose(rows_of(found), rows_of(expected), rtol=1e-6)


def test_a_stride_of_one_keeps_everything():
    dets = Detections.from_rows(random_case(3, num_dets=500)[1].astype(np.float32))
    np.testing.assert_array_equal(rows_of(interpolate_detections(dets, 1)), rows_of(dets))
    assert len(interpolate_detections(dets.slice(0, 0), 2)) == 0
    with pytest.raises(ValueError, match='at least 1, not 0'):
        interpolate_detections(dets, 0)


def test_the_tool_scores_key_frames(tmp_path, capsys):
    """A slow, straight ground truth is found whole from every fourth frame."""
    frames = np.arange(1, 22)
    boxes = np.column_stack((10 + frames, 10 + frames, 50 + frames, 50 + frames))
    tube = np.column_stack((frames, boxes)).astype(np.float64)
    gt = dict(labels=['a'], gttubes={'v': {0: [tube]}}, nframes={'v': 21}, videos=['v'])
    gt.update(test_videos=[['v']], train_videos=[[]])
    (tmp_path / 'gt.pkl').write_bytes(pickle.dumps(gt))
    rows = np.column_stack((0 * frames, frames, 0 * frames, 0 * frames + 0.9, boxes))
    rows[1::4, 4:] += 500  # wrong where nobody looks
    every = Detections.from_rows(rows)

    def score(dets, meta, *flags):
        save_detections(tmp_path / 'dets.npz', dets, ['v'], ['a'], meta)
        argv = [str(tmp_path / name) for name in ('gt.pkl', 'dets.npz')]
        argv += ['--out', str(tmp_path / 'out.json'), *flags]
        code = load_tool('analysis_tools/eval_detections').main(argv)
        return (
            json.loads((tmp_path / 'out.json').read_text())['frame_mAP@0.5'] if not code else None
        )

    assert score(every, {}) < 80
    assert score(every, {}, '--key-frame-stride', '4') == 100
    # what infer.py writes records its stride
    assert score(every.take(np.arange(0, 21, 4)), dict(key_frame_stride=4)) == 100
    assert score(every, dict(key_frame_stride=4), '--key-frame-stride', '6') is None
    assert 'is a multiple of 4, the stride of' in capsys.readouterr().err
