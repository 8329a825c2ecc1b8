import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.tubes.converters.common import keep_classes, locate_videos
from mmstal_da.tubes.converters.jhmdb import from_annot_mat
from mmstal_da.tubes.converters.ucf101_24 import from_pyannot

PREPARE = Path(__file__).parents[2] / 'tools/data/prepare.py'


@pytest.fixture
def prepare(capsys):
    """Run tools/data/prepare.py: exit code, stdout and stderr."""
    main = runpy.run_path(str(PREPARE))['main']

    def run(*args):
        code = main([str(arg) for arg in args])
        return code, *capsys.readouterr()

    return run


def write_pyannot(path, **tube):
    tube = dict(label=np.uint8(0), sf=np.uint8(254), ef=np.uint16(257), **tube)
    tube.setdefault('boxes', np.array([[200, 100, 100, 139]] * 3, np.uint8))
    other = dict(label=1, sf=0, ef=1, boxes=np.array([[300, 1, 20, 10]], np.uint16))
    raw = {
        'Golf/v_Golf_g01_c01': dict(numf=np.uint16(300), label=0, annotations=[tube]),
        'Run/v_Run_g01_c01': dict(numf=np.uint8(200), label=1, annotations=[other]),
    }
    path.write_bytes(pickle.dumps(raw))
    return path


def test_small_integers_of_pyannot_do_not_wrap(tmp_path):
    annotation = from_pyannot(write_pyannot(tmp_path / 'pyannot.pkl'))
    tube = annotation.tubes['Golf/v_Golf_g01_c01'][0]
    assert tube.frames.tolist() == [255, 256, 257]
    assert tube.boxes[0].tolist() == [200, 100, 299, 238]
    assert annotation.videos['Run/v_Run_g01_c01'].num_frames == 200
    assert annotation.tubes['Run/v_Run_g01_c01'][0].boxes[0].tolist() == [300, 1, 319, 10]


def test_a_pyannot_with_too_few_boxes_is_an_error(tmp_path):
    path = write_pyannot(tmp_path / 'pyannot.pkl', boxes=np.zeros((2, 4), np.uint8))
    with pytest.raises(AnnotationError, match=r'v_Golf_g01_c01.*2 boxes for frames 255 to 257'):
        from_pyannot(path)


def write_jhmdb(path, frames=(2, 1, 1)):
    annot = dict(
        action=np.array(['golf', 'golf', 'walk'], object),
        video_id=np.array(['clip', 'clip', 'clip'], object),
        frame=np.array(frames, np.uint16),
        bound=np.array([[3, 4, 10, 20], [1, 1, 320, 240], [5, 6, 1, 1]], np.float32),
    )
    scipy.io.savemat(path, dict(annot=annot))
    return path


def test_jhmdb_boxes_become_zero_based(tmp_path):
    annotation = from_annot_mat(write_jhmdb(tmp_path / 'annot.mat'))
    assert annotation.classes == ['golf', 'walk']
    tube = annotation.tubes['golf/clip'][0]
    assert tube.frames.tolist() == [1, 2]
    assert tube.boxes.tolist() == [[0, 0, 319, 239], [2, 3, 11, 22]]
    assert annotation.tubes['walk/clip'][0].boxes.tolist() == [[4, 5, 4, 5]]
    with pytest.raises(AnnotationError, match=r"'golf/clip' has boxes at frames \[1, 3\]"):
        from_annot_mat(write_jhmdb(tmp_path / 'annot.mat', (3, 1, 1)))


def test_videos_are_found_at_any_depth_and_extension(tmp_path):
    annotation = from_annot_mat(write_jhmdb(tmp_path / 'annot.mat'))
    for path in ('clips/golf/clip.mp4', 'clips/walk/clip.gif', 'clips/walk/notes.txt'):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    located = locate_videos(annotation, tmp_path)
    assert located.videos['golf/clip'].path == 'clips/golf/clip.mp4'
    assert located.videos['walk/clip'].path == 'clips/walk/clip.gif'
    (tmp_path / 'clips/walk/clip.gif').unlink()
    # golf/clip.mp4 is no substitute: file names are unique within a class only
    located = locate_videos(annotation, tmp_path, only_present=True)
    assert list(located.videos) == list(located.tubes) == ['golf/clip']


def test_missing_and_ambiguous_videos(tmp_path):
    annotation = from_pyannot(write_pyannot(tmp_path / 'pyannot.pkl'))
    with pytest.raises(AnnotationError, match='holds none'):
        locate_videos(annotation, tmp_path)
    (tmp_path / 'v_Golf_g01_c01.avi').touch()
    with pytest.raises(AnnotationError, match=r'lacks 1 of 2.*Run/v_Run_g01_c01.*--only-present'):
        locate_videos(annotation, tmp_path)
    assert list(locate_videos(annotation, tmp_path, True).videos) == ['Golf/v_Golf_g01_c01']
    for folder in ('x/Golf', 'y/Golf'):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / 'v_Golf_g01_c01.mp4').touch()
    with pytest.raises(AnnotationError, match="several files for video 'Golf/v_Golf_g01_c01'"):
        locate_videos(annotation, tmp_path, True)


