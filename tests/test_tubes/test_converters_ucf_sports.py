"""UCF-Sports' ground truth: text files named after stock footage."""

import io
import json
import re
import tarfile
from collections import defaultdict

import numpy as np
import pytest

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.converters.sources import read_source
from mmstal_da.tubes.converters.stats import statistics
from mmstal_da.tubes.converters.ucf_sports import (
    frame_order,
    from_gt_tree,
    parse_frame_sizes,
)


def write(folder, files: dict[str, str]):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


FILES = {
    'Annotations/Riding-Horse/007/gt/6029-1_70001.tif.txt': '1\t2\t10\t20\tRunning\n',
    'Annotations/Riding-Horse/007/gt/6029-1_70001a.tif.txt': '2 2 10 20 Running',
    'Annotations/Riding-Horse/007/gt/6029-1_70002.tif.txt': '3 2 10 20 Running',
    'Annotations/Riding-Horse/007/gt/6029-1_70010.tif.txt': '4 2 10 20 Running',
    'Annotations/Lifting/001/gt/99.jpg.txt': '5 5 5 5 lifting',
    'Annotations/Lifting/001/gt/100.jpg.txt': '6 5 5 5 lifting',
    'Annotations/Lifting/001/gt/101.jpg.txt': '7 5 1 5 lifting',
    'Annotations/Lifting/001/gt2/100.jpg.txt': '60 5 5 5 lifting',
    'Annotations/Lifting/001/notes.txt': 'no box',
}


def test_the_folder_names_the_class_and_frames_count_from_1(tmp_path):
    problems = []
    annotation = from_gt_tree(write(tmp_path, FILES), problems)
    assert annotation.classes == ['Lifting', 'Riding-Horse']
    (tube,) = annotation.tubes['Riding-Horse/007']
    assert tube.label == 'Riding-Horse'
    assert tube.frames.tolist() == [1, 2, 3, 4]
    # 1-based x y w h: pixel 1 is pixel 0, and 10 pixels from 0 end with 9
    assert tube.boxes.tolist() == [[x, 1, x + 9, 20] for x in range(4)]
    first, second = annotation.tubes['Lifting/001']
    assert first.frames.tolist() == [1, 2]  # 99 before 100
    assert first.boxes.tolist() == [[4, 4, 8, 8], [5, 4, 9, 8]]
    assert second.frames.tolist() == [2]
    video = annotation.videos['Lifting/001']
    assert (video.num_frames, video.width, video.path) == (3, None, 'Lifting/001')
    assert video.filename_tmpl.format(1) == '000001.jpg'
    assert [str(problem) for problem in problems] == [
        "video 'Lifting/001', frame 3: box 7 5 1 5 is degenerate: 1 x 5 pixels; left out"
    ]
    with pytest.raises(AnnotationError, match='degenerate'):
        from_gt_tree(tmp_path)


def test_images_give_the_frame_numbers(tmp_path):
    stems = ['6029-1_70000', '6029-1_70001', '6029-1_70001a', '6029-1_70002', '6029-1_70005']
    problems = []
    images = {'Riding-Horse/007': [*stems, '6029-1_70010', '6029-1_70011']}
    annotation = from_gt_tree(write(tmp_path, FILES), problems, images)
    (tube,) = annotation.tubes['Riding-Horse/007']
    assert tube.frames.tolist() == [2, 3, 4, 6]
    assert annotation.videos['Riding-Horse/007'].num_frames == 7
    # frames that were numbered by somebody else say nothing about names
    renumbered = {'Riding-Horse/007': ['000001', '000002', '000003', '000004', '000005']}
    (tube,) = from_gt_tree(tmp_path, [], renumbered).tubes['Riding-Horse/007']
    assert tube.frames.tolist() == [1, 2, 3, 4]
    from_gt_tree(tmp_path, problems := [], {'Riding-Horse/007': stems})
    assert "1 annotated frames without image: ['6029-1_70010']" in '\n'.join(map(str, problems))


def test_order_of_frames():
    names = ['a_10', 'a_9', 'a_9b', 'a_9a', 'a_100']
    assert sorted(names, key=frame_order) == ['a_9', 'a_9a', 'a_9b', 'a_10', 'a_100']


def pack(path, files: dict[str, str]):
    with tarfile.open(path, 'w:gz') as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def test_an_archive_is_read_without_being_extracted(tmp_path):
    folder = tmp_path / 'inner'
    folder.mkdir()
    link = tarfile.TarInfo('Annotations/Lifting/001/gt/102.jpg.txt')
    link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
    path = pack(folder / 'a.tar.gz', {**FILES, '../../escaped.txt': '1 1 1 1'})
    with tarfile.open(folder / 'b.tar', 'w') as archive:
        for name, text in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        archive.addfile(link)
    tree = from_gt_tree(write(tmp_path / 'tree', FILES), [])
    before = sorted(tmp_path.rglob('*'))
    assert from_gt_tree(path, []) == tree
    assert from_gt_tree(folder / 'b.tar', []) == tree
    assert sorted(tmp_path.rglob('*')) == before
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(AnnotationError, match='not a readable tar archive'):
        from_gt_tree(path, [])


