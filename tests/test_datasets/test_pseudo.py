"""Pseudo-labels as data: what is a key frame, what is ignored, and whose labels they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstal_da.datasets import ActionTubeDataset, DualDomainDataset
from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import Annotation, Tube, load_annotation, save_annotation
from mmstal_da.tubes.evaluated import load_ground_truth
from mmstal_da.tubes.selection import IGNORED, merge_boxes
from mmstal_da.visualization.overlays import ground_truth_overlays
from tests.clips import write_dataset
from tests.load_tool import load_tool

CLIP = [dict(type='SampleKeyFrameClip', clip_len=4), dict(type='DecodeFrames')]
PACK = [dict(type='PackTubeInputs')]
BOX = np.array([4, 6, 19, 29], np.float32)
ORIGIN = dict(checkpoint='x.pth')


def tube(label, first, last, ignored=False, shift=0) -> Tube:
    frames = np.arange(first, last + 1)
    boxes = np.tile(BOX + np.float32([shift, 0, shift, 0]), (len(frames), 1))
    return Tube(label, frames, boxes, ignored)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two videos of 12 frames; the first has pseudo-labels, of both kinds, on 3 to 10."""
    folder = tmp_path_factory.mktemp('pseudo')
    labelled = load_annotation(write_dataset(folder, ['a', 'b'], ['run', 'jump']))
    tubes = {'a': [tube('run', 3, 6), tube('jump', 5, 10, ignored=True, shift=30)]}
    save_annotation(
        Annotation('tiny', ['run', 'jump'], labelled.videos, labelled.splits, tubes, ORIGIN),
        folder / 'pseudo.json',
    )
    return folder


def dataset(folder, pipeline=PACK, file='pseudo.json', **kwargs) -> ActionTubeDataset:
    return ActionTubeDataset(
        str(folder / file), 'train', CLIP + pipeline, data_prefix=str(folder),
        serialize_data=False, **kwargs,
    )  # fmt: skip


def keys(data) -> list[tuple]:
    infos = [data.get_data_info(i) for i in range(len(data))]
    return [(info['video_name'], info['key_frame']) for info in infos]


def test_frames_with_ignored_boxes_alone_are_neither_positive_nor_background(folder):
    data = dataset(folder, background_share=0.4)
    assert data.pseudo and not dataset(folder, file='annotation.json').pseudo
    found = keys(data)
    assert found[:4] == [('a', frame) for frame in range(3, 7)]
    # of the free frames 1, 2, 11, 12 of the video three are taken
    assert len(found) == 7 and {frame for _, frame in found[4:]} <= {1, 2, 11, 12}


def test_ignored_boxes_follow_the_transforms_and_are_packed_apart(folder):
    flip = [dict(type='mmaction.Flip', flip_ratio=1.0)]
    resize = [dict(type='mmaction.Resize', scale=(128, 96), keep_ratio=False)]
    shifted = BOX + [30, 0, 30, 0]
    for index, has in enumerate((False, False, True, True)):
        sample = dataset(folder, resize + flip + PACK)[index]['data_samples']
        # edges doubled, mirrored in 128 columns, and the last pixel, twice as wide, taken off
        for name, (x1, y1, x2, y2) in (('gt', BOX), ('ignored', shifted)):
            if name == 'ignored' and not has:
                assert 'ignored_instances' not in sample
                continue
            boxes = sample.get(f'{name}_instances').bboxes.tolist()
            assert boxes == [[128 - 2 * (x2 + 1), 2 * y1, 128 - 2 * x1 - 2, 2 * y2]]
        assert sample.gt_instances.labels.tolist() == [0]


def test_with_several_classes_and_with_proposals(folder):
    sample = dataset(folder, multi_label=True)[2]['data_samples']
    assert sample.gt_instances.labels.tolist() == [[1, 0]]
    assert len(sample.ignored_instances.bboxes) == 1
    sample = dataset(folder, proposals='ground_truth')[2]['data_samples']
    assert sample.gt_instances.labels.tolist() == [[1, 0]]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([IGNORED, 0, 1])), max_size=6))
