"""VIA 3 (videos) and VIA 2 (images): its documented project, times and frames, bad input."""

import copy
import json
import re
from pathlib import Path

import pytest

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import Annotation, Video, load_annotation
from mmstal_da.tubes.converters.problems import Problem
from mmstal_da.tubes.converters.tracks import Hints
from mmstal_da.tubes.converters.via import convert, from_via
from tests.clips import numbered_frames, write_video
from tests.load_tool import load_tool

DATA = Path(__file__).parent / 'data'
VIA3 = json.loads((DATA / 'via3.json').read_text())
VIA2 = json.loads((DATA / 'via2.json').read_text())


def write(path, raw) -> Path:
    path.write_text(json.dumps(raw))
    return path


def read(path, **changes) -> tuple[Annotation, list[str]]:
    problems: list[Problem] = []
    annotation = from_via(path, problems, Hints(**{'any_fps': 25.0, **changes}))
    return annotation, [str(problem) for problem in problems]


def tubes(annotation, name) -> list:
    return [
        (t.label, t.frames.tolist(), t.boxes[0].tolist(), t.boxes[-1].tolist())
        for t in annotation.tubes[name]
    ]


def boxes(*rows) -> dict:
    """VIA 3 with other boxes: (z, xy, av) each."""
    raw = copy.deepcopy(VIA3)
    raw['metadata'] = {
        f'1_{n}': {'vid': '1', 'flg': 0, 'z': z, 'xy': xy, 'av': av}
        for n, (z, xy, av) in enumerate(rows)
    }
    return raw


def test_a_project_of_videos():
    annotation, problems = read(DATA / 'via3.json', sizes={'clip_a': (320, 240)})
    assert annotation.classes == ['walk', 'golf']
    assert annotation.videos == {
        'clip_a': Video('clip_a.mp4', 8, 320, 240, None, 25.0),
        'clip b': Video('clip b.mp4', 1, None, None, None, 25.0),
    }
    assert tubes(annotation, 'clip_a') == [
        ('walk', [2, 3, 4, 7, 8], [12, 20, 51, 99], [93, 21.5, 132.25, 100.5]),
        ('golf', [3], [200, 50, 229, 109], [200, 50, 229, 109]),
        ('golf', [4], [60, 70, 79, 99], [60, 70, 79, 99]),  # its class is that of the segment
    ]
    assert problems == [
        "video 'clip_a', frame 4: box 1_circle01 is a circle, no rectangle; left out"
    ]


@pytest.mark.parametrize('fps', [24, 25, 29.97, 30, 60])
def test_rounded_times_are_the_frames_they_show(tmp_path, fps):
    rows = [([round(n / fps, 3)], [2, n, 0, 9, 9], {'2': '1', '3': 'p'}) for n in range(300)]
    annotation, problems = read(write(tmp_path / 'x.json', boxes(*rows)), any_fps=fps)
    assert problems == []
    (tube,) = annotation.tubes['clip_a']
    assert tube.frames.tolist() == list(range(1, 301))
    assert tube.boxes[:, 0].tolist() == list(range(300))


