"""A checkpoint on one's own videos: what testing finds, whatever the input is called."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mmstal_da.apis import ActionTubeInferencer
from mmstal_da.apis.inputs import find_clips
from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.errors import ConfigError, UsageError, VideoError
from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.functional import Detections, tube_iou
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.video.reader import count_frames, iter_frames, read_frames
from tests.clips import numbered_frames, write_dataset, write_video
from tests.load_tool import load_tool
from tests.model_builders import CONFIGS, TINY, build_detector

CLASSES = ['pull', 'push', 'squat']


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """Two videos of 20 frames, and a tiny detector's checkpoint as the runner saves it."""
    folder = tmp_path_factory.mktemp('videos')
    write_dataset(folder, ['a', 'b'], CLASSES, num_frames=20)
    config = Config.fromfile(CONFIGS / 'synthetic/source_only.py')
    config.merge_from_dict({f'model.{key}': value for key, value in TINY.items()})
    # a resize, which is of frames, and of another ratio
    pipeline = config.test_dataloader.dataset.pipeline
    pipeline.insert(2, dict(type='mmaction.Resize', scale=(96, 64), keep_ratio=False))
    detector = build_detector().eval()
    checkpoint = folder / 'iter_2.pth'
    meta = dict(cfg=config.pretty_text, dataset_meta=dict(classes=tuple(CLASSES)))
    torch.save(dict(meta=meta, state_dict=detector.state_dict()), checkpoint)
    return folder, checkpoint, config, detector


@pytest.fixture(scope='module')
def inferencer(case):
    return ActionTubeInferencer(case[1], device='cpu', batch_size=3)


def as_rows(dets) -> np.ndarray:
    rows = np.column_stack((dets.frame, dets.label, dets.score, dets.boxes))
    return rows[np.lexsort(rows.T[::-1])]


@pytest.mark.slow
def test_it_finds_what_testing_finds(case, inferencer):
    folder, _, config, detector = case
    dataset = ActionTubeDataset(
        'annotation.json', 'train', config.test_dataloader.dataset.pipeline, str(folder),
        classes=CLASSES, background_frames=True, test_mode=True, videos=['a'],
    )  # fmt: skip
    expected = []
    for i in range(len(dataset)):
        with torch.no_grad():
            (sample,) = detector.test_step(pseudo_collate([dataset[i]]))
        found = sample.pred_instances
        frame = torch.full((len(found), 1), dataset.get_data_info(i)['key_frame'])
        expected.append(torch.cat((frame, found.labels[:, None], found.scores[:, None],
                                   found.bboxes), 1))  # fmt: skip
    expected = torch.cat(expected).numpy().astype(np.float32)
    expected = expected[np.lexsort(expected.T[::-1])]
    (path,) = folder.rglob('a.mkv')
    (result,) = inferencer(path)
    assert (result.num_frames, result.height, result.width) == (20, 48, 64)
    np.testing.assert_allclose(as_rows(result.dets), expected, rtol=1e-5, atol=1e-5)
    tubes = result.tubes  # after tube NMS
    pairs = [
        (i, j) for i in range(len(tubes)) for j in range(i) if tubes.label[i] == tubes.label[j]
    ]
    assert pairs
    first, second = np.array(pairs).T
    assert (tube_iou(tubes, tubes, first, second) <= 0.3).all()
    frames = np.stack(list(iter_frames(path)))
    (of_array,) = inferencer(frames)
    np.testing.assert_array_equal(as_rows(of_array.dets), as_rows(result.dets))


def test_stride_looks_at_every_nth_frame_and_interpolates(case, inferencer):
    (path,) = case[0].rglob('a.mkv')
    (every,) = inferencer(path, min_length=1)
    (some,) = inferencer(path, key_frame_stride=4, min_length=1)
    assert np.unique(some.dets.frame).tolist() == [1, 5, 9, 13, 17]
    chosen = every.dets.take(np.flatnonzero(every.dets.frame % 4 == 1))
    np.testing.assert_allclose(as_rows(some.dets), as_rows(chosen), rtol=1e-5, atol=1e-5)
    longest = int(np.argmax(some.tubes.end - some.tubes.begin))
    assert some.tubes.end[longest] > some.tubes.begin[longest]
    tube = some.tubes.take(np.array([longest]))
    rows = tube.boxes[tube.offset[0] :][:5]
    for step in range(5):  # linear between two key frames
        expected = rows[0] + (rows[4] - rows[0]) * step / 4
        np.testing.assert_allclose(rows[step], expected, atol=1e-4)


