"""The benchmark: both evaluators on one input, in one run."""

import json
import pickle

import pytest

from tests.load_tool import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('analysis_tools/benchmark_evaluation')


def test_both_agree_and_ours_is_faster(tool, tmp_path, capsys):
    out = tmp_path / 'times.json'
    flags = '--videos 6 --frames 120 --classes 3 --per-frame 3 6 --out'.split()
    assert tool.main([*flags, str(out)]) == 0
    rows = json.loads(out.read_text())['rows']
    assert [row['detections'] for row in rows] == sorted(row['detections'] for row in rows)
    for row in rows:
        assert row['largest_difference'] < 1e-9
        assert row['ratio'] > 2
        assert row['video_mAP@0.5'] > 0  # tubes are found at all
    assert 'ratio' in capsys.readouterr().out


def test_ground_truth_from_a_file(tool, tmp_path, capsys):
    args = tool.parse_args(['--videos', '2', '--frames', '40'])
    gt = tool.made_up_ground_truth(args)
    gt['test_videos'] = [gt.pop('videos')[:1]]
    (tmp_path / 'gt.pkl').write_bytes(pickle.dumps(gt))
    assert tool.main(['--gt', str(tmp_path / 'gt.pkl'), '--skip-straightforward']) == 0
    assert capsys.readouterr().out.startswith('videos 1, ')
    assert tool.main(['--gt', str(tmp_path / 'none.pkl')]) == 2
    assert 'none.pkl' in capsys.readouterr().err
