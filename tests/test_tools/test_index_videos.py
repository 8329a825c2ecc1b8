"""A folder of videos without labels becomes an annotation file, or a clear complaint."""

import os
import signal
from pathlib import Path

import cv2
import pytest

from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.tubes.selection import class_labels
from tests.clips import number_shown, numbered_frames, write_video
from tests.load_tool import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('data/index_videos')


def write_images(folder: Path, pattern: str, numbers) -> None:
    folder.mkdir(parents=True)
    for number, image in zip(numbers, numbered_frames(len(numbers)), strict=True):
        cv2.imwrite(str(folder / pattern.format(number)), image)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A video at the top, one in a folder, one as images, and what is none of these."""
    folder = tmp_path / 'mine' / 'videos'
    write_video(folder / 'b.mkv', numbered_frames(5))
    write_video(folder / 'day 1' / 'a.mp4', numbered_frames(7, 96, 128), 'libx264')
    write_images(folder / 'c', 'img_{:05d}.png', range(1, 4))
    (folder / 'notes.txt').write_text('nothing')
    (folder / '.hidden.mp4').touch()
    cv2.imwrite(str(folder / 'thumbnail.jpg'), numbered_frames(1)[0])
    return folder


def test_lists_every_video_with_its_true_frames(tool, folder, tmp_path, capsys):
    (tmp_path / 'mine_test.txt').write_text('c\n\n')
    (tmp_path / 'others.txt').write_text('day 1/a.mp4\nb\n')
    out = tmp_path / 'mine' / 'mine.json'
    splits = [tmp_path / 'mine_test.txt', f'train={tmp_path / "others.txt"}']
    assert tool.main([str(folder), '--out', str(out), '--splits', *map(str, splits)]) == 0
    assert 'train: 2 videos, 12 frames' in capsys.readouterr().out
    annotation = load_annotation(out)
    assert annotation.dataset == 'mine/videos' and not annotation.tubes
    all_videos = ['b', 'c', 'day 1/a']
    assert annotation.splits == {'all': all_videos, 'test': ['c'], 'train': ['day 1/a', 'b']}
    a, b, c = (annotation.videos[name] for name in ('day 1/a', 'b', 'c'))
    assert (a.path, a.num_frames, a.width, a.height, a.fps) == ('day 1/a.mp4', 7, 128, 96, 25.0)
    assert (b.path, b.num_frames, b.width, b.height) == ('b.mkv', 5, 64, 48)
    assert (c.path, c.num_frames, c.filename_tmpl, c.fps) == ('c', 3, 'img_{:05d}.png', None)
    with pytest.raises(ValueError, match=r"maps to \['Golf'\].*unlabelled"):
        class_labels(annotation.classes, ['Golf'], None)


@pytest.mark.slow
def test_a_target_reads_the_frames_that_are_listed(tool, folder, tmp_path):
    out = tmp_path / 'mine.json'
    assert tool.main([str(folder), '--out', str(out), '--workers', '2']) == 0
    pipeline = [dict(type='SampleKeyFrameClip', clip_len=1), dict(type='DecodeFrames')]
    dataset = ActionTubeDataset(
        str(out), 'all', pipeline, data_prefix=str(folder), classes=['x'], labelled=False
    )
    assert len(dataset) == 15
    for item in (dataset[i] for i in range(len(dataset))):
        assert number_shown(item['imgs'][0]) == item['key_frame'], item['video_name']


def test_the_same_folder_gives_the_same_file(tool, folder, tmp_path):
    for name in 'xy':
        tool.main([str(folder), '--out', str(tmp_path / f'{name}.json')])
    assert (tmp_path / 'x.json').read_bytes() == (tmp_path / 'y.json').read_bytes()


def test_unreadable_videos_are_all_named(tool, folder, tmp_path, capsys):
    (folder / 'empty.mp4').touch()
    whole = (folder / 'day 1/a.mp4').read_bytes()
    (folder / 'cut.mp4').write_bytes(whole[: len(whole) // 3])
    out = tmp_path / 'mine.json'
    assert tool.main([str(folder), '--out', str(out)]) == 1
    error = capsys.readouterr().err
    assert '2 of 5 videos cannot be read' in error and '--skip-unreadable' in error
    assert 'empty.mp4' in error and 'cut.mp4' in error
    assert not out.exists()
    assert tool.main([str(folder), '--out', str(out), '--skip-unreadable']) == 0
    assert capsys.readouterr().out.count('left out: ') == 2
    assert list(load_annotation(out).videos) == ['b', 'c', 'day 1/a']


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda folder: None, 'no folder'),
        (lambda folder: folder.mkdir(), 'holds no videos'),
        (lambda folder: write_images(folder / 'v', '{:03d}.jpg', range(0, 4)), 'but no 004.jpg'),
        (lambda folder: write_images(folder / 'v', '{:03d}.jpg', [1, 2, 4]), 'but no 003.jpg'),
        (lambda folder: write_images(folder / 'v', 'im{}age.jpg', [1, 2]), 'one name pattern'),
        (
            lambda folder: [
                write_video(folder / f'a{suffix}', numbered_frames(2))
                for suffix in ('.avi', '.mkv')
            ],
            "a.avi and a.mkv are both video 'a'",
        ),
    ],
)
def test_folders_that_cannot_be_listed(tool, tmp_path, capsys, make, message):
    make(tmp_path / 'videos')
    arguments = [str(tmp_path / 'videos'), '--out', str(tmp_path / 'mine.json')]
    assert tool.main(arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'mine.json').exists()


@pytest.mark.parametrize(
    ('text', 'split', 'message'),
    [
        ('b\nabsent\n', 'train', r"lists 1 videos that the annotation lacks: ['absent']"),
        ('\n', 'train', 'lists no video'),
        ('b\nb\n', 'train', 'twice'),
        ('b\n', 'all', "a split 'all' already"),
    ],
)
def test_lists_that_do_not_fit(tool, folder, tmp_path, capsys, text, split, message):
    (tmp_path / 'list.txt').write_text(text)
    splits = ['--splits', f'{split}={tmp_path / "list.txt"}']
    assert tool.main([str(folder), '--out', str(tmp_path / 'mine.json'), *splits]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'mine.json').exists()


def test_what_is_passed_over_is_said(tool, folder, tmp_path, capsys):
    (folder / 'clip.mp5').touch()
    assert tool.main([str(folder), '--out', str(tmp_path / 'mine.json')]) == 0
    printed = capsys.readouterr().out
    assert 'passed over: 3 files that are no videos (' in printed
    assert '1 .txt' in printed and '1 .jpg' in printed and '1 .mp5' in printed


@pytest.mark.parametrize('suffix', ['.MTS', '.wmv', '.flv', '.3gp', '.Mp4'])
def test_suffixes_of_cameras(tool, tmp_path, suffix):
    codec = {'.wmv': 'wmv2', '.flv': 'flv', '.MTS': 'libx264'}.get(suffix, 'mpeg4')
    write_video(tmp_path / 'in' / f'a{suffix.lower()}', numbered_frames(5), codec)
    (tmp_path / 'in' / f'a{suffix.lower()}').rename(tmp_path / 'in' / f'a{suffix}')
    assert tool.main([str(tmp_path / 'in'), '--out', str(tmp_path / 'o.json')]) == 0
    video = load_annotation(tmp_path / 'o.json').videos['a']
    assert (video.path, video.num_frames) == (f'a{suffix}', 5)


def test_a_byte_order_mark_loses_no_name(tool, folder, tmp_path):
    (tmp_path / 'mine_train.txt').write_text('b\nc\n', encoding='utf-8-sig')
    splits = ['--splits', str(tmp_path / 'mine_train.txt')]
    assert tool.main([str(folder), '--out', str(tmp_path / 'o.json'), *splits]) == 0
    assert load_annotation(tmp_path / 'o.json').splits['train'] == ['b', 'c']


def test_every_image_is_decoded(tool, tmp_path, capsys):
    write_images(tmp_path / 'in' / 'v', '{:03d}.png', range(1, 6))
    (tmp_path / 'in/v/004.png').write_bytes((tmp_path / 'in/v/004.png').read_bytes()[:60])
    assert tool.main([str(tmp_path / 'in'), '--out', str(tmp_path / 'o.json')]) == 1
    assert '004.png (frame 4)' in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / 'in/v/004.png'), numbered_frames(1, 96, 128)[0])
    assert tool.main([str(tmp_path / 'in'), '--out', str(tmp_path / 'o.json')]) == 1
    assert '004.png (frame 4) has 128x96 pixels, the first 64x48' in capsys.readouterr().err


def die(task: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_no_hang(tool, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('mmstal_da.tubes.index.read_video', die)
    arguments = [str(folder), '--out', str(tmp_path / 'o.json'), '--workers', '2']
    assert tool.main(arguments) == 1
    assert 'a process that decoded was killed' in capsys.readouterr().err