def test_classes_that_are_kept(tmp_path):
    annotation = from_pyannot(write_pyannot(tmp_path / 'pyannot.pkl'))
    annotation.splits['train'] = list(annotation.videos)
    kept = keep_classes(annotation, ['Run'])
    assert kept.classes == ['Run']
    assert list(kept.videos) == kept.splits['train'] == list(kept.tubes) == ['Run/v_Run_g01_c01']
    with pytest.raises(AnnotationError, match=r"no class \['Rum'\]"):
        keep_classes(annotation, ['Rum'])


def test_the_tool_writes_a_file_that_loads_or_nothing(tmp_path, prepare):
    source = write_pyannot(tmp_path / 'pyannot.pkl')
    (tmp_path / 'toy_train.txt').write_text('Golf/v_Golf_g01_c01\n')
    (tmp_path / 'toy_test.txt').write_text('Run/v_Run_g01_c01.avi\n')
    splits = tmp_path / 'toy_train.txt', f'held_out={tmp_path / "toy_test.txt"}'
    code, out, err = prepare(
        'ucf101_24', '--annotations', source, '--splits', *splits, '--out', tmp_path / 'out'
    )
    assert code == 0, err
    assert 'train: 1 videos, 1 tubes, 3 boxes\n' in out
    assert 'all: 2 videos, 2 tubes, 4 boxes\n' in out
    annotation = load_annotation(tmp_path / 'out/ucf101_24.json')
    assert annotation.splits['held_out'] == ['Run/v_Run_g01_c01']

    (tmp_path / 'toy_train.txt').write_text('Golf/v_Golf_g09_c09\n')
    code, _, err = prepare(
        'ucf101_24', '--annotations', source, '--splits', splits[0], '--out', tmp_path / 'x.json'
    )
    assert code == 1
    assert 'toy_train.txt lists 1 videos that the annotation lacks' in err
    assert not (tmp_path / 'x.json').exists()


@pytest.mark.slow
def test_real_jhmdb(test_data, tmp_path, prepare):
    folder = test_data / 'jhmdb'
    code, _, err = prepare(
        'jhmdb', '--annotations', folder / 'jhmdb_annot.mat', '--frames', folder / 'clips',
        '--splits', *(folder / f'jhmdb_split1_{part}.txt' for part in ('train', 'test')),
        '--classes', 'golf', 'walk', 'shoot_ball', '--out', tmp_path,
    )  # fmt: skip
    assert code == 0, err
    annotation = load_annotation(tmp_path / 'jhmdb.json')
    assert annotation.classes == ['golf', 'shoot_ball', 'walk']
    assert [len(annotation.split(part)) for part in ('train', 'test')] == [88, 35]
    everything = from_annot_mat(folder / 'jhmdb_annot.mat')
    assert len(everything.videos) == 928
    assert sum(len(tubes[0].frames) for tubes in everything.tubes.values()) == 31838
    assert len(everything.classes) == 21


@pytest.mark.slow
def test_real_jhmdb_boxes_bound_their_masks(test_data):
    annotation = from_annot_mat(test_data / 'jhmdb/jhmdb_annot.mat')
    masks = sorted((test_data / 'jhmdb/puppet_mask').glob('*/*.mat'))[::20]
    assert len(masks) >= 5
    for path in masks:
        mask = scipy.io.loadmat(path)['part_mask']  # (H, W, N)
        tube = annotation.tubes[f'{path.parent.name}/{path.stem}'][0]
        for frame, box in zip(tube.frames, tube.boxes, strict=True):
            ys, xs = np.nonzero(mask[:, :, frame - 1])
            assert box.tolist() == [xs.min(), ys.min(), xs.max(), ys.max()], (path, frame)


@pytest.mark.slow
def test_real_ucf101_24(test_data, tmp_path):
    annotation = from_pyannot(test_data / 'ucf101_24/pyannot.pkl')
    assert len(annotation.videos) == 3194
    tubes = [tube for items in annotation.tubes.values() for tube in items]
    assert len(tubes) == 4458
    assert len(annotation.classes) == 24
    boxes = np.concatenate([tube.boxes for tube in tubes])
    assert len(boxes) == 573862
    assert (boxes >= 0).all()
    assert (boxes <= [319, 239, 319, 239]).all()
    located = locate_videos(annotation, test_data / 'ucf101_24/videos', only_present=True)
    assert len(located.videos) == 17
    assert located.videos['Skiing/v_Skiing_g24_c01'].path == 'v_Skiing_g24_c01.gif'
