"""Label Studio's video tracking: files of its own package, key frames, bad input."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import Annotation, Video, load_annotation
from mmstal_da.tubes.converters.label_studio import from_label_studio, videos_of
from mmstal_da.tubes.converters.problems import Problem
from mmstal_da.tubes.converters.tracks import Hints
from tests.clips import numbered_frames, write_video
from tests.load_tool import load_tool

DATA = Path(__file__).parent / 'data'
KEYS = json.loads((DATA / 'sdk_label_studio_keys.json').read_text())
SIZES = {'clip_a': (320, 240), 'clip_b': (320, 240)}


def write(path, raw) -> Path:
    path.write_text(json.dumps(raw))
    return path


def read(path, **changes) -> tuple[Annotation, list[str]]:
    problems: list[Problem] = []
    annotation = from_label_studio(path, problems, Hints(**{'sizes': SIZES, **changes}))
    return annotation, [str(problem) for problem in problems]


def region(raw) -> dict:
    return raw[0]['annotations'][0]['result'][0]


def test_what_the_sdk_writes():
    sizes = {'clip_a': (640, 360)}
    annotation, problems = read(DATA / 'sdk_label_studio.json', sizes=sizes)
    assert problems == []
    assert annotation.videos == {'clip_a': Video('clip_a.mp4', 48, 640, 360)}
    walk, golf = annotation.tubes['clip_a']
    assert (walk.label, walk.frames.tolist()) == ('walk', list(range(1, 18)))
    # the rows x y w h that it was made of: 1: 64 36 128 180, 9: 80 36 128 180, 17: 96 45 128 171
    assert walk.boxes[[0, 4, 8, 16]].tolist() == [
        [64, 36, 191, 215], [72, 36, 199, 215], [80, 36, 207, 215], [96, 45, 223, 215],
    ]  # fmt: skip
    assert (golf.label, golf.frames.tolist()) == ('golf', list(range(5, 21)))
    assert golf.boxes[-1].tolist() == [352, 90, 415, 233]


def test_interpolation_is_that_of_the_sdk():
    keys, _ = read(DATA / 'sdk_label_studio_keys.json')
    frames, _ = read(DATA / 'sdk_label_studio_frames.json')
    (one,), (other,) = keys.tubes['clip_b'], frames.tubes['clip_b']
    # it leaves after 10, is there in 13 alone, and returns in 16 up to the end
    assert one.frames.tolist() == [*range(2, 11), 13, *range(16, 21)]
    raw = json.loads((DATA / 'sdk_label_studio_frames.json').read_text())
    sequence = region(raw)['value']['sequence']
    assert one.frames.tolist() == [row['frame'] for row in sequence]
    left = np.array([row['x'] for row in sequence]) / 100 * 320
    assert np.array_equal(one.boxes[:, 0], left.astype(np.float32))
    assert one == other


def test_the_same_tubes_as_in_cvat():
    annotation, problems = read(DATA / 'dagshub_label_studio.json')
    assert problems == []
    found = [
        (t.label, t.frames.tolist(), t.boxes[0].tolist(), t.boxes[-1].tolist())
        for t in annotation.tubes['clip_a']
    ]
    assert found == [
        ('walk', [1, 2, 3, 4, 5, 9, 10, 11], [10, 20, 49, 99], [90, 21.5, 129.25, 100.5]),
        ('golf', list(range(1, 13)), [200, 50, 229, 109], [233, 50, 273, 109]),
        ('walk', [3, 4, 5, 6, 7], [60, 70, 79, 99], [60, 70, 79, 99]),
    ]


@pytest.mark.parametrize('address, name', [
    ('/data/upload/3/1fd99634-clip_b.mp4', 'clip_b'),
    ('s3://bucket/walk/my%20clip.mp4', 'my clip'),
    ('/data/local-files/?d=walk/clip.avi', 'clip'),
    ('https://a.test/x/clip.webm?token=1.2', 'clip'),
])  # fmt: skip
def test_names(tmp_path, address, name):
    raw = copy.deepcopy(KEYS)
    raw[0]['data'] = {'video': address, 'note': 'some text'}
    assert list(videos_of(write(tmp_path / 'x.json', raw))) == [name]


def test_two_videos_of_one_name_get_their_folders(tmp_path):
    raw = [{'id': n, 'data': {'v': f's3://b/{folder}/clip.mp4'}} for n, folder in enumerate('xy')]
    assert list(videos_of(write(tmp_path / 'x.json', raw))) == ['x/clip', 'y/clip']
    raw[1]['data']['v'] = raw[0]['data']['v']
    with pytest.raises(AnnotationError, match="task 1 and task 0 both annotate video 'x/clip'"):
        videos_of(write(tmp_path / 'x.json', raw))


def test_labels_annotators_and_what_is_noted(tmp_path):
    raw = copy.deepcopy(KEYS)
    first = raw[0]['annotations'][0]
    first['updated_at'] = '2026-02-01'
    region(raw)['value']['sequence'][0]['rotation'] = 30
    several = copy.deepcopy(region(raw)) | {'id': 'several'}
    several['value']['labels'] = ['walk', 'golf']
    apart = copy.deepcopy(region(raw)) | {'id': 'apart'}
    del apart['value']['labels']
    labels = {'id': 'apart', 'type': 'labels', 'value': {'labels': ['swim']}}
    nothing = copy.deepcopy(apart) | {'id': 'nothing'}
    timeline = {'id': 't', 'type': 'timelinelabels', 'value': {}}
    first['result'] += [several, apart, labels, nothing, timeline]
    raw[0]['annotations'] += [
        {'id': 2, 'result': [], 'updated_at': '2026-01-01'},
        {'id': 3, 'result': [], 'updated_at': '2026-03-01', 'was_cancelled': True},
    ]
    raw.append({'id': 8, 'data': {'video': 'clip_c.mp4'}, 'annotations': [], 'predictions': [{}]})
    annotation, problems = read(write(tmp_path / 'x.json', raw))
    assert annotation.classes == ['walk', 'golf', 'swim']
    assert [tube.label for tube in annotation.tubes['clip_b']] == ['walk', 'walk', 'golf', 'swim']
    for text in (
        'annotation 2 is another of the same video; left out for annotation 1',
        "1 regions of type 'timelinelabels'; not read",
        'frame 2: track leaves is rotated; read unrotated',
        'track nothing has no label; left out',
        "'clip_c': it has predictions only; kept without tubes",
    ):
        assert any(text in problem for problem in problems), (text, problems)
    assert annotation.videos['clip_c'] == Video('clip_c.mp4', 1)
    with pytest.raises(AnnotationError, match='annotation 2 is another'):
        from_label_studio(tmp_path / 'x.json', hints=Hints(SIZES))


def test_another_frame_rate_is_noted():
    _, problems = read(DATA / 'sdk_label_studio_keys.json', fps={'clip_b': 30.0})
    assert problems == [
        "video 'clip_b': Label Studio counted 24.000 frames per second, the video has 30.000;"
        ' frames left as they are; set framerate of <Video> in the labelling config'
    ]
    assert read(DATA / 'sdk_label_studio_keys.json', fps={'clip_b': 23.98})[1] == []


def changed(**values) -> list:
    raw = copy.deepcopy(KEYS)
    region(raw)['value']['sequence'][1] |= values
    return raw


EMPTY = {'type': 'videorectangle', 'value': {}}
WRONG = {
    'long': (changed(frame=10**9), 'track leaves, frame 1000000000: no video is as long'),
    'twice': (changed(frame=2), "'clip_b', track leaves, frame 2: two boxes in one frame"),
    'zero': (changed(frame=0), 'track leaves, frame 0: frames are counted from 1'),
    'text': (changed(width='wide'), "track leaves, key frame 1: width is 'wide', no number"),
    'min': ([{'video': 'a.mp4', 'box': []}], 'choose the format JSON, not JSON-MIN'),
    'no video': ([{'id': 3, 'data': {'image': 'a.jpg'}}], 'task 3: "data" names no video'),
    'number': (3, 'is no export of Label Studio'),
    'nothing': ([{'id': 3, 'data': {'video': 'a.mp4'}}], 'holds no labelled videorectangle'),
    'sequence': ([KEYS[0] | {'annotations': [{'result': [EMPTY]}]}],
                 "'clip_b': no video tracking of Label Studio: KeyError('sequence')"),
}  # fmt: skip


@pytest.mark.parametrize('case', WRONG)
def test_mistakes_are_named(tmp_path, case):
    raw, message = WRONG[case]
    with pytest.raises(AnnotationError, match=re.escape(message)) as error:
        read(write(tmp_path / 'x.json', raw))
    assert 'x.json' in str(error.value)


def test_sizes_are_needed():
    with pytest.raises(AnnotationError, match="'clip_b': its size is not known.* --frame-sizes"):
        read(DATA / 'sdk_label_studio_keys.json', sizes={})


def test_less_than_a_pixel_is_noted(tmp_path):
    _, problems = read(write(tmp_path / 'x.json', changed(width=0)))
    assert any('frame 10: track leaves: box 80 48 79 167 is less' in text for text in problems)


def test_the_tool_takes_sizes_from_videos(tmp_path, capsys):
    (tmp_path / 'videos/walk').mkdir(parents=True)
    write_video(tmp_path / 'videos/walk/clip_b.avi', numbered_frames(20))
    main = load_tool('data/prepare').main
    source = tmp_path / 'in'
    source.mkdir()
    write(source / 'b.json', KEYS)
    raw = copy.deepcopy(KEYS)
    raw[0]['data']['video'] = 'clip_c.mp4'
    write(source / 'c.json', raw)
    arguments = ['label_studio', '--annotations', str(source), '--out', str(tmp_path / 'out')]
    arguments += ['--frames', str(tmp_path / 'videos')]
    assert main(arguments) == 1
    assert "lacks 1 of 2 videos, such as ['clip_c']" in capsys.readouterr().err
    assert main([*arguments, '--only-present']) == 0
    out = capsys.readouterr().out
    assert 'left out: 1 videos that' in out
    assert 'Label Studio counted 24.000 frames per second, the video has 25.000' in out
    annotation = load_annotation(tmp_path / 'out/label_studio.json')
    assert annotation.videos == {'clip_b': Video('walk/clip_b.avi', 20, 64, 48, None, 25.0)}
    assert annotation.tubes['clip_b'][0].boxes[-1].tolist() == pytest.approx(
        [38.4, 9.6, 45.4, 32.6]
    )
    assert main(arguments[:-2]) == 1
    assert 'its size is not known' in capsys.readouterr().err
    sizes = write(tmp_path / 'sizes.json', {'clip_b': [64, 48], 'clip_c': [64, 48]})
    assert main([*arguments[:-2], '--frame-sizes', str(sizes)]) == 0