def test_a_box_that_is_both_learnt_and_ignored_is_learnt(items):
    boxes = np.array([[10 * place] * 4 for place, _ in items], np.float32).reshape(-1, 4)
    labels = np.array([label for _, label in items], np.int64)
    merged, classes = merge_boxes(boxes, labels, 2)
    for box, row in zip(merged, classes, strict=True):
        known = {label for place, label in items if 10 * place == box[0]} - {IGNORED}
        assert row.tolist() == ([float(c in known) for c in (0, 1)] if known else [IGNORED] * 2)


def test_the_origin_of_labels_decides_what_they_are_used_for(folder):
    def side(file, **kwargs):
        return dict(
            type='ActionTubeDataset', ann_file=str(folder / file), split='train',
            data_prefix=str(folder), pipeline=CLIP + PACK, serialize_data=False, **kwargs,
        )  # fmt: skip

    source = side('annotation.json')
    pair = DualDomainDataset(source, side('pseudo.json', labelled=False), 'source_and_pseudo')
    item = pair[0]
    assert set(item) == {'source', 'pseudo_target'}
    assert item['pseudo_target']['data_samples'].domain == 0
    with pytest.raises(AnnotationError, match="a person labelled.*'source_and_labelled_target'"):
        DualDomainDataset(source, side('annotation.json'), 'source_and_pseudo')
    for bound in ('labelled_target', 'source_and_labelled_target'):
        with pytest.raises(AnnotationError, match="a model found these.*'source_and_pseudo'"):
            DualDomainDataset(source, side('pseudo.json', lazy_init=True), bound)
    # unlabelled, it is the same target as any
    assert set(DualDomainDataset(source, side('pseudo.json'), 'both')[0]) == {'source', 'target'}
    with pytest.raises(AnnotationError, match='pseudo.json holds pseudo-labels'):
        load_ground_truth(folder / 'pseudo.json', 'train')


def test_the_file_keeps_what_is_ignored(folder, tmp_path):
    read = load_annotation(folder / 'pseudo.json')
    assert read.pseudo == ORIGIN and [t.ignored for t in read.tubes['a']] == [False, True]
    assert tube('run', 3, 6) == read.tubes['a'][0] != tube('run', 3, 6, ignored=True)
    save_annotation(read, tmp_path / 'again.json')
    assert (tmp_path / 'again.json').read_bytes() == (folder / 'pseudo.json').read_bytes()
    read.pseudo = None
    with pytest.raises(AnnotationError, match=r'tube 1: "ignored" is for pseudo-labels'):
        save_annotation(read, tmp_path / 'no.json')
    text = (folder / 'pseudo.json').read_text().replace('"ignored":true', '"ignored":1')
    (tmp_path / 'bad.json').write_text(text)
    with pytest.raises(AnnotationError, match='"ignored" is a bool, not int'):
        load_annotation(tmp_path / 'bad.json')
    shown = ground_truth_overlays(read.tubes['a'])
    assert [item.label for item in shown[5]] == ['run', 'jump (ignored)']


def test_what_a_person_gets_and_gives_back_is_a_persons(folder, tmp_path, capsys):
    """Export leaves out what is ignored; the file that is read back has the labels of a person."""
    prepare = load_tool('data/prepare').main
    exported, out = str(tmp_path / 'coco.json'), tmp_path / 'corrected'
    assert prepare(['export', 'coco_video', str(folder / 'pseudo.json'), '--out', exported]) == 0
    assert 'left out: 1 tubes that are ignored' in capsys.readouterr().out
    assert prepare(['coco_video', '--annotations', exported, '--out', str(out)]) == 0
    (file,) = out.glob('*.json') if out.is_dir() else [out]
    corrected = load_annotation(file)
    assert corrected.pseudo is None and len(corrected.tubes['a']) == 1
    np.testing.assert_allclose(corrected.tubes['a'][0].boxes, tube('run', 3, 6).boxes)
