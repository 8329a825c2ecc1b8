"""AVA's own csv: seconds, splits, classes and boxes that are odd."""

import re
from pathlib import Path

import numpy as np
import pytest

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.tubes.converters.ava import AvaOptions, convert, from_ava
from mmstal_da.tubes.converters.ava_csv import Clock, Row, find_clock, read_label_map
from mmstal_da.tubes.converters.splits import split_of_file
from mmstal_da.tubes.converters.tracks import Hints
from tests.clips import numbered_frames, write_video
from tests.load_tool import load_tool

LABELS = 'item {\n  name: "sit"\n  id: 1\n}\nitem {\n  name: "eat"\n  id: 2\n}\n'
SIZES = {'-5KQ66BBWC4': (400, 200)}
LINE = '-5KQ66BBWC4,{},0.25,0.1,0.75,0.9,{},1\n'


@pytest.fixture
def folder(tmp_path) -> Path:
    """As AVA is released: two lists, and timestamps that are not evaluated."""
    (tmp_path / 'ava_train_v2.2.csv').write_text(''.join(
        LINE.format(time, label) for time in ('0902', '0903', '1798') for label in (1, 2)
    ))  # fmt: skip
    (tmp_path / 'ava_val_v2.2.csv').write_text('other.mkv,0904,0,0,1,1,1,0\n')
    (tmp_path / 'ava_val_excluded_timestamps_v2.2.csv').write_text('other,0910\n')
    (tmp_path / 'ava_action_list_v2.2.pbtxt').write_text(LABELS)
    return tmp_path


def test_seconds_are_frames_as_mmaction2_counts_them(folder):
    """``SampleAVAFrames`` takes the frame at fps * (timestamp - 900), counted from 0."""
    from mmaction.datasets import AVADataset
    from mmaction.datasets.transforms import SampleAVAFrames

    table = folder / 'ava_train_v2.2.csv'
    options = AvaOptions(fps=30)
    conversion = convert(table, [], Hints(sizes=SIZES), options)
    (sit, eat) = sorted(conversion.annotation.tubes['-5KQ66BBWC4'], key=lambda tube: tube.label)
    assert sit.frames.tolist() == eat.frames.tolist() == [61, 91, 26941]
    assert sit.boxes[0].tolist() == [100, 20, 299, 179]
    assert conversion.kind == "AVA's csv, seconds from 900"
    dataset = AVADataset(
        str(table), [], label_file=str(folder / 'ava_action_list_v2.2.pbtxt'), num_classes=3,
        custom_classes=[1, 2], data_prefix=dict(img='frames'), start_index=0,
    )  # fmt: skip
    for number, frame in enumerate([61, 91, 26941]):
        sampled = SampleAVAFrames(1, 1, test_mode=True).transform(dataset.get_data_info(number))
        assert sampled['frame_inds'].tolist() == [frame - 1]


@pytest.mark.parametrize(
    ('fps', 'start', 'time', 'frame'),
    [(30, 900, '0902', 61), (25, 900, '902', 51), (30, 0, '0', 1), (23.976, 900, '1000', 2399),
     (29.97, 0, '902.5', 27049)],
)  # fmt: skip
def test_a_second_is_a_frame(fps, start, time, frame):
    assert Clock(True, start, any_fps=fps).frame(time, 'a') == frame
    assert Clock(True, start, {'a': fps}).frame(time, 'a') == frame


def rows(*times: str) -> list[Row]:
    return [Row(n, 'a', time, [], 0, 0) for n, time in enumerate(times)]


def test_what_timestamps_count_is_found_or_asked():
    padded = rows('0902', '1798')
    assert find_clock(padded, None, None, None, 'x').seconds
    assert find_clock(padded, None, None, None, 'x').start == 900
    assert not find_clock(padded, 'frames', None, None, 'x').seconds
    assert not find_clock(rows('1', '37', '950'), None, None, None, 'x').seconds
    with pytest.raises(
        AnnotationError, match=r'x: timestamps 902 to 1798 look like .*--timestamps'
    ):
        find_clock(rows('902', '1798'), None, None, None, 'x')
    whole = find_clock(rows('5', '80'), None, None, 30, 'x')
    assert (whole.seconds, whole.start) == (True, 0)
    assert find_clock(rows('902'), 'seconds', 890, 30, 'x').start == 890


