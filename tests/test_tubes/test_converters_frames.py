"""Where videos are found: files, folders of images, each dataset's own layout."""

import pickle

import numpy as np
import pytest
from PIL import Image

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import Annotation, Tube, Video
from mmstal_da.tubes.converters.frames import (
    link_numbered,
    locate_videos,
    measure,
    named_images,
)
from mmstal_da.tubes.converters.problems import Conversion
from mmstal_da.video.reader import read_frames
from tests.clips import number_shown, numbered_frames, write_video


def annotation_of(*names: str, num_frames: int = 4, **video) -> Annotation:
    classes = sorted({name.split('/')[0] for name in names})
    return Annotation('toy', classes, {n: Video(f'{n}.avi', num_frames, **video) for n in names})


def write_images(folder, names, size=(64, 48)):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, 1):
        image = Image.fromarray(numbered_frames(number, size[1], size[0])[-1])
        image.save(folder / name)
    return folder


LAYOUTS = {
    'JHMDB': ('Rename_Images/golf/clip', '{:05d}.png'),
    'ACT JHMDB': ('Frames/golf/clip', '{:05d}.png'),
    'ACT UCF101': ('rgb-images/golf/clip', '{:05d}.jpg'),
    'ACT UCF-Sports': ('Frames/golf/clip', '{:06d}.jpg'),
    'no padding': ('golf/clip', '{:d}.jpg'),
    'prefix': ('golf/clip', 'img_{:04d}.jpg'),
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_folders_of_images(tmp_path, layout):
    folder, template = LAYOUTS[layout]
    names = [template.format(number) for number in range(1, 13)]
    write_images(tmp_path / folder, names)
    write_images(tmp_path / 'FlowBrox04/golf/clip', names)  # not what is looked for
    write_images(tmp_path / 'brox-images/golf/clip', names)
    video = locate_videos(annotation_of('golf/clip'), tmp_path).videos['golf/clip']
    assert (video.path, video.filename_tmpl) == (folder, template)
    frames = read_frames(tmp_path / video.path, [1, 10, 12], video.filename_tmpl)
    assert [number_shown(frame) for frame in frames] == [1, 10, 12]


def test_a_name_in_another_class_is_another_video(tmp_path):
    names = ['000001.jpg', '000002.jpg']
    write_images(tmp_path / 'Diving-Side/001', names)
    write_images(tmp_path / 'Lifting/001', names)
    annotation = annotation_of('Diving-Side/001', 'Lifting/001')
    annotation.classes = ['Diving', 'Lifting']  # ACT's merged classes are no folders
    located = locate_videos(annotation, tmp_path)
    assert [video.path for video in located.videos.values()] == ['Diving-Side/001', 'Lifting/001']
    write_images(tmp_path / 'copy/Lifting/001', names)
    with pytest.raises(AnnotationError, match=r"several files for video 'Lifting/001'.*one copy"):
        locate_videos(annotation, tmp_path)


def test_the_video_file_in_a_folder_of_its_own(tmp_path):
    write_video(tmp_path / 'ucf action/Lifting/001/3246-7_700000.avi', numbered_frames(3))
    located = locate_videos(annotation_of('Lifting/001'), tmp_path)
    assert located.videos['Lifting/001'].path == 'ucf action/Lifting/001/3246-7_700000.avi'


@pytest.mark.parametrize('names', [
    ['2538-5_70133.jpg', '2538-5_70134.jpg'], ['00000.jpg', '00001.jpg'], ['a.jpg', 'b.jpg'],
    ['70001.jpg', '70001a.jpg'],
])  # fmt: skip
def test_images_that_are_not_numbered_from_1(tmp_path, names):
    write_images(tmp_path / 'Lifting/001', names)
    with pytest.raises(AnnotationError, match=r'Lifting/001.*not numbered from 1.*--link-frames'):
        locate_videos(annotation_of('Lifting/001'), tmp_path)


def test_links_number_images(tmp_path):
    write_images(tmp_path / 'in/Lifting/001', ['7_9.jpg', '7_9a.jpg', '7_10.jpg'])
    found = named_images(tmp_path / 'in')
    assert list(found) == ['Lifting/001']
    order = [found['Lifting/001'][i] for i in (1, 2, 0)]
    link_numbered(order, tmp_path / 'out/Lifting/001')
    assert sorted(path.name for path in (tmp_path / 'out').rglob('*.jpg')) == [
        '000001.jpg', '000002.jpg', '000003.jpg',
    ]  # fmt: skip
    for number, path in enumerate(order, 1):
        link = tmp_path / f'out/Lifting/001/{number:06d}.jpg'
        assert link.read_bytes() == path.read_bytes()
    with pytest.raises(AnnotationError, match='already exists'):
        link_numbered(order, tmp_path / 'out/Lifting/001')


def test_pixels_tell_what_the_source_does_not(tmp_path):
    write_images(tmp_path / 'golf/a', [f'{n:05d}.png' for n in range(1, 6)], (32, 24))
    write_video(tmp_path / 'golf/b.avi', numbered_frames(6))
    write_video(tmp_path / 'golf/c.avi', numbered_frames(2))
    annotation = locate_videos(annotation_of('golf/a', 'golf/b', 'golf/c'), tmp_path)
    conversion = Conversion(annotation, 'x', [], {'golf/a', 'golf/b', 'golf/c'})
    measure(conversion, tmp_path)
    found = {n: (v.width, v.height, v.num_frames) for n, v in annotation.videos.items()}
    assert found == {'golf/a': (32, 24, 5), 'golf/b': (64, 48, 6), 'golf/c': (64, 48, 4)}
    (problem,) = conversion.problems
    assert 'has 2 frames, the annotation goes up to frame 4' in str(problem)
    assert not conversion.counted
    known = annotation_of('golf/b', width=1, height=1)
    measure(Conversion(known, 'x'), '/nowhere')  # nothing to ask, nothing is opened
    (tmp_path / 'golf/b.avi').write_bytes(b'no video')
    annotation.videos['golf/b'].width = None
    with pytest.raises(AnnotationError, match=r"video 'golf/b': .*b\.avi cannot be read"):
        measure(conversion, tmp_path)


def test_degenerate_boxes_of_other_datasets_are_noted_too(tmp_path):
    from mmstal_da.tubes.converters.sources import read_source
    from mmstal_da.tubes.converters.stats import statistics

    boxes = np.array([[1, 1, 5, 5], [2, 2, 0, 5], [3, 3, 5, 5]], np.uint8)
    tube = dict(label=0, sf=0, ef=3, boxes=boxes)
    raw = {'Run/v_Run_g01_c01': dict(numf=5, label=0, annotations=[tube])}
    (tmp_path / 'pyannot.pkl').write_bytes(pickle.dumps(raw))
    conversion = read_source('ucf101_24', tmp_path / 'pyannot.pkl')
    counts = statistics(conversion)
    assert (counts['boxes'], counts['boxes_written']) == (3, 2)
    assert counts['classes']['Run'] == dict(videos=1, tubes=1, boxes=3, boxes_written=2)
    assert counts['problems'][0]['box'] == (2, 2, 0, 5)
    (tube,) = conversion.annotation.tubes['Run/v_Run_g01_c01']
    assert tube == Tube('Run', np.array([1, 3]), np.array([[1, 1, 5, 5], [3, 3, 7, 7]]))