@pytest.mark.slow
def test_weather_of_a_data_set_is_not_put_on_ones_own_videos(case, inferencer, tmp_path):
    folder, checkpoint, config, _ = case
    foggy = config.copy()
    foggy.test_dataloader.dataset.pipeline.insert(3, dict(type='DegradeFrames', fog=0.9, seed=0))
    (tmp_path / 'foggy.py').write_text(foggy.pretty_text)
    (path,) = folder.rglob('a.mkv')
    (found,) = ActionTubeInferencer(checkpoint, tmp_path / 'foggy.py', 'cpu', 3)(path)
    (expected,) = inferencer(path)
    np.testing.assert_array_equal(as_rows(found.dets), as_rows(expected.dets))


@pytest.mark.slow
def test_the_tool_writes_what_others_read(case, tmp_path, capsys):
    folder, checkpoint, *_ = case
    tool = load_tool('infer')
    argv = [str(checkpoint), str(folder), '--out', str(tmp_path), '--device', 'cpu']
    argv += ['--min-length', '2', '--score-thr']
    assert tool.main([*argv, '0.0']) == 0
    names = sorted(path.parent.relative_to(tmp_path).as_posix() for path in
                   tmp_path.rglob('result.json'))  # fmt: skip
    assert [name[-1] for name in names] == ['a', 'b']
    for name in names:
        result = json.loads((tmp_path / name / 'result.json').read_text())
        dets = load_detections(tmp_path / name / 'dets.npz')
        assert dets.videos == [name] and dets.labels == CLASSES
        assert result['video'] == name and result['num_frames'] == 20
        assert sum(len(frame['scores']) for frame in result['frames']) == len(dets.dets)
        assert count_frames(tmp_path / name / 'video.mp4') == 20
        annotation = load_annotation(tmp_path / name / 'tubes.json')
        assert len(annotation.tubes.get(name, ())) == len(result['tubes'])
        for tube, written in zip(annotation.tubes.get(name, ()), result['tubes'], strict=True):
            assert tube.frames.tolist() == written['frames']
            np.testing.assert_allclose(tube.boxes, written['boxes'], atol=0.006)
    capsys.readouterr()
    assert tool.main([*argv, '0.0']) == 0
    assert '2 of 2 videos are done already' in capsys.readouterr().out
    (tmp_path / names[0] / 'tubes.json').unlink()  # what is not complete is done again
    assert tool.main([*argv, '0.0']) == 0
    assert '1 of 2 videos are done already' in capsys.readouterr().out
    assert (tmp_path / names[0] / 'tubes.json').is_file()
    assert tool.main([*argv, '0.5']) == 2
    assert 'were made with another score_thr; give another --out' in capsys.readouterr().err


@pytest.mark.slow
def test_unreadable_videos_are_named_and_the_others_done(case, tmp_path, capsys):
    folder, checkpoint, *_ = case
    (good,) = folder.rglob('a.mkv')
    cut, empty = tmp_path / 'cut.mkv', tmp_path / 'empty.mp4'
    cut.write_bytes(good.read_bytes()[:100])
    empty.touch()
    out = tmp_path / 'out'
    tool = load_tool('infer')
    argv = [str(checkpoint), str(cut), str(tmp_path / 'absent.mp4'), str(good), str(empty)]
    assert tool.main([*argv, '--out', str(out), '--device', 'cpu', '--score-thr', '1.0']) == 1
    said = capsys.readouterr()
    assert '3 of 4 videos could not be done' in said.err
    for name in ('cut.mkv', 'absent.mp4', 'empty.mp4'):
        assert name in said.err and not (out / name.split('.')[0]).exists()
    assert 'no tube of score 1 or more' in said.out + said.err
    # a video without a tube says so, and is not that of a video without an action
    (frame,) = read_frames(out / 'a' / 'video.mp4', [1])
    (original,) = read_frames(good, [1])
    assert frame.shape[0] / frame.shape[1] > original.shape[0] / original.shape[1]
    assert (out / 'a' / 'result.json').is_file()


@pytest.mark.slow
def test_results_of_another_video_of_the_same_name_are_not_taken(case, tmp_path, capsys):
    folder, checkpoint, *_ = case
    first, second = sorted(folder.rglob('*.mkv'))
    tool = load_tool('infer')
    for number, source in enumerate((first, second)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / 'clip.mkv').write_bytes(source.read_bytes())
    options = ['--out', str(tmp_path / 'out'), '--device', 'cpu', '--no-video']
    assert tool.main([str(checkpoint), str(tmp_path / '0' / 'clip.mkv'), *options]) == 0
    capsys.readouterr()
    assert tool.main([str(checkpoint), str(tmp_path / '1' / 'clip.mkv'), *options]) == 2
    assert '0/clip.mkv, not of' in capsys.readouterr().err