def test_seconds_without_a_frame_rate_are_asked_for(folder):
    with pytest.raises(
        AnnotationError, match=r"line 1: the frame rate of video '-5KQ66BBWC4'.*--fps"
    ):
        convert(folder / 'ava_train_v2.2.csv', [], Hints(sizes=SIZES))


def test_the_lists_of_a_folder_are_its_splits(folder):
    sizes = {**SIZES, 'other': (10, 10)}
    conversion = convert(folder, [], Hints(sizes=sizes, fps={'-5KQ66BBWC4': 30, 'other': 25}))
    assert conversion.annotation.splits == {'train': ['-5KQ66BBWC4'], 'val': ['other']}
    assert conversion.annotation.tubes['other'][0].frames.tolist() == [101]
    (folder / 'ava_train_v2.1.csv').write_text('third.mp4,0902,0,0,1,1,1,0\n')
    with pytest.raises(AnnotationError, match="another csv is of split 'train'"):
        convert(folder, [], Hints(sizes={**sizes, 'third': (9, 9)}), AvaOptions(fps=30))


@pytest.mark.parametrize(
    ('name', 'split'),
    [('ava_train_v2.1.csv', 'train'), ('ava_val_v2.2.csv', 'val'), ('ucfsports_test.txt', 'test'),
     ('ucf101_24_split1_train.txt', 'train'), ('test01.txt', 'test01'), ('x_old.txt', 'old'),
     ('Train-list.txt', 'Train'), ('mine.txt', 'mine'), ('jhmdb_train2.txt', 'train2'),
     ('ava_train_val.csv', 'train_val')],
)  # fmt: skip
def test_the_split_that_a_name_says(name, split):
    assert split_of_file(Path('some_test_folder') / name) == split


ODD = {
    'pixels': ('a.mp4,1,100,20,300,180,1,0\n', 'line 1: box 100 20 300 180 is not in fractions'),
    'half a label': ('a.mp4,1,0,0,1,1,1.6,0\n', "line 1: label is '1.6', no whole number"),
    'half an entity': ('a.mp4,1,0,0,1,1,1,0.5\n', "line 1: entity is '0.5', no whole number"),
    'half a frame': ('a.mp4,1.5,0,0,1,1,1,0\n', "line 1: the frame is '1.5', no whole number"),
    'frame 0': ('a.mp4,0,0,0,1,1,1,0\n', 'line 1: frame 0, frames are counted from 1'),
    'no number': ('a.mp4,1,0,0,nan,1,1,0\n', 'line 1: a coordinate is not finite'),
    'one name': ('a.mp4,1,0,0,1,1,1,0\na.avi,1,0,0,1,1,1,0\n', "both video 'a'; rename one"),
    'header': ('video,frame,x1,y1,x2,y2,label,entity\n', 'line 1: .*label'),
}


@pytest.mark.parametrize('case', ODD)
def test_lines_that_are_wrong_name_file_and_line(tmp_path, case):
    text, message = ODD[case]
    (tmp_path / 'x_train.csv').write_text(text)
    (tmp_path / 'x_action_list.pbtxt').write_text(LABELS)
    with pytest.raises(AnnotationError, match=f'x_train.csv.*{message}'):
        convert(tmp_path / 'x_train.csv', [], Hints(sizes={'a': (400, 200)}))


def test_what_can_be_left_out_is_noted_and_the_rest_is_read(tmp_path):
    (tmp_path / 'x_train.csv').write_text(
        '\ufeffa.mp4,1,0.25,0.1,0.75,0.9,1,0\na.mp4,2,0.25,0.1,0.25,0.9,1,0\n'
        'a.mp4,3,0.25,0.1,0.75,0.9,2,0\na.mp4,4,0.25,0.1,0.75,0.9,7,0\na.mp4,5,,,,,,\n'
        'a.mp4,6,0.25,0.1,0.25,0.9,2,9\n',
        encoding='utf-8',
    )
    (tmp_path / 'x_action_list.pbtxt').write_text(LABELS)
    hints = Hints(sizes={'a': (400, 200)})
    conversion = convert(tmp_path / 'x_train.csv', [], hints)
    found = [(t.label, t.frames.tolist()) for t in conversion.annotation.tubes['a']]
    assert sorted(found) == [('eat', [3]), ('sit', [1])]
    texts = '\n'.join(map(str, conversion.problems))
    assert 'frame 2: box 0.25 0.1 0.25 0.9 is degenerate: 0 x 160 pixels; left out' in texts
    assert '1 boxes of class 7, which the label map lacks; left out' in texts
    assert '1 lines of x_train.csv have no box; left out' in texts
    assert conversion.counted == {'a'}
    with pytest.raises(AnnotationError, match=re.escape('class 7 is not in the label map')):
        from_ava(tmp_path / 'x_train.csv', hints.sizes)


