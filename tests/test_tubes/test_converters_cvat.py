"""CVAT's XML: what it means, files of other people's code, exact round trips, bad input."""

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import (
    Annotation,
    Tube,
    Video,
    load_annotation,
    save_annotation,
)
from mmstal_da.tubes.converters.coco_video import from_coco_video, save_coco_video
from mmstal_da.tubes.converters.cvat import convert, from_cvat, save_cvat, to_cvat
from mmstal_da.tubes.converters.problems import Problem
from mmstal_da.tubes.converters.sources import read_source
from tests.annotations import annotations
from tests.load_tool import load_tool

DATA = Path(__file__).parent / 'data'
META = """<meta><task><name>{name}</name><size>{size}</size><mode>interpolation</mode>
<labels><label><name>walk</name></label><label><name>golf</name></label></labels>{more}</task>
</meta>"""
SIZE = '<original_size><width>320</width><height>240</height></original_size>'


def box(frame, x=10.0, outside=0, more='', edges='ytl="20" xbr="50" ybr="100.5"') -> str:
    return (
        f'<box frame="{frame}" outside="{outside}" occluded="0" keyframe="1" xtl="{x}" {edges}'
        f'{more}></box>'
    )


def track(*boxes, label='walk', number=0) -> str:
    return f'<track id="{number}" label="{label}">{"".join(boxes)}</track>'


def write(path, *content, name='walk/a', size=10, more=SIZE) -> Path:
    meta = META.format(name=name, size=size, more=more)
    text = f'<annotations><version>1.1</version>{meta}{"".join(content)}</annotations>'
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{text}')
    return path


def read(path) -> tuple[Annotation, list[str]]:
    problems: list[Problem] = []
    return from_cvat(path, problems), [str(problem) for problem in problems]


def test_frames_from_one_and_inclusive_ends(tmp_path):
    path = write(tmp_path / 'x.xml', track(box(0), box(1, outside=1)), track(box(9), label='golf'))
    annotation, problems = read(path)
    assert problems == []
    assert annotation.videos == {'walk/a': Video('walk/a.avi', 10, 320, 240)}
    assert annotation.classes == ['walk', 'golf']
    first, second = annotation.tubes['walk/a']
    assert (first.label, first.frames.tolist()) == ('walk', [1])
    assert first.boxes.tolist() == [[10, 20, 49, 99.5]]
    assert (second.label, second.frames.tolist()) == ('golf', [10])


def test_a_track_that_leaves_and_returns_is_one_tube(tmp_path):
    boxes = [box(1), box(2), box(3, outside=1), box(6), box(7), box(8, outside=1)]
    (tube,) = read(write(tmp_path / 'x.xml', track(*boxes)))[0].tubes['walk/a']
    assert tube.frames.tolist() == [2, 3, 7, 8]


def test_key_frames_are_interpolated_as_cvat_does(tmp_path):
    boxes = [box(0, 10.0), box(4, 18.0), box(6, 30, outside=1), box(8, 2), box(9, 2, outside=1)]
    (tube,) = read(write(tmp_path / 'x.xml', track(*boxes)))[0].tubes['walk/a']
    # a straight line to the next box; up to one that is outside the box stays where it is
    assert tube.frames.tolist() == [1, 2, 3, 4, 5, 6, 9]
    assert tube.boxes[:, 0].tolist() == [10, 12, 14, 16, 18, 18, 2]


def test_boxes_in_any_order_and_every_third_frame(tmp_path):
    more = '<start_frame>1</start_frame><frame_filter>step=3</frame_filter>'
    path = write(tmp_path / 'x.xml', track(box(7), box(4), box(10, outside=1)), size=4, more=more)
    annotation, _ = read(path)
    assert annotation.videos['walk/a'] == Video('walk/a.avi', 11)
    assert annotation.tubes['walk/a'][0].frames.tolist() == [5, 6, 7, 8, 9, 10]


def test_an_end_without_outside_is_noted(tmp_path):
    annotation, problems = read(write(tmp_path / 'x.xml', track(box(2), number=7)))
    assert annotation.tubes['walk/a'][0].frames.tolist() == [3]
    assert problems == [
        'video \'walk/a\', frame 3: track 7 ends without outside="1", of 10 frames;'
        ' the tube ends there; CVAT shows it to the end'
    ]


