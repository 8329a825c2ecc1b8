"""The integrity check: clips damaged in known ways, and whole ones left in peace."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmstal_da.tubes.annotation import Annotation, Tube, Video
from mmstal_da.tubes.converters.common import locate_videos
from mmstal_da.tubes.converters.jhmdb import from_annot_mat
from mmstal_da.tubes.integrity import check_classes, check_video, check_videos
from mmstal_da.video.reader import read_frames
from tests.clips import numbered_frames, write_video

FRAMES = 30


@pytest.fixture
def clip(tmp_path):
    """A compressed clip of 30 frames with noise in it, and a box that ends with the frame."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 80, (FRAMES, 48, 64, 3), dtype=np.uint8)
    frames = [f // 2 + n for f, n in zip(numbered_frames(FRAMES), noise, strict=True)]
    write_video(tmp_path / 'run/a.avi', frames, 'mpeg4')
    video = Video('run/a.avi', FRAMES, 64, 48)
    boxes = np.array([[0, 0, 63, 47]] * 2, np.float32)
    return tmp_path, video, [Tube('run', np.array([4, 5]), boxes)]


def complain(clip, **changes):
    folder, video, tubes = clip
    return check_video('run/a', replace(video, **changes), tubes, folder)


def change(clip, edit):
    path = clip[0] / 'run/a.avi'
    data = bytearray(path.read_bytes())
    edit(data)
    path.write_bytes(data)
    return complain(clip)


def test_a_whole_clip_is_fine(clip):
    assert complain(clip) is None
    assert complain(clip, width=None, height=None) is None
    assert complain(clip, width=640, height=480) is None  # re-encoded at a tenth of the size
    assert complain(clip, width=65, height=48) is None  # as encoders round sizes


def test_damaged_files(clip):
    path = clip[0] / 'run/a.avi'
    whole = path.read_bytes()

    def garbage(data):
        middle = len(data) // 2
        data[middle : middle + 2000] = np.random.default_rng(1).bytes(2000)

    for edit, kind, problem in (
        (lambda data: data.__delitem__(slice(len(data) * 6 // 10, None)), 'unreadable', 'damaged'),
        (garbage, 'unreadable', 'damaged'),
        (lambda data: data.clear(), 'unreadable', 'the file is empty'),
        (
            lambda data: data.__setitem__(slice(0, None), b'text\n' * 90),
            'unreadable',
            'not a video',
        ),
    ):
        path.write_bytes(whole)
        complaint = change(clip, edit)
        assert complaint.kind == kind
        assert problem in complaint.problem
        assert (complaint.video, complaint.file) == ('run/a', str(path))
        assert 'Get it again' in str(complaint)
    path.unlink()
    assert complain(clip).kind == 'missing'
    path.mkdir()
    assert 'a folder where a video file is expected' in str(complain(clip))


def test_another_number_of_frames(clip):
    fewer = complain(clip, num_frames=FRAMES + 1)
    assert (fewer.kind, fewer.frame) == ('frames', FRAMES + 1)
    assert '30 frames, the annotation counts 31. The file is truncated or' in str(fewer)
    more = complain(clip, num_frames=FRAMES - 2)
    assert (more.kind, more.frame) == ('frames', FRAMES - 1)
    assert 'another version' in more.remedy


def test_another_shape(clip):
    complaint = complain(clip, width=64, height=64)
    assert complaint.kind == 'size'
    assert '64x48 pixels, the annotation is for 64x64: another shape' in complaint.problem


@pytest.mark.parametrize('box, fine', [
    ([0, 0, 63, 47], True), ([0, 0, 64, 48], True), ([0, 0, 65, 47], False),
    ([-1, 0, 10, 10], False), ([0, -0.5, 10, 10], False), ([0, 0, 10, 48.5], False),
])  # fmt: skip
def test_boxes_off_the_frame(clip, box, fine):
    folder, video, tubes = clip
    tubes[0].boxes[1] = box
    for size in ((64, 48), (None, None)):
        complaint = check_video('a', replace(video, width=size[0], height=size[1]), tubes, folder)
        assert (complaint is None) == fine
        if complaint:
            assert (complaint.kind, complaint.frame) == ('box', 5)
            assert 'beyond the frame of 64x48 pixels' in complaint.problem
    # in an annotation of ten times the size only the left and upper border count
    complaint = check_video('a', replace(video, width=640, height=480), tubes, folder)
    assert (complaint is None) == (min(box) >= 0)


def test_folders_of_images(tmp_path):
    folder = tmp_path / 'run/a'
    folder.mkdir(parents=True)
    for number, image in enumerate(numbered_frames(6), 1):
        Image.fromarray(image).save(folder / f'{number:05d}.jpg')
    clip = tmp_path, Video('run/a', 6, 64, 48, '{:05d}.jpg'), []
    assert complain(clip) is None
    assert (complain(clip, num_frames=5).kind, complain(clip, num_frames=5).frame) == ('frames', 6)
    image = folder / '00003.jpg'
    whole = image.read_bytes()
    image.write_bytes(whole[:-30])  # the header is whole
    assert Image.open(image).size == (64, 48)
    found = complain(clip)
    assert (found.kind, found.frame, found.file) == ('unreadable', 3, str(image))
    Image.new('RGB', (32, 24)).save(image)
    assert '32x24 pixels after 64x48' in str(complain(clip))
    image.write_text('no image')
    assert complain(clip).kind == 'unreadable'
    image.unlink()
    assert 'no such image; the annotation counts 6 frames' in str(complain(clip))
    shutil.rmtree(folder)
    assert complain(clip).kind == 'missing'


def test_classes_without_samples():
    tube = Tube('run', np.array([1]), np.zeros((1, 4), np.float32))
    videos = {name: Video(f'{name}.avi', 1) for name in 'ab'}
    splits = {'train': ['a', 'b'], 'test': ['b'], 'val': []}
    annotation = Annotation('toy', ['run', 'jump'], videos, splits, {'a': [tube]})
    assert [str(complaint).split('.')[0] for complaint in check_classes(annotation)] == [
        "split 'val' has no videos",
        "split 'test' has no sample of class 'run'",
        "the dataset has no sample of class 'jump'",
    ]
    annotation.tubes['b'] = [tube, replace(tube, label='jump')]
    del annotation.splits['val']
    assert check_classes(annotation) == []
    annotation.tubes.clear()  # unlabelled
    assert check_classes(annotation) == []


def as_images(source: Path, video: Video, folder: Path) -> None:
    folder.mkdir()
    for number, frame in enumerate(read_frames(source, range(1, video.num_frames + 1)), 1):
        Image.fromarray(frame).save(folder / f'{number:05d}.png')


@pytest.mark.slow
def test_real_clips_damaged_ten_ways(test_data, tmp_path):
    """The whole of JHMDB has no complaint; ten damaged clips have one each."""
    clips = test_data / 'jhmdb/clips'
    annotation = locate_videos(from_annot_mat(test_data / 'jhmdb/jhmdb_annot.mat'), clips)
    folder = tmp_path / 'clips'
    for video in annotation.videos.values():
        (folder / video.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / video.path).symlink_to(clips / video.path)
    assert [c for _, c in check_videos(annotation, folder, workers=2) if c] == []

    names = list(annotation.videos)[5::90][:10]
    videos = [annotation.videos[name] for name in names]
    paths = [folder / video.path for video in videos]
    data = [path.read_bytes() for path in paths]
    frames = [
        read_frames(path, range(1, video.num_frames + 1))
        for path, video in zip(paths, videos, strict=True)
    ]
    for path in paths:
        path.unlink()
    # 0 is missing
    paths[1].touch()
    paths[2].write_bytes(data[2][: len(data[2]) * 6 // 10])
    middle = len(data[3]) // 2
    garbage = os.urandom(3000)
    paths[3].write_bytes(data[3][:middle] + garbage + data[3][middle + 3000 :])
    write_video(paths[4], frames[4][:-3], 'mpeg4')
    write_video(paths[5], frames[5] + frames[5][-2:], 'mpeg4')
    write_video(paths[6], [frame[:, 40:280] for frame in frames[6]], 'mpeg4')
    paths[7].write_bytes(data[7])
    annotation.tubes[names[7]][0].boxes[11, 2] = 345
    paths[8].write_text('<html>404 Not Found</html>\n')
    as_images(clips / videos[9].path, videos[9], folder / 'images')
    videos[9].path, videos[9].filename_tmpl = 'images', '{:05d}.png'
    (folder / 'images/00007.png').unlink()

    found = {name: c for name, c in check_videos(annotation, folder) if c}
    assert list(found) == names
    assert [complaint.kind for complaint in found.values()] == [
        'missing', 'unreadable', 'unreadable', 'unreadable', 'frames', 'frames', 'size', 'box',
        'unreadable', 'frames',
    ]  # fmt: skip
    for name, complaint in found.items():
        assert complaint.video == name
        assert complaint.file in str(complaint)
        assert complaint.remedy
    assert (found[names[7]].frame, found[names[9]].frame) == (12, 7)
    assert check_classes(annotation) == []