def test_boxes_over_time_tracks_and_what_is_noted(tmp_path):
    raw = boxes(
        ([0.04, 0.16], [2, 1, 2, 10, 20], {'2': '1', '3': 'a'}),
        ([0.2], [2, 1, 2, 10, 20], {'2': '1', '3': 'b'}),
        ([0.21], [2, 5, 2, 10, 20], {'2': '1', '3': 'b'}),
        ([0.0], [2, 1, 2, 10, 20], {'2': '2'}),
        ([0.0], [2, 9, 2, 10, 20], {'2': '2'}),
        ([0.5], [2, 1, 2, 10, 20], {}),
        ([0.6], [2, 1, 2, 0.5, 20], {'2': '1', '3': 'c'}),
        ([3, 4], [], {'1': '1'}),
    )
    annotation, problems = read(write(tmp_path / 'x.json', raw))
    assert [(label, frames) for label, frames, _, _ in tubes(annotation, 'clip_a')] == [
        ('walk', [2, 3, 4, 5]), ('walk', [6]), ('golf', [1]), ('golf', [1]),
    ]  # fmt: skip
    assert annotation.tubes['clip_a'][1].boxes[0, 0] == 5
    for text in (
        'frame 6: track b has two boxes within one frame; the first left out',
        "2 boxes of 'golf' have no track; 2 tubes of one frame",
        'frame 13: box 1_5 has no class; left out',
        'frame 16: track c: box 1 2 0.5 21 is less than a pixel; left out',
        '1 segments in time hold no rectangle, such as (3.0, 4.0) s; not read',
    ):
        assert any(text in problem for problem in problems), (text, problems)
    with pytest.raises(AnnotationError, match='segments in time'):
        from_via(tmp_path / 'x.json', hints=Hints(any_fps=25.0))


def test_the_attribute_that_is_the_class(tmp_path):
    raw = copy.deepcopy(VIA3)
    raw['attribute']['2']['aname'] = 'what'
    raw['attribute']['4'] = {'aname': 'colour', 'anchor_id': 'FILE1_Z1_XY1', 'type': 1}
    raw['metadata'] = {'1_golf0001': VIA3['metadata']['1_golf0001']}
    path = write(tmp_path / 'x.json', raw)
    with pytest.raises(AnnotationError, match=r"\['colour', 'track_id', 'what'\].*--label-attr"):
        read(path)
    assert read(path, label_attribute='what')[0].classes == ['golf']
    with pytest.raises(AnnotationError, match="no attribute 'no'; it has"):
        read(path, label_attribute='no')


def test_images():
    conversion = convert(DATA / 'via2.json', problems := [])
    annotation = conversion.annotation
    assert conversion.counted == {'walk/clip_a'}
    assert annotation.videos == {'walk/clip_a': Video('walk/clip_a', 5, filename_tmpl='{:05d}.jpg')}
    assert tubes(annotation, 'walk/clip_a') == [
        ('walk', [1, 2, 3, 4, 5], [10, 20, 49, 99], [18, 20, 57, 99]),
        ('golf', [4, 5], [200, 50, 229, 109], [200, 50, 229, 109]),
    ]
    assert [str(problem) for problem in problems] == [
        "video 'walk/clip_a', frame 5: region 2 is a polygon, no rectangle; left out"
    ]


def test_exported_images_of_older_versions(tmp_path):
    images = copy.deepcopy(VIA2['_via_img_metadata'])
    for number, image in enumerate(images.values()):
        image['filename'] = f'clip_a_{number}.jpg'
        image['regions'] = {str(n): region for n, region in enumerate(image['regions'][:2])}
        for region in image['regions'].values():
            attributes = region['region_attributes']
            attributes['action'] = {attributes['action']: True}  # a checkbox
    annotation, problems = read(write(tmp_path / 'x.json', images))
    assert list(annotation.videos) == ['clip_a']
    assert tubes(annotation, 'clip_a')[1][:2] == ('golf', [4, 5])
    assert problems == ["video 'clip_a': images are numbered from 0; frame is number + 1"]


def with_image(**changes) -> dict:
    raw = copy.deepcopy(VIA2)
    next(iter(raw['_via_img_metadata'].values())).update(changes)
    return raw


WALK = {'2': '1', '3': 'a'}
RECTANGLE = {'shape_attributes': {'name': 'rect', 'x': 1, 'y': 2, 'width': 3},
             'region_attributes': {'action': 'walk'}}  # fmt: skip
TWICE = {'shape_attributes': {'name': 'rect', 'x': 1, 'y': 2, 'width': 3, 'height': 4},
         'region_attributes': {'action': 'walk', 'track': '1'}}  # fmt: skip