@pytest.mark.parametrize('task, source, name', [
    ('walk/clip', 'clip.mp4', 'walk/clip'), ('job of Monday', 'clip.mp4', 'clip'),
    ('clip.mp4', '', 'clip'), ('', '', 'x'), ('walk/clip', 'frames.zip', 'walk/clip'),
])  # fmt: skip
def test_names(tmp_path, task, source, name):
    more = f'<source>{source}</source>'
    path = write(tmp_path / 'x.xml', track(box(0), box(1, outside=1)), name=task, more=more)
    assert list(read(path)[0].videos) == [name]


def test_a_folder_and_zips(tmp_path):
    (tmp_path / 'a').mkdir()
    write(tmp_path / 'a/annotations.xml', track(box(0), box(1, outside=1)), name='')
    write(tmp_path / 'annotations.xml', track(box(3), box(4, outside=1)), name='b')
    with zipfile.ZipFile(tmp_path / 'b.zip', 'w') as archive:
        archive.write(tmp_path / 'annotations.xml', 'annotations.xml')
    (tmp_path / 'annotations.xml').unlink()
    annotation, _ = read(tmp_path)
    assert [annotation.tubes[name][0].frames.tolist() for name in ('a', 'b')] == [[1], [4]]
    write(tmp_path / 'again.xml', name='b')
    with pytest.raises(AnnotationError, match="video 'b' is in .*again.xml, too"):
        read(tmp_path)


def test_a_project_of_several_videos(tmp_path):
    def task(number, name, source):
        return (
            f'<task><id>{number}</id><name>{name}</name><size>{number}</size>'
            f'<source>{source}</source><segments><segment><id>9</id><start>0</start>'
            '<stop>3</stop></segment></segments></task>'
        )

    tasks = task(5, 'one', 'a.mp4') + task(6, 'two', 'a.mp4') + task(7, 'three', 'b.mp4')
    labels = '<labels><label><name>walk</name></label></labels>'
    tracks = ''.join(
        f'<track id="{n}" label="walk" task_id="{n}">{box(n - 1)}</track>' for n in (5, 6, 7)
    )
    path = tmp_path / 'x.xml'
    text = f'<annotations><meta><project><tasks>{tasks}</tasks>{labels}</project></meta>{tracks}'
    path.write_text(f'{text}</annotations>')
    annotation, problems = read(path)
    assert problems == []
    assert {name: video.num_frames for name, video in annotation.videos.items()} == {
        'one/a': 5, 'two/a': 6, 'b': 7,
    }  # fmt: skip
    assert annotation.tubes['two/a'][0].frames.tolist() == [6]
    path.write_text(f'{text}<track id="1" label="walk" task_id="8">{box(0)}</track></annotations>')
    with pytest.raises(AnnotationError, match="track 1: task_id '8' is none of the tasks"):
        read(path)


def image(number, name, *boxes, size='width="320" height="240"') -> str:
    return f'<image id="{number}" name="{name}" {size}>{"".join(boxes)}</image>'


def still(label='walk', track_id=None) -> str:
    attribute = '' if track_id is None else f'<attribute name="track_id">{track_id}</attribute>'
    return f'<box label="{label}" xtl="1" ytl="2" xbr="11" ybr="22">{attribute}</box>'


def test_images_with_and_without_tracks(tmp_path):
    path = write(
        tmp_path / 'x.xml',
        image(0, 'walk/b/00001.jpg', still(track_id=3), still(track_id=4), still('golf')),
        image(1, 'walk/b/00002.jpg', still(track_id=4), still('golf')),
        image(2, 'walk/c/00001.jpg', still(), still(), size=''),
    )
    problems = []
    conversion = convert(path, problems)
    annotation = conversion.annotation
    assert annotation.videos['walk/b'] == Video('walk/b', 2, 320, 240, '{:05d}.jpg')
    assert [(t.label, t.frames.tolist()) for t in annotation.tubes['walk/b']] == [
        ('walk', [1]), ('walk', [1, 2]), ('golf', [1, 2]),
    ]  # fmt: skip
    assert annotation.tubes['walk/b'][0].boxes.tolist() == [[1, 2, 10, 21]]
    assert [t.frames.tolist() for t in annotation.tubes['walk/c']] == [[1], [1]]
    assert [str(problem) for problem in problems] == [
        "video 'walk/b': 2 boxes of 'golf' have no track; linked to one tube: no frame has two of"
        ' them',
        "video 'walk/c': 2 boxes of 'walk' have no track; 2 tubes of one frame: some frames have"
        ' several of them',
    ]
    assert conversion.counted == {'walk/b', 'walk/c'}