@pytest.mark.slow
def test_in_python_the_same_files_are_written(case, inferencer, tmp_path):
    (path,) = case[0].rglob('a.mkv')
    found = inferencer(path, out_dir=tmp_path / 'python', min_length=2)
    (result,) = found
    assert result.shown_tubes() and not result.nothing_shown()
    argv = [str(case[1]), str(path), '--out', str(tmp_path / 'tool'), '--min-length', '2']
    assert load_tool('infer').main([*argv, '--device', 'cpu']) == 0
    names = [{file.name for file in (tmp_path / name / 'a').iterdir()} for name in
             ('python', 'tool')]  # fmt: skip
    assert names[0] == names[1] and 'video.mp4' in names[0]
    list(inferencer(path, out_dir=tmp_path / 'none', video=False))
    assert not (tmp_path / 'none/a/video.mp4').exists()


@pytest.mark.parametrize('value', ['nan', '30', '-0.1'])
def test_a_threshold_that_is_no_score_is_refused(case, inferencer, capsys, value):
    with pytest.raises(SystemExit):
        load_tool('infer').main([str(case[1]), 'x.mp4', '--score-thr', value])
    assert f'must lie in [0, 1], not {value}' in capsys.readouterr().err
    with pytest.raises(UsageError, match=r'score_thr must lie in \[0, 1\]'):
        list(inferencer(np.zeros((3, 48, 64, 3), np.uint8), score_thr=float(value)))


def test_a_number_is_a_camera_unless_there_is_a_file(tmp_path, monkeypatch):
    as_input = load_tool('infer').as_input
    monkeypatch.chdir(tmp_path)
    assert as_input('0') == 0 and as_input('0.mp4') == '0.mp4'
    (tmp_path / '0').mkdir()
    assert as_input('0') == '0'


def test_processes_share_the_videos(monkeypatch):
    tool = load_tool('infer')
    shares = []
    for rank in range(3):
        monkeypatch.setenv('RANK', str(rank))
        monkeypatch.setenv('WORLD_SIZE', '3')
        shares += tool.my_share(list(range(8)))
    assert sorted(shares) == list(range(8))
    monkeypatch.delenv('RANK')
    monkeypatch.setenv('SLURM_ARRAY_TASK_COUNT', '2')
    monkeypatch.setenv('SLURM_ARRAY_TASK_MIN', '4')
    monkeypatch.setenv('SLURM_ARRAY_TASK_STEP', '3')
    for task in (4, 7):
        monkeypatch.setenv('SLURM_ARRAY_TASK_ID', str(task))
        shares += tool.my_share(list(range(8)))
    assert sorted(shares[8:]) == list(range(8))


