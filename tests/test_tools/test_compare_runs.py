"""The comparison of runs scores dumps as the metric that wrote them did."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.metrics import TubeMetric
from tests.clips import write_video

TOOL = Path(__file__).resolve().parents[2] / 'tools/analysis_tools/compare_runs.py'


def annotation() -> dict:
    """Two videos of 20 frames with one tube each."""
    tube = dict(frames=list(range(1, 21)), boxes=[[10, 10, 30, 40]] * 20)
    video = dict(num_frames=20, width=64, height=48)
    return dict(
        format='mmstal_da.tubes',
        version=1,
        dataset='made up',
        classes=['a', 'b'],
        videos={name: dict(video, path=f'{name}.mp4') for name in ('x', 'y')},
        splits=dict(test=['x', 'y']),
        tubes=dict(x=[dict(tube, label='a')], y=[dict(tube, label='b')]),
    )


def dump(folder: Path, name: str, found_in_y: int, **kwargs) -> dict:
    """Predictions: all of x, and the first frames of y; returns the metric's results."""
    metric = TubeMetric(
        str(folder / 'ann.json'), 'test', ['a', 'b'], dump=str(folder / name), **kwargs
    )
    for video, label, n in (('x', 0, 20), ('y', 1, found_in_y)):
        for frame in range(1, 21):
            keep = frame <= n
            instances = dict(
                bboxes=np.array([[10, 10, 30, 40]], np.float32)[:keep],
                scores=np.array([0.9], np.float32)[:keep],
                labels=np.array([label])[:keep],
            )
            sample = dict(video_name=video, key_frame=frame, pred_instances=instances)
            metric.process({}, [sample])
    return metric.evaluate(40)


def run(monkeypatch, *args) -> int:
    """Run the tool; returns its exit status."""
    scope: dict = {'__name__': 'compare_runs'}
    exec(compile(TOOL.read_text(), str(TOOL), 'exec'), scope)
    return scope['main']([str(arg) for arg in args])


@pytest.fixture()
def folder(tmp_path):
    (tmp_path / 'ann.json').write_text(json.dumps(annotation()))
    return tmp_path


def test_numbers_are_the_metrics(folder, monkeypatch, capsys):
    whole, half = dump(folder, 'whole.npz', 20), dump(folder, 'half.npz', 10)
    assert whole['frame_mAP@0.5'] == pytest.approx(100)
    assert half['frame_mAP@0.5'] == pytest.approx(75)
    runs = [f'{name}={folder / name}.npz' for name in ('whole', 'half')]
    assert run(monkeypatch, folder / 'ann.json', *runs, '--out', folder / 'r.json') == 0
    results = json.loads((folder / 'r.json').read_text())
    for name, expected in (('whole', whole), ('half', half)):
        assert results[name]['frame_mAP@0.5'] == pytest.approx(expected['frame_mAP@0.5'])
        assert results[name]['video_mAP@0.5'] == pytest.approx(expected['video_mAP@0.5'])
    assert '75.0' in capsys.readouterr().out


def test_detections_are_kept_beside_the_result(folder, monkeypatch, capsys):
    dump(folder, 'half.npz', 10)
    flags = ('--out', folder / 'r.json', '--keep-detections')
    assert run(monkeypatch, folder / 'ann.json', f'half={folder}/half.npz', *flags) == 0
    result = json.loads((folder / 'r.json').read_text())['half']
    kept = load_detections(folder / result['detections']['file'])
    assert kept.meta['published']['frame_mAP@0.5'] == result['frame_mAP@0.5']
    assert result['detections']['metrics']['frame_mAP@0.5'] == pytest.approx(75)
    np.testing.assert_array_equal(kept.dets[:, 4:], [[10, 10, 30, 40]] * 30)
    assert run(monkeypatch, folder / 'ann.json', f'a/b={folder}/half.npz', *flags) == 2
    assert "'a/b'" in capsys.readouterr().err