WRONG = {
    'no time': (boxes(([], [2, 1, 2, 3, 4], WALK)), "'clip_a', box 1_0: it has no time"),
    'negative': (boxes(([-1], [2, 1, 2, 3, 4], WALK)), "'clip_a', box 1_0: times [-1.0] are no"),
    'late': (boxes(([1e9], [2, 1, 2, 3, 4], WALK)), 'box 1_0: no video is 1e+09 s long'),
    'numbers': (boxes(([0.2], [2, 1, 2, 3], WALK)), "'clip_a', box 1_0, frame 6: [1, 2, 3] is not"),
    'rectangle': (with_image(regions=[RECTANGLE]), "'walk/clip_a', frame 1, region 0: [1, 2, 3, N"),
    'twice': (with_image(regions=[TWICE, TWICE]), 'track 1, frame 1: two boxes in one frame'),
    'image': (with_image(filename='walk/clip_a/00002.jpg'), "image 'walk/clip_a/00002.jpg' is the"),
    'other': ({'a': 1}, 'is no JSON of VIA: it has neither'),
    'list': ([1], 'is no JSON of VIA'),
    'nothing': (boxes(), 'holds no labelled rectangle'),
    'no view': ({'metadata': {}, 'attribute': {}, 'file': {}}, "is no JSON of VIA: KeyError('view"),
}


@pytest.mark.parametrize('case', WRONG)
def test_mistakes_are_named(tmp_path, case):
    raw, message = WRONG[case]
    with pytest.raises(AnnotationError, match=re.escape(message)) as error:
        read(write(tmp_path / 'x.json', raw))
    assert 'x.json' in str(error.value)


def test_a_rate_is_needed_and_the_file_whole(tmp_path):
    with pytest.raises(AnnotationError, match=r"'clip_a': its frame rate is not known.* --fps"):
        read(DATA / 'via3.json', any_fps=None)
    (tmp_path / 'x.json').write_text(json.dumps(VIA3)[:-9])
    with pytest.raises(AnnotationError, match='x.json: not JSON, or cut off'):
        read(tmp_path / 'x.json')


def test_the_tool_takes_rates_from_videos(tmp_path, capsys):
    (tmp_path / 'videos').mkdir()
    write_video(tmp_path / 'videos/clip_a.avi', numbered_frames(9, 240, 320))
    main = load_tool('data/prepare').main
    arguments = ['via', '--annotations', str(DATA / 'via3.json'), '--out', str(tmp_path / 'out')]
    assert main([*arguments, '--frames', str(tmp_path / 'videos'), '--only-present']) == 0
    annotation = load_annotation(tmp_path / 'out/via.json')
    assert annotation.videos == {'clip_a': Video('clip_a.avi', 9, 320, 240, None, 25.0)}
    assert annotation.tubes['clip_a'][0].frames.tolist() == [2, 3, 4, 7, 8]
    assert 'left out: 1 videos' in capsys.readouterr().out
    assert main(arguments) == 1
    assert '--fps' in capsys.readouterr().err
    assert main([*arguments, '--fps', '25', '--label-attribute', 'action']) == 0
    assert '2 videos of unknown length' in capsys.readouterr().out


def test_the_tools_own_samples():
    """Expected: the same boxes in VIA 2's csv; in VIA 3's script the only rectangles, at 0.917 s
    and 21.52 s."""
    annotation, problems = read(DATA / 'via2_demo.json', label_attribute='track')
    (name,) = annotation.videos
    assert tubes(annotation, name) == [
        ('320', list(range(11398, 11403)), [369, 163, 508, 297], [384, 103, 485, 259]),
        ('321', [11400, 11401, 11402], [621, 165, 680, 261], [623, 157, 683, 266]),
    ]
    annotation, problems = read(DATA / 'via3_demo.json', label_attribute='Object')
    assert tubes(annotation, 'Alioli_Wikimedia_Wardtmar') == [
        ('Bottle', [23, 539], [343, 730, 402, 889], [315, 52, 394, 206])
    ]
    assert sum('no rectangle' in problem for problem in problems) == 3