def test_other_peoples_files_say_the_same():
    expected = [
        ('walk', [1, 2, 3, 4, 5, 9, 10, 11], [10, 20, 49, 99], [90, 21.5, 129.25, 100.5]),
        ('golf', list(range(1, 13)), [200, 50, 229, 109], [233, 50, 273, 109]),
        ('walk', [3, 4, 5, 6, 7], [60, 70, 79, 99], [60, 70, 79, 99]),
    ]
    for file, name in (
        ('datumaro_cvat_video.xml', 'train'),
        ('dagshub_cvat.xml', 'walk/clip_a'),
    ):
        annotation, problems = read(DATA / file)
        assert problems == []
        assert list(annotation.videos) == [name]
        video = annotation.videos[name]
        assert (video.num_frames, video.width, video.height) == (12, 320, 240)
        found = [
            (t.label, t.frames.tolist(), t.boxes[0].tolist(), t.boxes[-1].tolist())
            for t in annotation.tubes[name]
        ]
        assert found == expected
    annotation, problems = read(DATA / 'datumaro_cvat_images.xml')
    walk, golf = (
        sorted(frame for tube in annotation.tubes['train'] if tube.label == label
               for frame in tube.frames.tolist())
        for label in ('walk', 'golf')
    )  # fmt: skip
    assert walk == sorted([1, 2, 3, 4, 5, 9, 10, 11, 3, 4, 5, 6, 7])
    assert golf == [1, 7, 12]  # images have no key frames
    assert len(problems) == 2  # what was linked and what not


@settings(max_examples=25, deadline=None)
@given(annotation=annotations())
def test_a_round_trip_is_exact(tmp_path_factory, annotation):
    folder = tmp_path_factory.mktemp('cvat')
    files = save_cvat(annotation, folder)
    assert [file.relative_to(folder).as_posix() for file in files] == [
        f'{name}.xml' for name in annotation.videos
    ]
    back, _ = read(folder)
    assert back == annotation
    assert list(back.videos) == list(annotation.videos)


@pytest.mark.slow
def test_real_datasets_round_trip(test_data, tmp_path):
    for dataset, source in (
        ('jhmdb', 'jhmdb/jhmdb_annot.mat'),
        ('ucf_sports', 'ucf_sports/ucf_sports_annotations.tar.gz'),
    ):
        annotation = read_source(dataset, test_data / source).annotation
        save_cvat(annotation, tmp_path / dataset)
        save_coco_video(annotation, tmp_path / f'{dataset}.json')
        assert from_cvat(tmp_path / dataset) == annotation
        assert from_coco_video(tmp_path / f'{dataset}.json') == annotation


def test_boxes_are_written_with_as_few_digits_as_it_takes(tmp_path):
    rows = [[10, 0.1, 59, 99.5], [-1e-38, 1 / 3, 1e-45, 4000]]
    tube = Tube('walk', np.array([2, 5]), np.array(rows, np.float32))
    annotation = Annotation('toy', ['walk'], {'a': Video('a.avi', 9)}, {}, {'a': [tube]})
    text = to_cvat(annotation, 'a')
    assert 'frame="1" keyframe="1" outside="0" occluded="0" xtl="10" ytl="0.1" xbr="60"' in text
    assert re.findall(r'frame="(\d)" keyframe="1" outside="(\d)"', text) == [
        ('1', '0'), ('2', '1'), ('4', '0'), ('5', '1'),
    ]  # fmt: skip
    save_cvat(annotation, tmp_path)
    assert read(tmp_path)[0] == annotation