def test_label_maps(tmp_path):
    path = tmp_path / 'map.pbtxt'
    path.write_text(
        '\ufefflabel {\n  label_id: 3\n  name: "bend/bow (at the waist)"\n'
        '  label_type: PERSON_MOVEMENT\n}\nitem { name: "id: 9 {x}" id: 4 }\n',
        encoding='utf-8',
    )
    assert read_label_map(path) == {3: 'bend/bow (at the waist)', 4: 'id: 9 {x}'}
    for text, message in (
        (
            'item { name: "a" id: 1 }\nitem { name: "b" id: 1 }',
            "'b' or its number 1 is there twice",
        ),
        ('item { name: "a" id: 1 }\nitem { name: "a" id: 2 }', 'is there twice'),
        ('item { name: "a" id: 1 }\nitem { name: "b" }', 'no one name and id'),
        ('item { name: "a" id: 1 }\nitem { name: "b" id: 2', 'is not a label map'),
        ('nothing', 'is not a label map'),
    ):
        path.write_text(text)
        with pytest.raises(AnnotationError, match=message):
            read_label_map(path)


def test_sizes_lengths_and_rates_come_from_the_videos(tmp_path, capsys):
    """As MultiSports' csv has it: frames, without sizes."""
    write_video(tmp_path / 'videos' / 'aerobic' / 'v1.mkv', numbered_frames(30, 200, 400))
    (tmp_path / 'multisports_train.csv').write_text('aerobic/v1,3,0.25,0.1,0.75,0.9,1,0\n')
    (tmp_path / 'multisports_action_list.pbtxt').write_text(LABELS)
    prepare = load_tool('data/prepare')
    arguments = ['ava', '--annotations', str(tmp_path / 'multisports_train.csv'),
                 '--frames', str(tmp_path / 'videos'), '--out', str(tmp_path)]  # fmt: skip
    assert prepare.main(arguments) == 0, capsys.readouterr().err
    annotation = load_annotation(tmp_path / 'ava.json')
    video = annotation.videos['aerobic/v1']
    assert (video.path, video.num_frames, video.width, video.height) == (
        'aerobic/v1.mkv', 30, 400, 200,
    )  # fmt: skip
    assert annotation.tubes['aerobic/v1'][0].boxes.tolist() == [[100, 20, 299, 179]]
    assert annotation.splits['train'] == ['aerobic/v1']


def test_clips_that_are_whole_films_are_asked_about(tmp_path, capsys):
    write_video(tmp_path / 'videos' / 'film.mkv', numbered_frames(30, 200, 400))
    (tmp_path / 'ava_train.csv').write_text('film,0900,0.25,0.1,0.75,0.9,1,0\n')
    (tmp_path / 'ava_action_list.pbtxt').write_text(LABELS)
    prepare = load_tool('data/prepare')
    arguments = ['ava', '--annotations', str(tmp_path / 'ava_train.csv'),
                 '--frames', str(tmp_path / 'videos'), '--out', str(tmp_path)]  # fmt: skip
    assert prepare.main([*arguments, '--fps', '0.02']) == 1  # 1500 seconds
    assert "video 'film' lasts 1500 s: give --start 0" in capsys.readouterr().err
    assert prepare.main([*arguments, '--fps', '0.02', '--start', '900']) == 0
    tube = load_annotation(tmp_path / 'ava.json').tubes['film'][0]
    assert tube.frames.tolist() == [1] and np.allclose(tube.boxes, [[100, 20, 299, 179]])
