from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mmstal_da.tubes.annotation import Annotation, Tube, Video, save_annotation
from mmstal_da.video.writer import write_video
from mmstal_da.visualization import write_gif, write_mp4
from mmstal_da.visualization.domain_figure import domain_figure
from mmstal_da.visualization.drawing import CLASS_COLOURS, GROUND_TRUTH
from tests.load_tool import load_tool

FRAMES = 18


def moving_square(height, width, size):
    """A white square that moves right by a 64th of the width per frame."""
    frames = np.full((FRAMES, height, width, 3), 40, np.uint8)
    for index, frame in enumerate(frames):
        left = (8 + index) * width // 64
        frame[height // 4 : height // 4 + size, left : left + size] = 255
    return frames


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Two classes of clips: one at the annotation's resolution, one decoded at half of it."""
    root = tmp_path_factory.mktemp('data')
    (root / 'videos').mkdir()
    annotation = Annotation('squares', ['push', 'pull'], splits={'test': []})
    for index in range(4):
        label, scale = annotation.classes[index // 2], 1 + index % 2
        name = f'{label}/clip{index}'
        write_video(
            root / 'videos' / f'{index}.mp4',
            moving_square(96 // scale, 128 // scale, 24 // scale),
            25,
        )
        boxes = [[(8 + i) * 2, 24, (8 + i) * 2 + 23, 47] for i in range(FRAMES)]
        annotation.videos[name] = Video(f'videos/{index}.mp4', FRAMES, 128, 96, fps=25.0)
        annotation.splits['test'].append(name)
        annotation.tubes[name] = [
            Tube(label, np.arange(1, FRAMES + 1), np.array(boxes, np.float32))
        ]
    save_annotation(annotation, root / 'ann.json')
    rows = []
    for index, name in enumerate(annotation.splits['test']):
        [tube] = annotation.tubes[name]
        for frame, box in zip(tube.frames, tube.boxes, strict=True):
            rows.append([index, frame, index // 2, 0.7, *box])
    np.savez(root / 'dets.npz', dets=np.array(rows), videos=annotation.splits['test'])
    return root


def decode(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]


@pytest.mark.slow
@pytest.mark.parametrize('tubes', [False, True], ids=['frames', 'tubes'])
def test_boxes_land_on_the_actor_at_any_resolution(data, tmp_path, capsys, tubes):
    tool = load_tool('analysis_tools/render_videos')
    args = [str(data / 'ann.json'), '--data-prefix', str(data), '--dets', str(data / 'dets.npz')]
    args += ['--out', str(tmp_path), '--num', '0', '--min-height', '192', '--no-gt']
    assert tool.main(args + ['--tubes'] * tubes) == 0
    paths = capsys.readouterr().out.split()
    assert len(paths) == 4
    for path in paths:
        frames = decode(path)
        assert len(frames) == FRAMES
        colour = np.array(CLASS_COLOURS['pull' in path.rpartition('/')[2]])
        for number in (0, FRAMES - 1):
            picture = frames[number][:192].astype(int)
            left, right, bottom = 4 * (8 + number), 4 * (8 + number) + 47, 95  # of the square
            assert picture[70:80, left + 8 : right - 8].min() > 200
            assert picture[70:80, left - 8 : left - 5].max() < 90
            # the scene is grey: what is coloured is the line, and of the class's colour
            line = np.ptp(picture, axis=-1) > 60
            assert np.abs(np.median(picture[line], axis=0) - colour).max() < 40
            # below the label, it runs along the square's left, right and lower edge
            edges = np.flatnonzero(line[70:80].all(0))
            assert abs(edges.min() - left) <= 3
            assert abs(edges.max() - right) <= 3
            below = np.flatnonzero(line[:, left + 10 : left + 20].all(1))
            assert abs(below.max() - bottom) <= 3


def test_videos_are_chosen_class_by_class(data, tmp_path, capsys):
    tool = load_tool('analysis_tools/render_videos')
    base = [str(data / 'ann.json'), '--data-prefix', str(data), '--out', str(tmp_path)]
    options = ['--min-height', '96', '--formats', 'gif', 'png', '--sheet-frames', '2']
    assert tool.main([*base, *options, '--num', '2']) == 0
    names = [Path(path).name for path in capsys.readouterr().out.split()]
    assert names == ['push__clip0.gif', 'push__clip0.png', 'pull__clip2.gif', 'pull__clip2.png']
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    with Image.open(tmp_path / 'push__clip0.gif') as image:
        assert image.n_frames == FRAMES
        assert image.info['duration'] == 40
        first = np.asarray(image.convert('RGB')).astype(int)
    assert (np.abs(first - GROUND_TRUTH).max(-1) < 60).sum() > 60
    assert tool.main([*base, '--videos', '*/clip3', '--formats', 'png', '--max-frames', '2']) == 0
    out = capsys.readouterr().out
    assert 'pull/clip3: the first 2 of 18 frames (--max-frames)' in out
    assert Path(out.splitlines()[-1]).name == 'pull__clip3.png'


def test_wrong_arguments_say_what_is_wrong(data, tmp_path, capsys):
    tool = load_tool('analysis_tools/render_videos')
    base = [str(data / 'ann.json'), '--data-prefix', str(data), '--out', str(tmp_path)]
    assert tool.main([*base, '--videos', 'golf/*']) == 2
    assert 'golf/*' in capsys.readouterr().err
    assert tool.main([*base, '--class-map', 'golf']) == 2
    assert 'FILE=MODEL' in capsys.readouterr().err
    assert tool.main([*base, '--split', 'val']) == 2
    assert "no split 'val'" in capsys.readouterr().err
    assert tool.main([*base, '--dets', str(tmp_path / 'none.npz')]) == 2
    assert 'none.npz' in capsys.readouterr().err
    for flag, value in (
        ('--num', '-1'), ('--max-frames', '0'), ('--sheet-frames', '0'), ('--score-thr', 'nan'),
        ('--score-thr', '30'), ('--nms-iou', '-0.5'),
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            tool.main([*base, flag, value])
        assert flag in capsys.readouterr().err


def test_writers_keep_the_frames(tmp_path):
    frames = list(moving_square(32, 64, 8))
    write_mp4(tmp_path / 'new' / 'a.mp4', [frame[:31, :63] for frame in frames], 25)
    decoded = decode(tmp_path / 'new' / 'a.mp4')
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['a.mp4']
    assert len(decoded) == FRAMES
    assert decoded[0].shape == (30, 62, 3)
    assert np.abs(decoded[5].astype(int) - frames[5][:30, :62]).mean() < 6
    write_gif(tmp_path / 'a.gif', frames, 10)
    with Image.open(tmp_path / 'a.gif') as image:
        assert (image.n_frames, image.info['duration'], image.info['loop']) == (FRAMES, 100, 0)
        image.seek(5)
        assert np.abs(np.asarray(image.convert('RGB')).astype(int) - frames[5]).mean() < 3


def test_domain_figure_shows_every_class_of_both_domains(data, tmp_path):
    files, prefixes = [data / 'ann.json'] * 2, [data] * 2
    figure = domain_figure(files, prefixes, ['source', 'target'], height=96)
    for colour in CLASS_COLOURS[:2]:
        rows = np.nonzero((figure == colour).all(-1).any(1))[0]
        assert rows.min() < figure.shape[0] / 2 < rows.max()
    wide = domain_figure(files, prefixes, ['s', 't'], height=96, frames_per_clip=2)
    assert wide.shape[1] > 1.9 * figure.shape[1]
    with pytest.raises(ValueError, match="no clip of 'dance'"):
        domain_figure(files, prefixes, ['s', 't'], classes=['dance'])
    tool = load_tool('analysis_tools/plot_domains')
    out = tmp_path / 'figure.png'
    args = [*map(str, files), '--data-prefix', str(data), '--out', str(out), '--height', '96']
    assert tool.main(args) == 0
    assert out.stat().st_size > 1000