def test_inputs_and_their_names(tmp_path):
    for name in ('x/a.mp4', 'y/a.mp4', 'y/b.avi', 'y/notes.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [clip.name for clip in find_clips(tmp_path)] == ['x/a', 'y/a', 'y/b']
    assert [clip.name for clip in find_clips(str(tmp_path / 'y/*'))] == ['a', 'b']
    both = find_clips([tmp_path / 'x/a.mp4', tmp_path / 'y/a.mp4', tmp_path / 'y/a.mp4'])
    assert len({clip.name for clip in both}) == 3
    assert not any(clip.name.startswith('/') or '..' in clip.name for clip in both)
    # a number that another video has already
    (tmp_path / 'z').mkdir()
    names = [tmp_path / 'z' / name for name in ('a.mp4', 'a.avi', 'a_1.mp4')]
    several = find_clips([*names, tmp_path / 'y' / 'a_1.mp4'])
    assert len({clip.name for clip in several}) == 4
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    clips = find_clips([frames, 0, 'rtsp://host:8554/live'])
    assert [clip.is_stream for clip in clips] == [False, True, True]
    for wrong, message in (
        (np.zeros((4, 4, 3), np.uint8), r'input 0: frames are \(T, H, W, 3\)'),
        (str(tmp_path / '*.mov'), 'matches no video'),
        ([], 'no input'),
        ([0, None], 'input 1: a path, a URL, frames or a number of a camera, not None'),
        (True, 'not True'),
        (0.5, 'not 0.5'),
        (tmp_path / 'x' / 'none', None),
    ):
        if message is None:
            assert len(find_clips(wrong)) == 1  # named when it is opened
            continue
        with pytest.raises(UsageError, match=message):
            find_clips(wrong)


@pytest.mark.slow
def test_complaints(case, inferencer, tmp_path, capsys):
    _, checkpoint, config, detector = case
    state = detector.state_dict()
    for meta, message in (
        ({}, 'carries no config'),
        (dict(cfg=config.pretty_text.replace('classes', 'names')), 'names no classes'),
    ):
        torch.save(dict(meta=meta, state_dict=state), tmp_path / 'x.pth')
        with pytest.raises(UsageError, match=message):
            ActionTubeInferencer(tmp_path / 'x.pth')
    older = config.copy()
    older.model.old = 1
    meta = dict(cfg=older.pretty_text, dataset_meta=dict(classes=tuple(CLASSES)))
    torch.save(dict(meta=meta, state_dict=state), tmp_path / 'x.pth')
    with pytest.raises(ConfigError, match=r"if another version of this library trained it.*'old'"):
        ActionTubeInferencer(tmp_path / 'x.pth')
    with pytest.raises(UsageError, match='is of another model than the config'):
        ActionTubeInferencer(checkpoint, CONFIGS / 'synthetic/source_only.py')
    (tmp_path / 'cut.pth').write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(UsageError, match=r'cut\.pth cannot be read, it is truncated or none'):
        ActionTubeInferencer(tmp_path / 'cut.pth')
    with pytest.raises(UsageError, match=r'absent\.pth does not exist'):
        ActionTubeInferencer('absent.pth')
    with pytest.raises(UsageError, match=r"device 'toaster' cannot be used: .*toaster"):
        ActionTubeInferencer(checkpoint, device='toaster')
    (tmp_path / 'file').touch()
    argv = [str(checkpoint), 'x.mp4', '--device', 'cpu', '--out', str(tmp_path / 'file')]
    assert load_tool('infer').main(argv) == 2
    assert str(tmp_path / 'file') in capsys.readouterr().err
    with pytest.raises(UsageError, match='stride of key frames is at least 1'):
        list(inferencer(np.zeros((3, 48, 64, 3), np.uint8), key_frame_stride=0))
    video = write_video(tmp_path / 'v.mkv', numbered_frames(3))
    video.write_bytes(b'')
    with pytest.raises(VideoError, match=r'v\.mkv'):
        list(inferencer(video))


@pytest.mark.parametrize(('max_gap', 'expected'), [(1, [7, 11]), (2, [7, 11]), (3, [20])])
def test_a_tube_may_miss_key_frames(inferencer, monkeypatch, max_gap, expected):
    """Of 20 frames the eighth and the ninth have no box."""

    def run(clip, frames, stride):
        for number, frame in enumerate(frames, 1):
            rows = [[0, number, 1, 0.9, 10, 10, 30, 40]] * (number not in (8, 9))
            found = Detections.from_rows(np.array(rows, np.float32).reshape(-1, 8))
            yield number, found, frame.shape[:2]

    monkeypatch.setattr(inferencer, '_run', run)
    (result,) = inferencer(np.zeros((20, 48, 64, 3), np.uint8), max_gap=max_gap, min_length=2)
    assert [len(tube.frames) for tube in result.as_tubes()] == expected


def test_a_camera_gives_rgb_until_it_ends(case, monkeypatch):
    """OpenCV opens a file in place of a camera, which this machine lacks."""
    path = str(next(case[0].rglob('a.mkv')))
    opened, capture = [], cv2.VideoCapture
    monkeypatch.setattr(cv2, 'VideoCapture', lambda n: opened.append(n) or capture(path))
    frames = list(find_clips(3)[0].frames())
    assert opened == [3]
    np.testing.assert_array_equal(frames, list(iter_frames(path)))


@pytest.mark.slow
def test_fast_looks_at_every_second_frame_and_sixth_clip(case):
    folder, checkpoint, _, _ = case
    fast, exact = (ActionTubeInferencer(checkpoint, device='cpu', fast=f) for f in (True, False))
    assert fast.batch_size == 32 and fast.model.test_cfg.clip_stride == 6
    assert 'clip_stride' not in exact.model.test_cfg
    proposals = exact.model.rpn_head.test_cfg
    for key in ('nms_pre', 'max_per_img'):
        assert fast.model.rpn_head.test_cfg[key] == round(proposals[key] / 3)
    proposals.max_per_img = round(proposals.max_per_img / 3)
    (exact,), (found,) = (list(which(folder / 'a.mkv')) for which in (exact, fast))
    assert found.num_frames == exact.num_frames
    assert found.key_frame_stride == 2 and set(found.dets.frame) == set(range(1, 21, 2))
    for frame, alike in ((7, True), (5, False)):  # I3D has seen 1, 7, 13, ...
        scores = [np.sort(which.dets.score[which.dets.frame == frame]) for which in (found, exact)]
        same = len(scores[0]) == len(scores[1])
        assert (same and np.allclose(*scores, atol=1e-5)) == alike
    (every,) = fast(folder / 'a.mkv', key_frame_stride=1)
    assert set(every.dets.frame) == set(range(1, 21))
