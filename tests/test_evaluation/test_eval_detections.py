"""The command-line tool, in a process of its own and in this one."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmstal_da.evaluation.files import load_detections, save_detections
from mmstal_da.evaluation.functional import (
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.tubes.annotation import save_annotation
from tests.evaluation_cases import annotation_of, random_case
from tests.load_tool import TOOLS, load_tool

TOOL = 'analysis_tools/eval_detections'


@pytest.fixture
def case(tmp_path):
    gt, dets = random_case(1, max_frames=40, num_dets=400)
    (tmp_path / 'gt.pkl').write_bytes(pickle.dumps(gt))
    np.savez(tmp_path / 'dets.npz', dets=dets)
    return gt, dets, tmp_path


def evaluate(gt, dets, protocol=None, background=True, **kwargs):
    truth = parse_ground_truth(gt, **kwargs)
    parsed = parse_detections(dets, truth, gt['videos'], gt['labels'])
    result = evaluate_detections(parsed, truth, protocol, background)
    return {k: v for k, v in result.items() if k not in ('seconds', 'constants')}


def tool_result(out: Path) -> dict:
    result = json.loads(out.read_text())
    return {
        k: v
        for k, v in result.items()
        if k not in ('seconds', 'constants', 'dataset', 'split', 'errors')
    }


def test_as_a_process_without_torch(case):
    gt, dets, folder = case
    code = (
        'import runpy, sys\n'
        'sys.argv = sys.argv[1:]\n'
        'try:\n    runpy.run_path(sys.argv[0], run_name="__main__")\n'
        'except SystemExit as end:\n    assert not end.code, end.code\n'
        'assert "torch" not in sys.modules'
    )
    command = ['gt.pkl', 'dets.npz', '--protocol', 'act', '--out', 'result.json']
    done = subprocess.run(
        [sys.executable, '-c', code, str(TOOLS / f'{TOOL}.py'), *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / 'result.json').read_text())
    for key in ('frame_mAP@0.5', 'video_mAP@0.2', 'video_mAP@0.5', 'video_mAP@0.75', 'n_tubes'):
        assert f'"{key}"' in (folder / 'result.json').read_text()
    assert result['frame_AP@0.5'][2] is None  # a class without ground truth
    assert result['seconds']['total'] > 0
    assert (result['dataset'], result['split'], result['protocol']) == ('gt', 1, 'act')
    assert tool_result(folder / 'result.json') == evaluate(gt, dets)
    assert f'{result["frame_mAP@0.5"]:.2f}' in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize('content', ['array', 'dict'])
def test_pickled_detections_and_options(case, content, capsys):
    gt, dets, folder = case
    (folder / 'dets.pkl').write_bytes(pickle.dumps(dets if content == 'array' else {'dets': dets}))
    flags = '--protocol voc --set max_gap=3 ties=numpy --no-background-frames --errors'.split()
    flags += ['--plot', str(folder / 'errors.png'), '--out', str(folder / 'out.json')]
    assert load_tool(TOOL).main([str(folder / 'gt.pkl'), str(folder / 'dets.pkl'), *flags]) == 0
    protocol = get_protocol('voc', max_gap=3, ties='numpy')
    assert tool_result(folder / 'out.json') == evaluate(gt, dets, protocol, False)
    errors = json.loads((folder / 'out.json').read_text())['errors']
    assert set(errors['classes']) == set(gt['labels'])
    assert (folder / 'errors.png').stat().st_size > 0
    assert 'localisation' in capsys.readouterr().out


def test_splits_and_names_in_the_detections(case):
    gt, dets, folder = case
    videos = gt.pop('videos')
    gt['test_videos'] = [[videos[1]], [videos[2], videos[0]]]
    gt['train_videos'] = [videos[::2], videos[1:2]]
    (folder / 'gt.pkl').write_bytes(pickle.dumps(gt))
    out = folder / 'out.json'
    # named: rows of other videos are left out
    named = {'dets': dets, 'videos': videos, 'labels': gt['labels']}
    (folder / 'dets.pkl').write_bytes(pickle.dumps(named))
    arguments = [str(folder / 'gt.pkl'), str(folder / 'dets.pkl'), '--split', '2', '--out']
    assert load_tool(TOOL).main([*arguments, str(out)]) == 0
    expected = evaluate({**gt, 'videos': videos}, dets, split=2)
    assert tool_result(out) == expected
    # unnamed: the index counts in the split
    inside = dets[dets[:, 0] != 1]
    inside[:, 0] = 1 - inside[:, 0] // 2
    np.savez(folder / 'dets.pkl', dets=inside)
    arguments[1] += '.npz'
    assert load_tool(TOOL).main([*arguments, str(out)]) == 0
    assert tool_result(out) == expected


def test_class_subset(case):
    gt, dets, folder = case
    out = folder / 'out.json'
    arguments = [str(folder / 'gt.pkl'), str(folder / 'dets.npz'), '--classes', 'class 1']
    assert load_tool(TOOL).main([*arguments, '--out', str(out)]) == 0
    assert tool_result(out) == evaluate(gt, dets, classes=['class 1'])
    assert tool_result(out)['labels'] == ['class 1']


def test_a_threshold_of_the_score(case):
    gt, dets, folder = case
    flags = ['--score-thr', '0.4', '--out', str(folder / 'out.json')]
    assert load_tool(TOOL).main([str(folder / 'gt.pkl'), str(folder / 'dets.npz'), *flags]) == 0
    assert tool_result(folder / 'out.json') == evaluate(gt, dets[dets[:, 3] > 0.4])


def test_annotation_file_with_renamed_classes(case):
    gt, dets, folder = case
    save_annotation(annotation_of(gt), folder / 'toy.json')
    out = folder / 'out.json'
    arguments = [str(folder / 'toy.json'), str(folder / 'dets.npz'), '--split', 'test']
    assert load_tool(TOOL).main([*arguments, '--out', str(out)]) == 0
    result = json.loads(out.read_text())
    assert (result['dataset'], result['split']) == ('toy', 'test')
    # unlike an ACT split, videos without a tube are no part of it
    kept = [name for name in gt['videos'] if gt['gttubes'][name]]
    truth = parse_ground_truth({**gt, 'videos': kept})
    expected = evaluate_detections(parse_detections(dets, truth, gt['videos']), truth)
    assert result['frame_AP@0.5'] == expected['frame_AP@0.5']
    assert result['video_AP@0.5'] == expected['video_AP@0.5']
    flags = ['--classes', 'run', '--class-map', 'class 0=run', 'class 1=run', '--videos', 'video ?']
    one_label = dets[dets[:, 2] < 2]
    one_label[:, 2] = 0
    np.savez(folder / 'run.npz', dets=one_label)
    arguments[1] = str(folder / 'run.npz')
    assert load_tool(TOOL).main([*arguments, *flags, '--out', str(out)]) == 0
    assert tool_result(out)['labels'] == ['run']


@pytest.mark.parametrize(
    ('change', 'flags', 'message'),
    [
        (lambda gt, dets: dets.__setitem__((4, 3), np.nan), [], 'row 4: NaN'),
        (lambda gt, dets: gt.pop('nframes'), [], "lacks the keys ['nframes']"),
        (None, ['--split', 'test'], '--split is a number'),
        (None, ['--set', 'max_gap'], '--set: expected KEY=VALUE'),
        (None, ['--set', 'max_hole=3'], 'unknown protocol constant'),
        (None, ['--classes', 'swim'], "no classes ['swim']"),
        (None, ['--videos', 'a*'], '--videos goes with an annotation file'),
    ],
)
def test_errors_are_one_line_and_leave_no_file(case, change, flags, message, capsys):
    gt, dets, folder = case
    if change:
        change(gt, dets)
    (folder / 'gt.pkl').write_bytes(pickle.dumps(gt))
    np.savez(folder / 'dets.npz', dets=dets)
    out = folder / 'out.json'
    arguments = [str(folder / 'gt.pkl'), str(folder / 'dets.npz'), '--out', str(out), *flags]
    assert load_tool(TOOL).main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith('eval_detections: ')
    assert message in error
    assert not out.exists()


def test_missing_and_foreign_files(case, capsys):
    _, dets, folder = case
    tool = load_tool(TOOL)
    gt_path = str(folder / 'gt.pkl')
    assert tool.main([gt_path, str(folder / 'none.npz')]) == 2
    assert 'none.npz' in capsys.readouterr().err
    np.savez(folder / 'other.npz', boxes=dets)
    assert tool.main([gt_path, str(folder / 'other.npz')]) == 2
    assert "no 'dets' in it, only ['boxes']" in capsys.readouterr().err
    np.savez(folder / 'objects.npz', dets=np.array([None]))
    assert tool.main([gt_path, str(folder / 'objects.npz')]) == 2
    assert 'objects.npz' in capsys.readouterr().err
    (folder / 'names.pkl').write_bytes(pickle.dumps({'dets': dets, 'videos': ['a', 'b', 'c']}))
    assert tool.main([gt_path, str(folder / 'names.pkl')]) == 2
    assert 'name 3 videos that the ground truth does not have' in capsys.readouterr().err


def test_saved_detections_are_read_back_exactly(case):
    gt, dets, folder = case
    parsed = parse_detections(dets, parse_ground_truth(gt))
    save_detections(folder / 'saved.npz', parsed, gt['videos'], gt['labels'], {'split': 'test'})
    read = load_detections(folder / 'saved.npz')
    assert (read.videos, read.labels, read.meta) == (gt['videos'], gt['labels'], {'split': 'test'})
    again = parse_detections(read.dets, parse_ground_truth(gt))
    for name in ('video', 'frame', 'label', 'score', 'boxes'):
        np.testing.assert_array_equal(getattr(again, name), getattr(parsed, name))
