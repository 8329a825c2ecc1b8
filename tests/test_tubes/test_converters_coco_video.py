"""COCO-style JSON of videos: its dialects, exact round trips, files of other code, bad input."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import Annotation, Tube, Video, load_annotation, save_annotation
from mmstal_da.tubes.converters.coco_video import convert, from_coco_video, save_coco_video
from mmstal_da.tubes.converters.problems import Problem
from tests.annotations import annotations
from tests.load_tool import load_tool

DATA = Path(__file__).parent / 'data'


def coco(frames=(0, 1, 2), key='frame_id', **changes) -> dict:
    """One video, a track 7 of two boxes and a track 8 of one."""
    return {
        'categories': [{'id': 3, 'name': 'walk'}, {'id': 5, 'name': 'golf'}],
        'videos': [{'id': 1, 'name': 'walk/a', 'width': 320, 'height': 240}],
        'images': [
            {'id': 10 + n, 'video_id': 1, key: frame, 'file_name': f'walk/a/{n}.jpg'}
            for n, frame in enumerate(frames)
        ],
        'annotations': [
            {'id': 1, 'image_id': 10, 'category_id': 3, 'bbox': [1, 2.5, 10, 20], 'track_id': 7},
            {'id': 2, 'image_id': 12, 'category_id': 3, 'bbox': [2, 2.5, 10, 20], 'track_id': 7},
            {'id': 3, 'image_id': 12, 'category_id': 5, 'bbox': [3, 2.5, 10, 20], 'track_id': 8},
        ],
        **changes,
    }


def write(path, raw) -> Path:
    path.write_text(json.dumps(raw))
    return path


def read(path) -> tuple[Annotation, list[str]]:
    problems: list[Problem] = []
    return from_coco_video(path, problems), [str(problem) for problem in problems]


def test_tracks_gaps_and_inclusive_ends(tmp_path):
    annotation, problems = read(write(tmp_path / 'x.json', coco()))
    assert problems == []
    assert annotation.classes == ['walk', 'golf']
    assert annotation.videos == {'walk/a': Video('walk/a.avi', 3, 320, 240)}
    first, second = annotation.tubes['walk/a']
    assert (first.label, first.frames.tolist()) == ('walk', [1, 3])
    assert first.boxes.tolist() == [[1, 2.5, 10, 21.5], [2, 2.5, 11, 21.5]]
    assert (second.label, second.frames.tolist()) == ('golf', [3])


LENGTH = {'id': 1, 'name': 'walk/a', 'length': 9}


@pytest.mark.parametrize('frames, changes, expected, said', [
    ((0, 1, 2), {}, [1, 3], 'counted from 0, the lowest'),
    ((1, 2, 3), {}, [1, 3], 'counted from 1, the lowest'),
    ((1, 2, 3), {'info': {'first_frame': 0}}, [2, 4], 'counted from 0 as the file says'),
    ((4, 5, 9), {'videos': [LENGTH]}, [4, 9], 'counted from 1, as some are the last'),
    ((4, 5, 8), {'videos': [LENGTH]}, [4, 8], 'counted from 1 by assumption'),
])  # fmt: skip
@pytest.mark.parametrize('key', ['frame_index', 'frame_id', 'frame'])
def test_where_frames_begin(tmp_path, frames, changes, expected, said, key):
    path = write(tmp_path / 'x.json', coco(frames, key, **changes))
    conversion = convert(path, problems := [])
    assert conversion.annotation.tubes['walk/a'][0].frames.tolist() == expected
    assert conversion.kind.startswith(f'COCO-style JSON, frames by {key}, ')
    assert said in conversion.kind
    assert len(problems) == ('assumption' in said)


def test_youtube_vis(tmp_path):
    raw = coco(
        images=[],
        videos=[{'id': 4, 'file_names': [f'dog/{n:05d}.jpg' for n in range(1, 5)], 'length': 4,
                 'width': 64, 'height': 48}],
        annotations=[{'id': 9, 'video_id': 4, 'category_id': 5,
                      'bboxes': [None, [1, 2, 3, 4], None, [2, 2, 3, 4]]}],
    )  # fmt: skip
    annotation, problems = read(write(tmp_path / 'x.json', raw))
    assert problems == []
    assert annotation.videos == {'dog': Video('dog', 4, 64, 48, '{:05d}.jpg')}
    (tube,) = annotation.tubes['dog']
    assert (tube.label, tube.frames.tolist()) == ('golf', [2, 4])
    assert tube.boxes.tolist() == [[1, 2, 3, 5], [2, 2, 4, 5]]


def test_images_without_videos(tmp_path):
    raw = coco()
    del raw['videos']
    for image in raw['images']:
        del image['video_id'], image['frame_id']
    conversion = convert(write(tmp_path / 'x.json', raw), problems := [])
    assert list(conversion.annotation.videos) == ['walk/a']
    assert conversion.counted == {'walk/a'}
    assert [str(problem) for problem in problems] == [
        "video 'walk/a': images are numbered from 0; frame is number + 1"
    ]
    for item in raw['annotations']:
        del item['track_id']
    _, problems = read(write(tmp_path / 'x.json', raw))
    assert any("2 boxes of 'walk' have no track; linked to one tube" in text for text in problems)


def test_datumaros_file():
    annotation, problems = read(DATA / 'datumaro_coco.json')
    assert len(problems) == 1  # images are numbered from 0
    found = [
        (t.label, t.frames.tolist(), t.boxes[0].tolist(), t.boxes[-1].tolist())
        for t in annotation.tubes['datumaro_coco']
    ]
    assert found == [
        ('walk', [1, 2, 3, 4, 5, 9, 10, 11], [10, 20, 49, 99], [90, 21.5, 129.25, 100.5]),
        ('golf', [1, 7, 12], [200, 50, 229, 109], [233, 50, 273, 109]),  # key frames alone
        ('walk', [3, 4, 5, 6, 7], [60, 70, 79, 99], [60, 70, 79, 99]),
    ]
    assert annotation.videos['datumaro_coco'].width == 320


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(annotation=annotations())
def test_a_round_trip_is_exact(tmp_path_factory, annotation):
    path = tmp_path_factory.getbasetemp() / 'round_trip.json'
    save_coco_video(annotation, path)
    back, _ = read(path)
    assert back == annotation
    assert list(back.videos) == list(annotation.videos)
    # also for whoever reads it without this project, but for the last digits
    raw = json.loads(path.read_text())
    images = {image['id']: image for image in raw['images']}
    names = {category['id']: category['name'] for category in raw['categories']}
    rows = [
        (tube.label, frame, *box)
        for name in annotation.videos
        for tube in annotation.tubes.get(name, [])
        for frame, box in zip(tube.frames.tolist(), tube.boxes.tolist(), strict=True)
    ]
    for item, (label, frame, x1, y1, x2, y2) in zip(raw['annotations'], rows, strict=True):
        assert (names[item['category_id']], images[item['image_id']]['frame_id']) == (
            label, frame - 1,
        )  # fmt: skip
        x, y, width, height = item['bbox']
        assert np.allclose([x, y, x + width - 1, y + height - 1], [x1, y1, x2, y2], atol=1e-3)


def with_annotation(**changes) -> dict:
    raw = coco()
    raw['annotations'][1] |= changes
    return raw


WRONG = {
    'category': (with_annotation(category_id=4), 'annotation 2, frame 3: category 4 is none of'),
    'image': (with_annotation(image_id=99), 'annotation 2 is of image 99, which "images" lacks'),
    'twice': (with_annotation(image_id=10), "'walk/a', track 7, frame 1: two boxes in one frame"),
    'bbox': (with_annotation(bbox=[1, 2, 3]), 'annotation 2, frame 3: bbox [1, 2, 3] is not x, y'),
    'nan': (with_annotation(bbox=[1, 2, 3, float('nan')]), 'annotation 2, frame 3: bbox'),
    'frame': (coco((0, 1, 'x')), "image 12: frame_id is 'x', no whole number"),
    'same frame': (coco((0, 1, 1)), "'walk/a', frame 2: images 11 and 12 are both this frame"),
    'before 0': (coco((-1, 0, 1)), 'the lowest frame_id is -1'),
    'first frame': (coco(info={'first_frame': 1}), '"first_frame" of "info" is 1, the lowest'),
    'video': (coco(videos=[{'id': 2, 'name': 'b'}]), 'image 10 is of video 1, which "videos"'),
    'ids': (coco(videos=[{'id': 1, 'name': n} for n in 'ab']), 'two videos have the id 1'),
    'names': (coco(videos=[{'id': n, 'name': 'a'} for n in (1, 2)]), "two videos are called 'a'"),
    'no name': (
        coco(categories=[{'id': 3}]),
        "COCO-style JSON of videos: KeyError('name')",
    ),
    'detections': ([{'image_id': 1, 'bbox': [1, 2, 3, 4]}], 'is no COCO-style JSON: it lacks'),
}


@pytest.mark.parametrize('case', WRONG)
def test_mistakes_are_named(tmp_path, case):
    raw, message = WRONG[case]
    with pytest.raises(AnnotationError, match=re.escape(message)) as error:
        read(write(tmp_path / 'x.json', raw))
    assert 'x.json' in str(error.value)


def test_what_is_left_out_is_noted(tmp_path):
    raw = coco()
    raw['annotations'] += [
        {'id': 4, 'image_id': 11, 'category_id': 3, 'segmentation': [[1, 1, 2, 2, 3, 1]]},
        {'id': 5, 'image_id': 11, 'category_id': 3, 'bbox': [1, 1, 5, 5], 'iscrowd': 1},
        {'id': 6, 'image_id': 11, 'category_id': 3, 'bbox': [1, 1, 0, 5], 'track_id': 9},
        {'id': 7, 'image_id': 11, 'category_id': 3, 'bbox': [400, 1, 4, 5], 'track_id': 10},
    ]
    path = write(tmp_path / 'x.json', raw)
    annotation, problems = read(path)
    assert len(annotation.tubes['walk/a']) == 3
    assert problems == [
        "video 'walk/a', frame 2: annotation 4 has no bbox; left out",
        "video 'walk/a', frame 2: annotation 5 is a crowd; left out",
        "video 'walk/a', frame 2: track 9: box 1 1 0 5 is less than a pixel; left out",
    ]
    with pytest.raises(AnnotationError, match='annotation 4 has no bbox'):
        from_coco_video(path)


def test_cut_off(tmp_path):
    path = write(tmp_path / 'x.json', coco())
    path.write_text(path.read_text()[:-20])
    with pytest.raises(AnnotationError, match=r'x.json: not JSON, or cut off .* export it again'):
        read(path)


def test_the_tool_exports_and_reads_again(tmp_path, capsys):
    annotation, _ = read(write(tmp_path / 'x.json', coco(info={'description': 'mine'})))
    annotation.splits = {'train': ['walk/a'], 'all': ['walk/a']}
    save_annotation(annotation, tmp_path / 'tubes.json')
    main = load_tool('data/prepare').main
    out = str(tmp_path / 'out.json')
    assert main(['export', 'coco_video', str(tmp_path / 'tubes.json'), '--out', out]) == 0
    assert main(['coco_video', '--annotations', out, '--out', str(tmp_path / 'back')]) == 0
    assert 'read COCO-style JSON, frames by frame_id, counted from 0' in capsys.readouterr().out
    assert load_annotation(tmp_path / 'back/coco_video.json') == annotation
    assert main(['export', 'coco_video', str(tmp_path / 'tubes.json'), '--out', str(tmp_path)]) == 1
    assert 'is a folder: give the .json file' in capsys.readouterr().err
    assert main(
        ['export', 'coco_video', str(tmp_path / 'tubes.json'), '--out', out, '--split', 'train']
    ) == 0  # fmt: skip
    assert from_coco_video(out).splits == {'train': ['walk/a']}


def test_an_end_that_floats_miss_comes_back(tmp_path):
    """-0.99999 + 1.99999 - 1 is -1.1e-16 in floats, not 0."""
    boxes = np.float32([[0, -0.99999, 0, 0], [0.1, 0.2, 0.3, 0.3], [-1e-7, 1e-7, 1e9, 3e8]])
    tube = Tube('run', np.array([1, 2, 3]), boxes)
    annotation = Annotation('x', ['run'], {'a': Video('a.avi', 3)}, {}, {'a': [tube]})
    save_coco_video(annotation, tmp_path / 'a.json')
    assert from_coco_video(tmp_path / 'a.json', []).tubes == annotation.tubes