def test_the_figure_shows_the_same_frames_once_per_run(folder, monkeypatch):
    """Frame 11 of both videos: one run finds both actors, the other that of x alone."""
    for name in ('x', 'y'):
        write_video(folder / f'{name}.mp4', np.full((20, 48, 64, 3), 60, np.uint8), 'libx264')
    dump(folder, 'whole.npz', 20), dump(folder, 'half.npz', 10)
    runs = [f'{name}={folder / name}.npz' for name in ('whole', 'half')]
    figure = ('--figure', folder / 'f.png', '--data-prefix', folder)
    assert run(monkeypatch, folder / 'ann.json', *runs, *figure) == 0
    page = cv2.imread(str(folder / 'f.png')).astype(int)
    assert page.shape[1] == 8 + 2 * (256 + 8)  # a column per class, frames 192 high
    first, second = np.split(page[8:], 2)  # rows of a title, frames and captions
    left, right = (np.abs(first - second)[25:217, at : at + 256].max() for at in (8, 272))
    assert left == 0 and right > 50
    assert run(monkeypatch, folder / 'ann.json', *runs, *figure, '--clips', 2) == 2


def test_the_figure_may_show_the_clips_of_the_median_difference(folder, monkeypatch):
    """Of class a the runs differ by 100, 50 and 0 points; grey levels tell the clips."""
    data = annotation()
    data['videos'] |= {name: dict(data['videos']['x'], path=f'{name}.mp4') for name in 'pqr'}
    data['tubes'] |= {name: data['tubes']['x'] for name in 'pqr'}
    data['splits']['test'] = ['p', 'q', 'r', 'y']
    del data['videos']['x'], data['tubes']['x']
    (folder / 'ann.json').write_text(json.dumps(data))
    for name, grey in (('p', 40), ('q', 120), ('r', 200), ('y', 60)):
        write_video(folder / f'{name}.mp4', np.full((20, 48, 64, 3), grey, np.uint8), 'libx264')
    for run_name, counts in (('one', (0, 10, 20, 20)), ('two', (20, 20, 20, 20))):
        metric = TubeMetric(
            str(folder / 'ann.json'), 'test', ['a', 'b'], dump=str(folder / f'{run_name}.npz')
        )
        for video, count in zip('pqry', counts, strict=True):
            for frame in range(1, 21):
                found = dict(
                    bboxes=np.array([[10, 10, 30, 40]], np.float32)[: frame <= count],
                    scores=np.array([0.9], np.float32)[: frame <= count],
                    labels=np.array([int(video == 'y')])[: frame <= count],
                )
                metric.process({}, [dict(video_name=video, key_frame=frame, pred_instances=found)])
        metric.evaluate(80)
    runs = [f'{name}={folder / name}.npz' for name in ('one', 'two')]
    figure = ('--figure', folder / 'f.png', '--data-prefix', folder)
    for flags, grey in (((), 40), (('--typical',), 120)):
        assert run(monkeypatch, folder / 'ann.json', *runs, *figure, *flags) == 0
        page = cv2.imread(str(folder / 'f.png')).astype(int)
        corner = page[8 + 25 : 8 + 25 + 30, 8 + 220 : 8 + 250]  # no box there
        assert abs(np.median(corner) - grey) < 10


def test_classes_and_intervals_are_shown_when_asked_for(folder, monkeypatch, capsys):
    dump(folder, 'whole.npz', 20), dump(folder, 'half.npz', 10)
    runs = [f'{name}={folder / name}.npz' for name in ('half', 'whole')]
    flags = ('--per-class', '--bootstrap', 20, '--out', folder / 'r.json')
    assert run(monkeypatch, folder / 'ann.json', *runs, *flags) == 0
    shown = capsys.readouterr().out
    assert 'frame-AP@0.5 by class' in shown and '+50.0' in shown  # of class b
    assert '20 draws of the 2 test videos' in shown
    found = json.loads((folder / 'r.json').read_text())['whole']['bootstrap']['frame_mAP@0.5']
    assert found['difference'] == pytest.approx(25) and found['low'] >= 0
    assert found['low'] <= found['difference'] <= found['high'] <= 50


def test_runs_on_different_frames_are_not_compared(folder, monkeypatch, capsys):
    data = annotation()
    data['tubes']['x'][0].update(frames=list(range(1, 16)), boxes=[[10, 10, 30, 40]] * 15)
    (folder / 'ann.json').write_text(json.dumps(data))
    dump(folder, 'all.npz', 20)
    dump(folder, 'annotated.npz', 20, background_frames=False)
    runs = [f'{name}={folder / name}.npz' for name in ('all', 'annotated')]
    assert run(monkeypatch, folder / 'ann.json', *runs) == 2
    assert 'annotated has other n_frames' in capsys.readouterr().err


def test_a_missing_file_is_named(folder, monkeypatch, capsys):
    assert run(monkeypatch, folder / 'ann.json', f'x={folder}/no.npz') == 2
    assert 'no.npz' in capsys.readouterr().err
