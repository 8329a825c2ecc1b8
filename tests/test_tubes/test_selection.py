import numpy as np
import pytest

from mmstal_da.tubes.annotation import Annotation, Tube, Video
from mmstal_da.tubes.selection import boxes_by_frame, class_labels, select_videos

FILE_CLASSES = ['Diving-Side', 'Golf-Swing-Back', 'Golf-Swing-Side', 'Kicking']
GOLF = {'Golf-Swing-Back': 'GolfSwing', 'Golf-Swing-Side': 'GolfSwing'}


def test_several_classes_may_become_one():
    classes, labels = class_labels(
        FILE_CLASSES, ['GolfSwing', 'Diving'], {**GOLF, 'Diving-Side': 'Diving'}
    )
    assert classes == ['GolfSwing', 'Diving']
    assert labels == {'Golf-Swing-Back': 0, 'Golf-Swing-Side': 0, 'Diving-Side': 1}


def test_without_a_choice_all_classes_stay():
    assert class_labels(FILE_CLASSES, None, None)[0] == FILE_CLASSES
    assert class_labels(FILE_CLASSES, None, GOLF)[0] == ['Diving-Side', 'GolfSwing', 'Kicking']


@pytest.mark.parametrize(
    ('classes', 'class_map', 'message'),
    [
        (['Diving'], {'Diving-Sid': 'Diving'}, r"renames \['Diving-Sid'\].*'Diving-Side' meant"),
        (['Diving'], {'Diving-Side': 'Divin'}, r"maps to \['Divin'\]"),
        (['Kicking', 'Running'], None, r"maps to \['Running'\]"),
        (['Kicking', 'Kicking'], None, 'twice'),
        ([], None, 'empty'),
    ],
)
def test_wrong_names_are_errors(classes, class_map, message):
    with pytest.raises(ValueError, match=message):
        class_labels(FILE_CLASSES, classes, class_map)


def test_videos_are_chosen_by_name():
    videos = {name: Video(name, 5, 8, 8) for name in ('Golf/a', 'Golf/b', 'Dive/c')}
    annotation = Annotation('toy', ['x'], videos, {'train': ['Golf/b', 'Dive/c'], 'test': []})
    assert select_videos(annotation, 'train', None) == ['Golf/b', 'Dive/c']
    assert select_videos(annotation, 'train', ['Golf/*']) == ['Golf/b']
    with pytest.raises(ValueError, match=r"'Gulf/\*' matches no video"):
        select_videos(annotation, 'train', ['Golf/*', 'Gulf/*'])
    with pytest.raises(ValueError, match='list of patterns'):
        select_videos(annotation, 'train', 'Golf/*')


def test_boxes_of_several_tubes_are_sorted_by_frame():
    def tube(label, frames, x):
        return Tube(label, np.array(frames), np.full((len(frames), 4), x, np.float32))

    frames, boxes, labels = boxes_by_frame(
        [tube('a', [2, 3], 1), tube('b', [1, 3], 2), tube('c', [3], 3)], {'a': 5, 'b': 7}
    )
    assert frames.tolist() == [1, 2, 3, 3]
    assert boxes[:, 0].tolist() == [2, 1, 1, 2]
    assert labels.tolist() == [7, 5, 5, 7]
    assert boxes_by_frame([], {})[1].shape == (0, 4)