def test_boxes_on_a_line_are_no_key_frames(tmp_path):
    frames = np.r_[1:12, 20:24]
    rows = np.zeros((15, 4), np.float32)
    rows[:, 0] = [0, 1, 2, 3, 4, 5, 4, 3, 2.4, 1, 0, 7, 7, 7, 7]
    rows[:, 2:] = rows[:, :2] + 30
    tube = Tube('walk', frames, rows)
    annotation = Annotation('toy', ['walk'], {'a': Video('a.avi', 30)}, {}, {'a': [tube]})
    for tolerance, keys in ((0.005, [1, 6, 8, 9, 10, 11, 20, 23]), (0.5, [1, 6, 11, 20, 23])):
        save_cvat(annotation, tmp_path, tolerance)
        text = (tmp_path / 'a.xml').read_text()
        found = re.findall(r'frame="(\d+)" keyframe="1" outside="0"', text)
        assert [int(frame) + 1 for frame in found] == keys
        assert read(tmp_path)[0] == annotation  # the others are there, too
        # what CVAT makes of it, which reads key frames alone
        lines = [line for line in text.splitlines() if 'keyframe="0"' not in line]
        (tmp_path / 'a.xml').write_text('\n'.join(lines))
        (back,) = read(tmp_path)[0].tubes['a']
        assert back.frames.tolist() == frames.tolist()
        assert np.abs(back.boxes - rows).max() <= tolerance


def test_what_no_file_can_be_called():
    for name in ('../a', '/a', 'a//b', 'a/'):
        annotation = Annotation('toy', ['walk'], {name: Video('a.avi', 9)})
        with pytest.raises(AnnotationError, match='no file can be called'):
            save_cvat(annotation, 'unused')
    annotation = Annotation('toy', ['wa\x01lk'], {'a': Video('a.avi', 9)})
    with pytest.raises(AnnotationError, match='XML cannot hold'):
        to_cvat(annotation, 'a')


WRONG = {
    'label': (track(box(0), label='swim'), "'walk/a', track 0: label 'swim' is none of <labels>"),
    'twice': (track(box(3), box(3), number=2), "'walk/a', track 2, frame 4: two boxes in one"),
    'negative': (track(box(-3)), 'track 0, frame -2: frames are counted from 1'),
    'number': (track(box(0, 'left')), "track 0, frame 1: xtl='left' is no number"),
    'infinite': (track(box(0, 'nan')), "track 0, frame 1: xtl='nan' is no number"),
    'frame': (track(box('x')), "track 0: 'x' is no whole number"),
    'late': (track(box(0), box(10**9)), 'track 0: 1000000000 is too large a number'),
    'edge': (track(box(1, edges='ytl="3"')), 'track 0, frame 2: <box> lacks xbr'),
    'no label': ('<track id="3"></track>', 'track 3: <track> lacks label'),
    'image twice': (image(0, 'b/1.jpg') + image(1, 'b/1.jpg'), 'has an image twice'),
    'image label': (image(0, 'b/1.jpg', still('swim')), "'b', frame 1: label 'swim' is none"),
}


@pytest.mark.parametrize('case', WRONG)
def test_mistakes_are_named(tmp_path, case):
    content, message = WRONG[case]
    with pytest.raises(AnnotationError, match=re.escape(message)) as error:
        read(write(tmp_path / 'x.xml', content))
    assert 'x.xml' in str(error.value)


def test_what_is_left_out_is_noted(tmp_path):
    polygon = '<polygon frame="2" outside="0" keyframe="1" points="1,1;2,2;3,1"></polygon>'
    path = write(
        tmp_path / 'x.xml',
        track(polygon, number=1),
        track(box(0, 400, edges='ytl="20" xbr="450" ybr="50"'), box(1, outside=1), number=2),
        track(box(0, 50.0), box(1), box(2, outside=1), number=3),
        track(box(0, more=' rotation="30"'), box(1, outside=1), number=4),
        track(box(20), number=5),
        track(number=6),
        track(box(0).replace('></box>', '><attribute name="age">3</attribute></box>'),
              box(1, outside=1), number=7),
    )  # fmt: skip
    annotation, problems = read(path)
    assert [tube.frames.tolist() for tube in annotation.tubes['walk/a']] == [
        [1], [2], [1], [21], [1],
    ]  # fmt: skip
    for text in (
        "'walk/a', frame 3: 1 shapes <polygon> of 'walk'; not read",
        "'walk/a', frame 1: track 3: box 50 20 49 99.5 is less than a pixel; left out",
        "'walk/a', frame 1: 1 rotated boxes of 'walk'; read unrotated",
        'track 5 goes up to frame 21, the video has 10; num_frames is 21',
        'track 6 has no box; left out',
        "1 values of the attribute 'age' of 'walk'; not read",
    ):
        assert any(text in problem for problem in problems), (text, problems)
    assert len(problems) == 6
    with pytest.raises(AnnotationError, match='polygon'):
        from_cvat(path)


