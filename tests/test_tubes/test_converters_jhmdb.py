"""JHMDB's official release: puppet masks and split files."""

import numpy as np
import pytest
import scipy.io

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import Annotation, Video
from mmstal_da.tubes.converters.jhmdb import from_annot_mat
from mmstal_da.tubes.converters.puppet_mask import bounding_boxes, from_puppet_masks
from mmstal_da.tubes.converters.sources import read_source
from mmstal_da.tubes.converters.splits import read_splits
from mmstal_da.tubes.converters.stats import statistics


def blob(rng, height=24, width=32, frames=5):
    """Random masks, and their bounding rectangles pixel by pixel."""
    mask = (rng.random((height, width, frames)) < 0.01).astype(np.uint8) * 3
    mask[:, :, 2] = 0
    expected = {}
    for frame in range(frames):
        pixels = [(x, y) for y in range(height) for x in range(width) if mask[y, x, frame]]
        if pixels:
            xs, ys = zip(*pixels, strict=True)
            expected[frame + 1] = [min(xs), min(ys), max(xs), max(ys)]
    return mask, expected


@pytest.mark.parametrize('seed', range(5))
def test_boxes_bound_the_masks(seed):
    mask, expected = blob(np.random.default_rng(seed))
    frames, boxes = bounding_boxes(mask)
    assert frames.tolist() == list(expected)
    assert boxes.tolist() == list(expected.values())


def test_the_official_tree_and_its_copies(tmp_path):
    mask, expected = blob(np.random.default_rng(0))
    for path in ('golf/clip_a/puppet_mask.mat', 'walk/clip.b_0.mat'):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(tmp_path / path, dict(part_mask=mask))
    conversion = read_source('jhmdb', tmp_path)
    annotation = conversion.annotation
    assert annotation.classes == ['golf', 'walk']
    assert list(annotation.videos) == ['golf/clip_a', 'walk/clip.b_0']
    assert annotation.videos['golf/clip_a'] == Video('golf/clip_a.avi', 5, 32, 24, fps=30.0)
    (tube,) = annotation.tubes['walk/clip.b_0']
    assert tube.frames.tolist() == list(expected)
    assert 3 not in expected
    assert "video 'golf/clip_a', frame 3: the mask is empty" in str(conversion.problems[0])
    assert statistics(conversion)['boxes'] == 10
    with pytest.raises(AnnotationError, match='mask is empty'):
        from_puppet_masks(tmp_path)
    scipy.io.savemat(tmp_path / 'walk/clip.mat', dict(other=mask))
    with pytest.raises(AnnotationError, match=r'clip\.mat is not a puppet mask with part_mask'):
        from_puppet_masks(tmp_path, [])


@pytest.mark.slow
def test_real_masks_agree_with_the_boxes(test_data):
    """All masks that are available: two independent public files of the same boxes."""
    boxes = from_annot_mat(test_data / 'jhmdb/jhmdb_annot.mat')
    masks = from_puppet_masks(test_data / 'jhmdb/puppet_mask')
    assert len(masks.videos) == 123
    for name, tubes in masks.tubes.items():
        assert tubes == boxes.tubes[name], name
        assert masks.videos[name] == boxes.videos[name]


def official(folder, classes=('golf', 'walk'), numbers=(1, 2)):
    """Split files for clips 0 to 4: in split k clip k is unused, the one after it tested."""
    folder.mkdir(exist_ok=True)
    for label in classes:
        for k in numbers:
            parts = {k: 0, (k + 1) % 5: 2}
            lines = [f'clip_{i}.avi {parts.get(i, 1)}' for i in range(5)]
            (folder / f'{label}_test_split{k}.txt').write_text('\n'.join(lines) + '\n')
    return folder


def five_clips():
    names = [f'{label}/clip_{i}' for label in ('golf', 'walk') for i in range(5)]
    return Annotation('jhmdb', ['golf', 'walk'], {n: Video(f'{n}.avi', 9) for n in names})


def test_official_split_files(tmp_path):
    annotation = five_clips()
    read_splits(annotation, [str(official(tmp_path / 'splits'))])
    assert {name: [v[-1] for v in names] for name, names in annotation.splits.items()} == {
        'train': ['0', '3', '4'] * 2, 'test': ['2'] * 2,
        'train2': ['0', '1', '4'] * 2, 'test2': ['3'] * 2,
    }  # fmt: skip
    assert annotation.splits['test'] == ['golf/clip_2', 'walk/clip_2']
    files = [str(path) for path in sorted((tmp_path / 'splits').glob('*split1.txt'))]
    read_splits(again := five_clips(), files)
    assert again.splits == {name: annotation.splits[name] for name in ('train', 'test')}


def test_split_files_that_are_wrong(tmp_path):
    folder = official(tmp_path / 'splits', ('golf',), (1,))
    file = folder / 'golf_test_split1.txt'
    with pytest.raises(AnnotationError, match='names its split itself'):
        read_splits(five_clips(), [f'mine={file}'])
    with pytest.raises(AnnotationError, match="there is a split 'test' already"):
        read_splits(annotation := five_clips(), [str(file)])
        (tmp_path / 'a_test.txt').write_text('golf/clip_1\n')
        read_splits(annotation, [str(tmp_path / 'a_test.txt')])
    file.write_text('clip_0.avi 3\n')
    with pytest.raises(AnnotationError, match=r"'clip_0.avi 3' is not \"video.avi N\""):
        read_splits(five_clips(), [str(file)])
    file.write_text('clip_0.avi 1\nclip_9.avi 2\n')
    problems = []
    read_splits(annotation := five_clips(), [str(file)], problems)
    assert annotation.splits == {'train': ['golf/clip_0']}
    assert "'golf/clip_9': golf_test_split1.txt lists it" in str(problems[0])
    with pytest.raises(AnnotationError, match='clip_9'):
        read_splits(five_clips(), [str(file)])
    with pytest.raises(AnnotationError, match='holds no <class>_test_split'):
        read_splits(five_clips(), [str(tmp_path)])


def test_lists_of_ucf101_cover_more_classes(tmp_path):
    path = tmp_path / 'trainlist01.txt'
    path.write_text('Archery/v_Archery_g01_c01.avi 3\ngolf/clip_3.avi 7\ngolf/clip_1.avi 7\n')
    read_splits(annotation := five_clips(), [f'train={path}'])
    assert annotation.splits == {'train': ['golf/clip_3', 'golf/clip_1']}


@pytest.mark.slow
def test_real_lists(test_data):
    annotation = from_annot_mat(test_data / 'jhmdb/jhmdb_annot.mat')
    folder = test_data / 'jhmdb'
    read_splits(annotation, [str(folder / f'jhmdb_split1_{p}.txt') for p in ('train', 'test')])
    assert {name: len(names) for name, names in annotation.splits.items()} == {
        'train': 660, 'test': 268,
    }  # fmt: skip
