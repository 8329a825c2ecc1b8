"""The original THUMOS annotations: hand-written ViPER files, and what they mean."""

import numpy as np
import pytest

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import save_annotation
from mmstal_da.tubes.converters.sources import read_source
from mmstal_da.tubes.converters.stats import statistics
from mmstal_da.tubes.converters.viper import from_xgtf

# as ViPER-GT writes it: a description of the attributes, then the data
FILE = """<?xml version="1.0" encoding="UTF-8"?>
<viper xmlns="http://lamp.cfar.umd.edu/viper#" xmlns:data="http://lamp.cfar.umd.edu/viperdata#">
 <config>
  <descriptor name="Information" type="FILE">
   <attribute dynamic="false" name="NUMFRAMES" type="http://lamp.cfar.umd.edu/viperdata#dvalue"/>
  </descriptor>
  <descriptor name="PERSON" type="OBJECT">
   <attribute dynamic="true" name="Location" type="http://lamp.cfar.umd.edu/viperdata#bbox"/>
   <attribute dynamic="true" name="Diving" type="http://lamp.cfar.umd.edu/viperdata#bvalue"/>
  </descriptor>
 </config>
 <data>
  <sourcefile filename="file:/C:/other.avi"/>
  <sourcefile filename="file:/C:/v_Diving_g01_c01.avi">
   <file id="0" name="Information">
    <attribute name="SOURCETYPE"/>
    {info}
   </file>
   {objects}
  </sourcefile>
 </data>
</viper>
"""
INFO = (
    '<attribute name="NUMFRAMES"><data:dvalue value="60"/></attribute>'
    '<attribute name="H-FRAME-SIZE"><data:dvalue value="320"/></attribute>'
    '<attribute name="V-FRAME-SIZE"><data:dvalue value="240"/></attribute>'
)


def actor(boxes: list[tuple], acts: list[tuple] | None = None, number: int = 0) -> str:
    """``boxes``: span, x, y, width, height; ``acts``: span and value of the action."""
    lines = [
        f'<data:bbox framespan="{span}" height="{h}" width="{w}" x="{x}" y="{y}"/>'
        for span, x, y, w, h in boxes
    ]
    action = [f'<data:bvalue framespan="{span}" value="{value}"/>' for span, value in acts or ()]
    return (
        f'<object framespan="1:60" id="{number}" name="PERSON">'
        f'<attribute name="Location">{"".join(lines)}</attribute>'
        + (f'<attribute name="Diving">{"".join(action)}</attribute>' if acts else '')
        + '</object>'
    )


def write(folder, *actors: str, info: str = INFO, name: str = 'Diving/v_Diving_g01_c01'):
    path = folder / 'UCF101_24_Annotations' / f'{name}.xgtf'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FILE.format(info=info, objects=''.join(actors)))
    return path


def read(folder):
    conversion = read_source('ucf101_24', folder)
    return conversion.annotation, conversion.problems


def test_spans_are_one_based_and_inclusive(tmp_path):
    write(tmp_path, actor([('3:4', 10, 20, 30, 40), ('5:5', 11, 20, 30, 40)], [('1:60', 'true')]))
    annotation, problems = read(tmp_path)
    assert problems == []
    (tube,) = annotation.tubes['Diving/v_Diving_g01_c01']
    assert tube.label == 'Diving'
    assert tube.frames.tolist() == [3, 4, 5]
    # 0-based pixels; the last of 30 pixels that begin at 10 is 39
    assert tube.boxes.tolist() == [[10, 20, 39, 59], [10, 20, 39, 59], [11, 20, 40, 59]]
    video = annotation.videos['Diving/v_Diving_g01_c01']
    assert (video.path, video.num_frames) == ('Diving/v_Diving_g01_c01.avi', 60)
    assert (video.width, video.height) == (320, 240)


def test_every_run_of_the_action_is_a_tube(tmp_path):
    boxes = [(f'{frame}:{frame}', frame, 1, 10, 10) for frame in range(1, 31)]
    del boxes[24]  # frame 25 has no box: the run ends there
    acts = [('1:4', 'false'), ('5:8', 'true'), ('9:11', 'false'), ('12:14 20:28', 'true')]
    write(tmp_path, actor(boxes, acts), actor(boxes[:3], None, 1))
    annotation, _ = read(tmp_path)
    tubes = annotation.tubes['Diving/v_Diving_g01_c01']
    spans = [(int(tube.frames[0]), int(tube.frames[-1])) for tube in tubes]
    assert spans == [(5, 8), (12, 14), (20, 24), (26, 28), (1, 3)]
    for tube in tubes:  # brute force: the box of a frame begins at its number
        assert np.array_equal(tube.boxes[:, 0], tube.frames)


