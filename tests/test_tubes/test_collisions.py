"""Two things of one name: an error that names both, never the last one."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import Annotation, Tube, Video
from mmstal_da.tubes.converters.act import from_act
from mmstal_da.tubes.converters.coco_video import from_coco_video
from mmstal_da.tubes.converters.frames import named_images
from mmstal_da.tubes.converters.jhmdb import from_annot_mat
from mmstal_da.tubes.converters.puppet_mask import from_puppet_masks
from mmstal_da.tubes.converters.splits import add_split, read_splits
from mmstal_da.tubes.converters.tracks import Hints
from mmstal_da.tubes.converters.ucf101_24 import from_pyannot
from mmstal_da.tubes.converters.via import from_via
from mmstal_da.tubes.integrity import check_classes, similar_names
from tests.faults.sources import SOURCES, toy
from tests.load_tool import load_tool


def changed_json(tmp_path: Path, name: str, change) -> Path:
    SOURCES[name].make(tmp_path)
    path = tmp_path / SOURCES[name].name
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    return path


def changed_pickle(tmp_path: Path, name: str, change) -> Path:
    SOURCES[name].make(tmp_path)
    path = tmp_path / SOURCES[name].name
    raw = pickle.loads(path.read_bytes())
    change(raw)
    path.write_bytes(pickle.dumps(raw, protocol=2))
    return path


@pytest.mark.parametrize('key', ['id', 'name'])
def test_categories(tmp_path, key):
    def change(raw):
        raw['categories'][1][key] = raw['categories'][0][key]

    with pytest.raises(AnnotationError, match=r'coco\.json: "categories" has .* twice'):
        from_coco_video(changed_json(tmp_path, 'coco', change), [])


def test_videos_of_act(tmp_path):
    def change(raw):
        raw['nframes'].update({7: 5, '7': 6})

    with pytest.raises(AnnotationError, match=r"GT\.pkl: two videos are called '7'"):
        from_act(changed_pickle(tmp_path, 'act', change), None, [])


@pytest.mark.parametrize('name', ['Action', 'ACTION!', 'Track-ID', 'tid'])
def test_attributes_of_via(tmp_path, name):
    def change(raw):
        raw['attribute']['9'] = {**raw['attribute']['2'], 'aname': name}

    path = changed_json(tmp_path, 'via3', change)
    with pytest.raises(AnnotationError, match='several attributes'):
        from_via(path, [], Hints(any_fps=25.0))


def test_folders_of_images(tmp_path):
    for copy in ('old', 'new'):
        (tmp_path / copy / 'Diving/001').mkdir(parents=True)
        (tmp_path / copy / 'Diving/001/70001.jpg').touch()
    with pytest.raises(AnnotationError, match=r"both hold images of video 'Diving/001'"):
        named_images(tmp_path)


def test_puppet_masks(tmp_path):
    for copy in 'ab':
        (tmp_path / copy / 'golf').mkdir(parents=True)
        scipy.io.savemat(tmp_path / copy / 'golf/v.mat', {'part_mask': np.ones((4, 4, 2))})
    with pytest.raises(AnnotationError, match=r"another mask of video 'golf/v'"):
        from_puppet_masks(tmp_path)


def test_names_of_classes_that_look_alike():
    names = ['Golf Swing', 'golf_swing', 'Walk', 'Wa1k', 'caf\u00e9', 'cafe\u0301', '+', '-']
    assert similar_names(names) == [('Golf Swing', 'golf_swing'), ('caf\u00e9', 'cafe\u0301')]
    box = np.zeros((1, 4), np.float32)
    tubes = [Tube(label, np.array([1]), box) for label in ('Walk', 'walk')]
    annotation = Annotation(
        'toy', ['Walk', 'walk'], {'a': Video('a.avi', 1)}, {'all': ['a']}, {'a': tubes}
    )
    (complaint,) = check_classes(annotation)
    assert "classes 'Walk' and 'walk' differ only in case" in str(complaint)


def test_lists_of_one_split(tmp_path):
    for name in ('a_train_v1.txt', 'b_train_v2.txt'):
        (tmp_path / name).write_text('run/a\n')
    annotation = toy()
    annotation.splits.clear()
    with pytest.raises(AnnotationError, match=r"b_train_v2\.txt: there is a split 'train' already"):
        read_splits(annotation, [str(tmp_path / n) for n in ('a_train_v1.txt', 'b_train_v2.txt')])


def test_a_list_that_names_a_video_twice(tmp_path):
    (tmp_path / 'x.txt').write_text('run/a.avi\nrun/b\nrun/a.mp4\n')
    with pytest.raises(AnnotationError, match=r"x\.txt: split 'x' names videos twice: \['run/a'\]"):
        add_split(toy(), 'x', tmp_path / 'x.txt')


def test_names_of_other_classes_are_counted(tmp_path):
    (tmp_path / 'x.txt').write_text('run/a\nRowing/v_1 7\nRowing/v_2 7\n')
    annotation, problems = toy(), []
    add_split(annotation, 'x', tmp_path / 'x.txt', problems)
    assert annotation.splits['x'] == ['run/a']
    (text,) = map(str, problems)
    assert 'x.txt lists 2 videos of classes that the annotation lacks; left out' in text


def test_a_byte_order_mark_in_a_list(tmp_path):
    (tmp_path / 'x.txt').write_text('run/a\nrun/b\n', encoding='utf-8-sig')
    annotation = toy()
    add_split(annotation, 'x', tmp_path / 'x.txt')
    assert annotation.splits['x'] == ['run/a', 'run/b']


WHOLE = {
    'label': (lambda item: item.update(label=1.6), r'label is 1\.6, no whole number'),
    'label -1': (lambda item: item.update(label=-1), r"label -1 is not that of 'Golf'"),
    'other label': (lambda item: item.update(label=0), r"label 0 is not that of 'Golf'"),
    'first frame': (lambda item: item.update(sf=1.5), r'sf is 1\.5, no whole number'),
    'last frame': (lambda item: item.update(ef='4'), r"ef is '4', no whole number"),
    'flag': (lambda item: item.update(sf=True), r'sf is True, no whole number'),
    'half boxes': (lambda item: item.update(boxes=item['boxes'] + 0.5), 'is not a whole number'),
    'flat boxes': (lambda item: item.update(boxes=item['boxes'].ravel()), r'boxes are \(n, 4\)'),
}


@pytest.mark.parametrize('case', WHOLE)
def test_numbers_of_pyannot_are_whole(tmp_path, case):
    change, message = WHOLE[case]
    path = changed_pickle(
        tmp_path, 'pyannot', lambda raw: change(raw['Golf/v_Golf_g01_c01']['annotations'][0])
    )
    with pytest.raises(AnnotationError, match=rf'pyannot\.pkl.*{message}'):
        from_pyannot(path, [])


def test_numbers_of_act_are_whole(tmp_path):
    for change, message in (
        (lambda raw: raw['nframes'].update({'run/a': 12.5}), r'nframes of .run/a. is 12\.5'),
        (lambda raw: raw['resolution'].update({'run/a': (48.5, 64)}), r'height is 48\.5'),
        (lambda raw: raw['gttubes']['run/a'].update({1.6: []}), r'a label is 1\.6'),
    ):
        with pytest.raises(AnnotationError, match=rf'GT\.pkl: .*{message}, no whole number'):
            from_act(changed_pickle(tmp_path, 'act', change), None, [])


def test_a_cut_off_mat_is_named(tmp_path):
    for name, read in (('jhmdb_mat', from_annot_mat), ('puppet_mask', from_puppet_masks)):
        folder = tmp_path / name
        folder.mkdir()
        SOURCES[name].make(folder)
        file = folder / SOURCES[name].name
        whole = file.read_bytes()
        for length in range(0, len(whole) - 1, max(len(whole) // 40, 1)):
            file.write_bytes(whole[:length])
            with pytest.raises(AnnotationError, match=file.name):
                read(file if name == 'jhmdb_mat' else folder, [])


def test_duplicates_are_reported_or_merged_by_a_conversion(tmp_path, capsys):
    def change(raw):
        raw['gttubes']['run/a'][0].append(raw['gttubes']['run/a'][0][0].copy())

    path = changed_pickle(tmp_path, 'act', change)
    tool, out = load_tool('data/prepare'), tmp_path / 'o.json'
    arguments = ['act', '--annotations', str(path), '--out', str(out)]
    assert tool.main(arguments) == 0
    printed = capsys.readouterr().out
    assert 'tubes 0 and 1 mark the same boxes; both kept; --merge-duplicates' in printed
    assert '4 tubes' in printed
    assert tool.main([*arguments, '--merge-duplicates']) == 0
    printed = capsys.readouterr().out
    assert '1 tubes mark the same boxes as others of their class; merged' in printed
    assert '3 tubes' in printed
    assert tool.main(['check', str(out), '--frames', str(tmp_path)]) == 1
    assert 'mark the same' not in capsys.readouterr().out
