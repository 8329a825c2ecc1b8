"""From a checkpoint to corrected labels (CVAT, COCO) to a training on them."""

import json
import re

import numpy as np
import pytest
from mmengine.config import Config

from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.tubes.converters.act import from_act
from mmstal_da.tubes.converters.coco_video import from_coco_video
from mmstal_da.tubes.converters.cvat import from_cvat
from tests.load_tool import load_tool, run_tool
from tests.model_builders import CONFIGS, FROM_RANDOM_WEIGHTS, TINY
from tests.test_apis.test_inferencer import CLASSES, case  # noqa: F401

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def found(case, tmp_path_factory):  # noqa: F811
    """What infer.py writes of one video, every tube shown."""
    folder, checkpoint, *_ = case
    (video,) = folder.rglob('a.mkv')
    out = tmp_path_factory.mktemp('found')
    flags = ['--out', str(out), '--device', 'cpu', '--score-thr', '0', '--min-length', '2']
    assert load_tool('infer').main([str(checkpoint), str(video), '--no-video', *flags]) == 0
    return out / 'a', video


def test_all_formats_hold_the_same_tubes(found):
    folder, _ = found
    expected = load_annotation(folder / 'tubes.json')
    assert expected.tubes['a']
    for read, name in (
        (from_act, 'tubes_act.pkl'),
        (from_cvat, 'cvat.xml'),
        (from_coco_video, 'coco.json'),
    ):
        annotation = read(folder / name)
        assert annotation.tubes == expected.tubes, name
        assert annotation.videos['a'].num_frames == 20


def correct_cvat(text: str, wrong: str, right: str) -> str:
    """A person gives the first track another class."""
    corrected, count = re.subn(
        f'(<track id="0" [^>]*label=)"{wrong}"', rf'\1"{right}"', text, count=1
    )
    assert count == 1
    return corrected


def correct_coco(text: str, wrong: str, right: str) -> str:
    """The same in COCO's file: all boxes of the first track."""
    coco = json.loads(text)
    category = {item['name']: item['id'] for item in coco['categories']}
    track = coco['annotations'][0]['track_id']
    for item in coco['annotations']:
        if item['track_id'] == track:
            assert item['category_id'] == category[wrong]
            item['category_id'] = category[right]
    return json.dumps(coco)


@pytest.mark.parametrize(
    ('kind', 'name', 'correct'),
    [('cvat', 'cvat.xml', correct_cvat), ('coco_video', 'coco.json', correct_coco)],
)
def test_a_corrected_result_is_what_is_trained_on(found, tmp_path, kind, name, correct):
    folder, video = found
    before = load_annotation(folder / 'tubes.json').tubes['a']
    wrong = before[0].label
    right = next(label for label in CLASSES if label != wrong)
    (tmp_path / name).write_text(correct((folder / name).read_text(), wrong, right))
    run_tool(
        *('data/prepare', kind, '--annotations', tmp_path / name),
        *('--frames', video.parent, '--out', tmp_path / 'mine.json'),
    )
    after = load_annotation(tmp_path / 'mine.json')
    changed = [
        tube
        for tube in after.tubes['a']
        if tube.label == right and np.array_equal(tube.boxes, before[0].boxes)
    ]
    assert len(changed) == 1
    assert len(after.tubes['a']) == len(before)

    dataset = dict(
        type='ActionTubeDataset', ann_file=str(tmp_path / 'mine.json'), split='all', data_root='',
        data_prefix=str(video.parent), classes=sorted({t.label for t in after.tubes['a']}),
    )  # fmt: skip
    assert len(ActionTubeDataset(**{k: v for k, v in dataset.items() if k != 'type'})) > 0
    config = Config.fromfile(CONFIGS / 'synthetic/source_only.py')
    config.merge_from_dict(
        {f'model.{key}': value for key, value in (TINY | FROM_RANDOM_WEIGHTS).items()}
    )
    config.model.roi_head.bbox_head.num_classes = len(dataset['classes'])
    source = config.train_dataloader.dataset.source
    source.update(dataset)
    config.train_dataloader.dataset.target.update(dict(dataset, labelled=False))
    config.train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
    config.train_cfg.max_iters = 2
    config.dump(tmp_path / 'mine.py')
    run_tool('train', tmp_path / 'mine.py', '--work-dir', tmp_path / 'work', '--no-validate')
    assert (tmp_path / 'work/iter_2.pth').is_file()
    assert json.loads((folder / 'result.json').read_text())['tubes']