def test_boxes_beyond_the_frame_are_cut_and_noted(tmp_path):
    boxes = [
        ('1:1', -5, 10, 20, 20),  # sticks out on the left
        ('2:2', 310, 230, 20, 20),  # and at the lower right
        ('3:3', 320, 10, 20, 20),  # begins beyond the last pixel
        ('4:4', -20, 10, 20, 20),  # ends before the first
        ('5:5', 10, 10, 0, 20),
        ('6:6', 300, 220, 20, 20),  # ends with the last pixel
    ]
    write(tmp_path, actor(boxes))
    conversion = read_source('ucf101_24', tmp_path)
    (tube,) = conversion.annotation.tubes['Diving/v_Diving_g01_c01']
    assert tube.frames.tolist() == [1, 2, 6]
    assert tube.boxes.tolist() == [[0, 10, 14, 29], [310, 230, 319, 239], [300, 220, 319, 239]]
    left_out = [(p.frame, p.box) for p in conversion.problems if p.boxes]
    assert left_out == [(3, (320, 10, 20, 20)), (4, (-20, 10, 20, 20)), (5, (10, 10, 0, 20))]
    assert [str(p) for p in conversion.problems if not p.boxes] == [
        "video 'Diving/v_Diving_g01_c01', frame 1: 2 boxes stick out of 320 x 240 pixels;"
        ' cut at the border'
    ]
    counts = statistics(conversion)
    assert (counts['boxes'], counts['boxes_written']) == (6, 3)
    save_annotation(conversion.annotation, tmp_path / 'out.json')  # validates


def test_what_is_wrong_is_noted_and_the_rest_converted(tmp_path):
    box = ('1:70', 1, 1, 10, 10)
    write(tmp_path, actor([box]))  # boxes beyond NUMFRAMES
    write(tmp_path, actor([box], [('1:9', 'false')]), info='', name='Diving/v_Diving_g01_c02')
    path = write(tmp_path, name='Diving/v_Diving_g01_c03')
    path.write_text(path.read_text()[:-40])
    write(tmp_path, actor([('5:3', 1, 1, 2, 2)]), name='Diving/v_Diving_g01_c04')
    write(tmp_path, actor([box]), info='', name='RopeClimbing/v_RopeClimbing_g02_C01')
    annotation, problems = read(tmp_path)
    texts = '\n'.join(map(str, problems))
    assert 'boxes up to frame 70, NUMFRAMES is 60; num_frames is 70' in texts
    assert "'Diving/v_Diving_g01_c02': actor 0 never acts; left out" in texts
    assert 'v_Diving_g01_c03.xgtf is not readable' in texts
    assert "framespan '5:3' of <bbox>: frames count from 1, ascending" in texts
    assert list(annotation.videos) == [
        'Diving/v_Diving_g01_c01', 'Diving/v_Diving_g01_c02', 'RopeClimbing/v_RopeClimbing_g02_c01',
    ]  # fmt: skip
    assert list(annotation.tubes) == [
        'Diving/v_Diving_g01_c01', 'RopeClimbing/v_RopeClimbing_g02_c01'
    ]  # fmt: skip
    assert annotation.videos['Diving/v_Diving_g01_c01'].num_frames == 70
    with pytest.raises(AnnotationError, match='NUMFRAMES is 60'):
        from_xgtf(tmp_path)  # without a list of problems the first one is an error


def test_actors_without_a_box_or_described_twice(tmp_path):
    first, again = actor([('1:2', 1, 1, 10, 10)]), actor([('3:4', 5, 5, 10, 10)])
    write(tmp_path, first, again, actor([], None, 1))
    annotation, problems = read(tmp_path)
    (tube,) = annotation.tubes['Diving/v_Diving_g01_c01']
    assert tube.frames.tolist() == [1, 2]
    assert [str(problem).split(': ')[1] for problem in problems] == [
        'actor 0 is described twice; the first description kept',
        'actor 1 has no box; left out',
    ]


def test_a_video_of_unknown_length_is_marked(tmp_path):
    write(tmp_path, actor([('2:7', 1, 1, 10, 10)]), info='')
    conversion = read_source('ucf101_24', tmp_path)
    assert conversion.annotation.videos['Diving/v_Diving_g01_c01'].num_frames == 7
    assert conversion.counted == {'Diving/v_Diving_g01_c01'}


def test_folders_that_hold_no_such_files(tmp_path):
    with pytest.raises(AnnotationError, match='pyannot.pkl, a ground-truth pickle .* .xgtf files'):
        read_source('ucf101_24', tmp_path)
    write(tmp_path, actor([('1:1', 1, 1, 9, 9)]), name='Biking/v_Diving_g01_c01')
    with pytest.raises(AnnotationError, match='the folder names the class'):
        read_source('ucf101_24', tmp_path)