@pytest.mark.parametrize('text', ['', '1 2 3', '1 2 3 4\n1 2 3 4', 'a b c d e'])
def test_a_file_that_is_no_box_is_named(tmp_path, text):
    write(tmp_path, {'Annotations/Lifting/001/gt/7.tif.txt': text})
    with pytest.raises(AnnotationError, match=r'7\.tif\.txt is not one line "x y w h label"'):
        from_gt_tree(tmp_path)


def test_sources_that_are_none(tmp_path):
    with pytest.raises(AnnotationError, match='holds no <Class>'):
        read_source('ucf_sports', tmp_path)
    (tmp_path / 'x.pdf').touch()
    with pytest.raises(AnnotationError, match='give the folder or .tar.gz'):
        read_source('ucf_sports', tmp_path / 'x.pdf')
    with pytest.raises(FileNotFoundError, match='give the folder or .tar.gz'):
        read_source('ucf_sports', tmp_path / 'y')


def test_frame_sizes():
    assert parse_frame_sizes({'A-B/001': [720, 404]}, 'x') == {'A-B/001': (720, 404)}
    public = {'vid_name_dict': {'1': 'A-B-001'}, 'vid_size_dict': {'1': [404, 720]}}
    assert parse_frame_sizes(public, 'x') == {'A-B/001': (720, 404)}
    for wrong in ([1], {'a': 3}, {'a': [0, 4]}, {'a': ['1', '2']}):
        with pytest.raises(AnnotationError, match='sizes.json'):
            parse_frame_sizes(wrong, 'sizes.json')


@pytest.fixture(scope='module')
def real(test_data):
    path = test_data / 'ucf_sports/ucf_sports_annotations.tar.gz'
    return path, read_source('ucf_sports', path)


@pytest.mark.slow
def test_real_counts(real):
    counts = statistics(real[1])
    assert (counts['videos'], counts['boxes'], counts['boxes_written']) == (150, 9580, 9576)
    degenerate = [(p['video'], list(p['box'])) for p in counts['problems']]
    assert degenerate == [
        ('Run-Side/002', [388, 126, 0, 0]),
        ('Run-Side/002', [388, 126, 3, 0]),
        ('SkateBoarding-Front/006', [72, 215, 0, 0]),
        ('Walk-Front/001', [428, 361, 0, 15]),
    ]
    # the published table: 14 diving, 6 lifting, 12 riding, 12 skateboarding videos, ...
    videos = {name: count['videos'] for name, count in counts['classes'].items()}
    assert videos['Diving-Side'] == 14
    assert sum(n for name, n in videos.items() if name.startswith('Golf')) == 18
    assert sum(n for name, n in videos.items() if name.startswith('Kicking')) == 20
    assert (videos['Lifting'], videos['Run-Side'], videos['Walk-Front']) == (6, 13, 22)


@pytest.mark.slow
def test_real_boxes_by_another_reading(real):
    """A direct reading of the archive: sorted names, plain arithmetic."""
    path, conversion = real
    rows = defaultdict(dict)
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile():
                _, label, number, _, name = member.name.split('/')
                x, y, w, h, _ = archive.extractfile(member).read().split()
                rows[f'{label}/{number}'][name] = [int(value) for value in (x, y, w, h)]
    assert sorted(rows) == sorted(conversion.annotation.videos)
    for video, boxes in rows.items():
        (tube,) = conversion.annotation.tubes[video]
        expected = {
            number: [x - 1, y - 1, x - 1 + w - 1, y - 1 + h - 1]
            for number, (_, (x, y, w, h)) in enumerate(sorted(boxes.items()), 1)
            if w > 1 and h > 1
        }
        assert tube.frames.tolist() == list(expected), video
        assert tube.boxes.tolist() == list(expected.values()), video


def test_real_boxes_are_one_based(real, test_data):
    """With the known sizes no box leaves its frame, on either side, and some reach both."""
    path = test_data / 'ucf_sports/train_frame_sizes.json'
    sizes = parse_frame_sizes(json.loads(path.read_text()), str(path))
    assert len(sizes) == 103
    ends = []
    for name, (width, height) in sizes.items():
        (tube,) = real[1].annotation.tubes[name]
        assert (tube.boxes >= 0).all()
        ends.append((tube.boxes[:, 2:] - [width - 1, height - 1]).max())
    assert max(ends) == 0  # read as 0-based, this would be 1


def test_real_splits(real, test_data):
    lists = [
        (test_data / f'ucf_sports/ucfsports_{part}.txt').read_text().split()
        for part in ('train', 'test')
    ]
    assert [len(names) for names in lists] == [103, 47]
    assert set(lists[0] + lists[1]) == set(real[1].annotation.videos)
    assert all(re.fullmatch(r'[\w-]+/\d{3}', name) for name in real[1].annotation.videos)
    assert np.sum([v.num_frames for v in real[1].annotation.videos.values()]) == 9580