def test_cut_off_or_something_else(tmp_path):
    path = write(tmp_path / 'x.xml', track(box(0), box(1)))
    path.write_text(path.read_text()[:-60])
    with pytest.raises(AnnotationError, match=r'x.xml: no XML, or cut off .* in track 0, frame 1'):
        read(path)
    for text, message in (
        ('', 'no XML, or cut off'),
        ('{"a": 1}', 'no XML, or cut off'),
        ('<data></data>', 'is no XML of CVAT: it begins with <data>'),
    ):
        path.write_text(text)
        with pytest.raises(AnnotationError, match=message):
            read(path)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(AnnotationError, match='holds no .xml'):
        read(tmp_path / 'empty')
    (tmp_path / 'x.zip').write_bytes(b'PK')
    with pytest.raises(AnnotationError, match='x.zip is not a readable zip'):
        read(tmp_path / 'x.zip')


def test_entities_are_not_expanded(tmp_path):
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;&b;">]>'
    path = tmp_path / 'x.xml'
    path.write_text(f'{bomb}<annotations><meta><task><name>&c;</name></task></meta></annotations>')
    with pytest.raises(AnnotationError, match='x.xml has a DOCTYPE'):
        read(path)
    path.write_text('<!DOCTYPE a SYSTEM "file:///etc/hostname"><annotations></annotations>')
    with pytest.raises(AnnotationError, match='x.xml has a DOCTYPE'):
        read(path)


def test_without_a_size_or_a_length(tmp_path):
    path = tmp_path / 'x.xml'
    path.write_text(f'<annotations>{track(box(0), box(4))}</annotations>')
    conversion = convert(path, [])
    assert conversion.annotation.videos == {'x': Video('x.avi', 5)}
    assert conversion.counted == {'x'}


def test_infer_correct_prepare(tmp_path):
    """A box moved and a label changed in the XML arrive; nothing else changes."""
    rows = np.array(
        [[10.25, 20.5, 50.125, 99], [11, 20, 51, 99.75], [12, 1 / 3, 52, 99]], np.float32
    )
    tubes = [Tube('walk', np.array([1, 2, 5]), rows), Tube('walk', np.array([2, 3, 4]), rows + 100)]
    found = Annotation(
        'found', ['golf', 'walk'], {'day 1/clip': Video('day 1/clip.mp4', 6, 640, 480, None, 25.0)},
        {'all': ['day 1/clip']}, {'day 1/clip': tubes},
    )  # fmt: skip
    save_annotation(found, tmp_path / 'tubes.json')
    main = load_tool('data/prepare').main
    arguments = ['export', 'cvat', str(tmp_path / 'tubes.json'), '--out', str(tmp_path / 'fix')]
    assert main(arguments) == 0
    path = tmp_path / 'fix/day 1/clip.xml'
    text = path.read_text()
    assert text.count('xtl="11"') == 2  # and the same once more where the tube pauses
    text = text.replace('xtl="11"', 'xtl="5.5"', 1)
    text = text.replace('<track id="1" label="walk"', '<track id="1" label="golf"')
    path.write_text(text)
    arguments = ['cvat', '--annotations', str(tmp_path / 'fix'), '--out', str(tmp_path / 'x.json')]
    assert main(arguments) == 0
    tubes[0].boxes[1, 0] = 5.5
    tubes[1].label = 'golf'
    assert load_annotation(tmp_path / 'x.json') == found
