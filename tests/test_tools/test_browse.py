"""What browse.py shows is what the model gets: pixels, flips and boxes; no boxes on the target."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmstal_da.register import register_all_modules
from mmstal_da.video.reader import count_frames
from tests.clips import write_dataset
from tests.load_tool import load_tool

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ['golf', 'walk']
CONFIG = """
_base_ = '{root}/configs/synthetic/{row}.py'
classes = {classes}
resize = dict(type='mmaction.Resize', scale=(-1, 96), keep_ratio=True)  # twice as large
train = [_base_.clip, dict(type='DecodeFrames'), resize, *_base_.train_pipeline[2:]]
test = [_base_.clip, dict(type='DecodeFrames'), resize, dict(type='PackTubeInputs')]
source = dict(data_root='{folder}/source/', ann_file='annotation.json', classes=classes,
              pipeline=train)
target = dict(data_root='{folder}/target/', ann_file='annotation.json', classes=classes,
              pipeline=train)
train_dataloader = dict(batch_size=2, dataset=dict({train}))
test_dataloader = dict(dataset=dict(data_root='{folder}/source/', ann_file='annotation.json',
                                    split='train', classes=classes, pipeline=test,
                                    background_frames=False))
val_dataloader = None
"""
TRAIN = {
    'full': 'source=source, target=target',
    'source_only': "source=source, target=target, train_on='source'",
    'oracle': "source=source, target=target, train_on='labelled_target'",
}


@pytest.fixture(scope='module')
def tool():
    return load_tool('data/browse')


@pytest.fixture(scope='module')
def configs(tmp_path_factory) -> dict[str, str]:
    """Config files on two sets of clips of one red actor each."""
    folder = tmp_path_factory.mktemp('pair')
    for seed, domain in enumerate(('source', 'target')):
        names = [f'{CLASSES[i % 2]}/{domain}_{i}' for i in range(4)]
        write_dataset(folder / domain, names, CLASSES, seed=seed)
    for row, train in TRAIN.items():
        text = CONFIG.format(root=ROOT, row=row, classes=CLASSES, folder=folder, train=train)
        (folder / f'{row}.py').write_text(text)
    return {row: str(folder / f'{row}.py') for row in TRAIN}


def red_box(image: np.ndarray) -> list[int]:
    """x1 y1 x2 y2 of the red actor, ends inclusive."""
    ys, xs = np.nonzero((image[..., 0] > 170) & (image[..., 1] < 60))
    return [xs.min(), ys.min(), xs.max(), ys.max()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('row', 'part', 'domains'),
    [
        ('full', 'train', ['source', 'target']),
        ('source_only', 'train', ['train']),
        ('oracle', 'train', ['train']),
        ('full', 'test', ['test']),
    ],
)
def test_boxes_sit_on_the_actor_and_the_target_has_none(tool, configs, row, part, domains):
    register_all_modules()
    found = tool.views(Config.fromfile(configs[row]), part, 5 if part == 'train' else 4, seed=1)
    assert list(found) == domains
    flips = 0
    for domain, views in found.items():
        assert len(views) == (5 if part == 'train' else 4)
        for view in views:
            assert view.clip.shape == (8, 96, 128, 3) and view.clip.dtype == np.uint8
            # the key frame of both networks is the same picture
            difference = view.clip[view.key_index].astype(int) - view.key_frame.astype(int)
            assert np.abs(difference).max() <= 1
            flips += 'flipped' in view.place
            of_target = row == 'oracle' or domain == 'target'
            assert ('/target_' if of_target else '/source_') in view.name
            if domain == 'target':
                assert view.boxes is None and 'no labels' in view.place
            else:
                (box,) = view.boxes
                assert box.label == view.name.split('/')[0]
                assert np.allclose(box.box, red_box(view.key_frame), atol=2)
    assert (flips > 0) == (part == 'train')
    if part == 'test':
        assert len({view.name for view in found['test']}) == 4  # not four frames of one video


@pytest.mark.slow
def test_the_same_seed_shows_the_same(tool, configs, tmp_path, capsys):
    for name, seed in (('a', '2'), ('b', '2'), ('c', '3')):
        arguments = ['--num', '2', '--seed', seed, '--out', str(tmp_path / name)]
        assert tool.main([configs['full'], *arguments]) == 0
        names = [f'train_seed{seed}{end}' for end in ('.png', '_00.mp4', '_01.mp4')]
        paths = [tmp_path / name / file for file in names]
        assert capsys.readouterr().out.split() == [str(path) for path in paths]
        assert sorted((tmp_path / name).iterdir()) == sorted(paths)
    name = 'train_seed2.png'
    assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()
    # videos as they go into the encoder, whose bytes are not always the same
    first, again = (tool.views(Config.fromfile(configs['full']), 'train', 2, 2) for _ in range(2))
    for number in range(2):
        rows = [{name: side[number] for name, side in found.items()} for found in (first, again)]
        frames = [np.stack(tool.video(row, 256, 8.0)) for row in rows]
        assert np.array_equal(*frames)
    other = tmp_path / 'c' / 'train_seed3.png'
    assert other.read_bytes() != (tmp_path / 'a' / 'train_seed2.png').read_bytes()
    # 2 rows of 2 x (2 frames of the clip, key frame), 96 enlarged to 256
    width, height = Image.open(tmp_path / 'a' / 'train_seed2.png').size
    assert width > 6 * 341 and height > 2 * 256
    # the clip, and the rest on its key frame
    assert count_frames(tmp_path / 'a' / 'train_seed2_00.mp4') == 8 - 1 + 6


@pytest.mark.slow
def test_what_it_shows_is_what_training_draws(tool, configs):
    """The first draw of a seed is the one of a training with that seed."""
    from mmengine.runner import Runner

    register_all_modules()
    cfg = Config.fromfile(configs['full'])
    (view, *_) = tool.views(cfg, 'train', 2, seed=7)['source']
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=7)
    clip = next(iter(loader))['source']['inputs'][0]
    assert np.array_equal(view.clip, clip.permute(1, 2, 3, 0).numpy())


@pytest.mark.slow
@pytest.mark.parametrize(
    ('arguments', 'message', 'status'),
    [
        (['--part', 'val'], 'the config has no val_dataloader', 2),
        (['--cfg-options', 'train_dataloader.dataset.target.split=absent'], "no split 'absent'", 1),
        (['--cfg-options', 'train_dataloader.dataset.source.data_prefix=absent'], 'no video ', 1),
    ],
)  # fmt: skip
def test_complaints(tool, configs, tmp_path, capsys, arguments, message, status):
    assert tool.main([configs['full'], '--out', str(tmp_path / 'out'), *arguments]) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_other_preprocessors_are_not_shown(tool, configs):
    cfg = Config.fromfile(configs['full'])
    cfg.model.data_preprocessor = dict(type='mmaction.ActionDataPreprocessor')
    with pytest.raises(tool.UsageError, match='no ClipKeyFramePreprocessor'):
        tool.views(cfg, 'train', 1, seed=0)
