"""The pair of configs/ava_to_kinetics on small files of AVA's kind, by its README's commands."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmstal_da.errors import ConfigError
from mmstal_da.launch.checks import check_config
from mmstal_da.register import register_all_modules
from mmstal_da.registry import DATASETS
from mmstal_da.tubes.annotation import load_annotation, save_annotation
from tests.clips import actor_frames, write_video
from tests.load_tool import run_tool

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAIR = ROOT / 'configs/ava_to_kinetics'
TEXT = (PAIR / 'README.md').read_text()
BLOCKS = re.findall(r'```(\w+)\n(.*?)```', TEXT, re.DOTALL)
(SWAPPED, IHD, CLIPS_CSV) = [text for kind, text in BLOCKS if kind == 'python']
(OF_AVA, OF_KINETICS, TABLE) = [text for kind, text in BLOCKS if kind == 'bash']
CLASSES = Config.fromfile(PAIR / 'full.py').classes
NUMBERS = dict(zip(CLASSES, (1, 8, 10, 11, 12, 14), strict=True))  # AVA's
FPS, WIDTH, HEIGHT = 25, 96, 64  # the frame rate of write_video
SMALL = {
    'train_cfg.max_iters': 2,
    'train_cfg.val_interval': 2,
    'model.backbone.base_channels': 8,
    'model.backbone.stem_channels': 8,
    'model.backbone.init_cfg': None,
    'model.clip_backbone.width': 0.1,
    'model.clip_backbone.init_cfg': None,
    'model.rpn_head.in_channels': 128,
    'model.rpn_head.feat_channels': 16,
    'model.roi_head.bbox_roi_extractor.out_channels': 84,
    'model.roi_head.shared_head.width': 0.1,
    'model.roi_head.shared_head.init_cfg': None,
    'model.roi_head.bbox_head.in_channels': 102,
    'default_hooks.logger.interval': 1,
    **{f'{part}.{key}': value for part in ('train_dataloader', 'val_dataloader')
       for key, value in (('num_workers', 0), ('persistent_workers', False))},
    **{f'{part}.pipeline.{key}': value
       for part in ('train_dataloader.dataset.source', 'train_dataloader.dataset.target',
                    'val_dataloader.dataset')
       for key, value in (('0.clip_len', 4), ('2.scale', '(-1,64)'))},
}  # fmt: skip


def lines(name: str, seconds: float, *people: tuple[str, ...]) -> list[str]:
    """Lines of one frame: every person with all their classes; the second one is on the right."""
    found = []
    for entity, classes in enumerate(people):
        x1, x2 = (0.1, 0.4) if entity == 0 else (0.55, 0.95)
        for label in classes:
            number = NUMBERS.get(label, 80)
            found.append(f'{name},{seconds},{x1:.3f},0.125,{x2:.3f},0.875,{number},{entity}\n')
    return found


def clip(path: Path, seconds: int, seed: int) -> None:
    box = np.tile([10 + seed, 8, 37 + seed, 55], (seconds * FPS, 1))
    write_video(path, actor_frames(box, HEIGHT, WIDTH), 'libx264')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """A checkout after the README's commands."""
    folder = tmp_path_factory.mktemp('ava')
    (folder / 'configs').mkdir()
    for path in (ROOT / 'configs').iterdir():
        (folder / 'configs' / path.name).symlink_to(path)
    for name in ('downloads', 'data/ava/videos', 'data/ava_kinetics/videos'):
        (folder / name).mkdir(parents=True)
    items = [f'item {{\n  name: "{name}"\n  id: {number}\n}}\n' for name, number in NUMBERS.items()]
    items.append('item {\n  name: "watch (a person)"\n  id: 80\n}\n')
    labels = folder / 'downloads/ava_action_list_v2.2_for_activitynet_2019.pbtxt'
    labels.write_text(''.join(items))
    # a film from second 900 on, with a frame per second; the other is for validation
    for part, name in (('train', 'film_a'), ('val', 'film_b')):
        clip(folder / f'data/ava/videos/{name}.mp4', 4, seed=part == 'val')
        rows = lines(name, 900, ('sit', 'walk', 'watch (a person)'), ('stand',))
        rows += lines(name, 901, ('sit', 'lie/sleep'), ('run/jog', 'bend/bow (at the waist)'))
        rows += lines(name, 903, ('stand',))
        (folder / f'downloads/ava_{part}_v2.2.csv').write_text(''.join(rows))
    excluded = folder / 'downloads/ava_val_excluded_timestamps_v2.2.csv'
    excluded.write_text('film_b,903\n')
    # two clips of Kinetics with a frame each, at second 2 of the clip
    for part, name, start in (('train', 'abcdefghij0', 31), ('val', '-_cdefghij1', 7)):
        clip(folder / f'data/ava_kinetics/videos/{name}_{start:06d}_{start + 4:06d}.mp4', 4, 2)
        rows = lines(name, start + 2, CLASSES[:3], CLASSES[3:])
        rows += lines('absent_clip', 4, ('sit',))
        (folder / f'downloads/kinetics_{part}_v1.0.csv').write_text(''.join(rows))
    (folder / 'kinetics_csv.py').write_text(CLIPS_CSV)
    for commands in (OF_AVA, OF_KINETICS):
        script = commands.replace('python ', f'{os.sys.executable} ')
        script = script.replace('tools/', f'{ROOT}/tools/')
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        done = subprocess.run(
            ['bash', '-euc', script], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_seconds_become_frames_and_excluded_ones_are_gone(folder):
    ava = load_annotation(folder / 'data/ava/ava.json')
    assert sorted(ava.classes) == sorted(CLASSES)
    assert ava.splits['train'] == ['film_a'] and ava.splits['val'] == ['film_b']
    frames = {
        name: sorted({frame for tube in tubes for frame in tube.frames.tolist()})
        for name, tubes in ava.tubes.items()
    }
    assert frames == {'film_a': [1, 26, 76], 'film_b': [1, 26]}
    kinetics = load_annotation(folder / 'data/ava_kinetics/kinetics.json')
    (name,) = kinetics.splits['val']
    assert name == '-_cdefghij1_000007_000011'
    assert {frame for tube in kinetics.tubes[name] for frame in tube.frames.tolist()} == {51}
    np.testing.assert_allclose(
        kinetics.tubes[name][0].boxes[0], [9.6, 8, 0.4 * 96 - 1, 55], atol=0.01
    )


def test_a_person_is_one_box_with_all_classes(folder, monkeypatch):
    monkeypatch.chdir(folder)
    register_all_modules()
    cfg = Config.fromfile('configs/ava_to_kinetics/oracle_st.py')
    for stage in (cfg.train_dataloader.dataset.source, cfg.train_dataloader.dataset.target):
        stage.pipeline = []
    pair = DATASETS.build(cfg.train_dataloader.dataset)
    source, target = (part.dataset for part in pair.parts.values())
    first = source.get_data_info(0)
    assert first['gt_bboxes'].shape == (2, 4) and first['gt_labels'].shape == (2, 6)
    named = [{CLASSES[i] for i in np.flatnonzero(row)} for row in first['gt_labels']]
    assert sorted(map(sorted, named)) == [['sit', 'walk'], ['stand']]
    assert target.get_data_info(0)['gt_labels'].sum(1).tolist() == [3, 3]


def test_a_head_for_one_class_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    cfg = Config.fromfile('configs/ava_to_kinetics/full.py')
    check_config(cfg)
    cfg.model.roi_head.bbox_head.type = 'mmdet.BBoxHead'
    with pytest.raises(ConfigError, match=r'source .*multi_label is True, but .*is BBoxHead'):
        check_config(cfg)
    cfg = Config.fromfile('configs/ava_to_kinetics/full.py')
    cfg.train_dataloader.dataset.source.multi_label = False
    with pytest.raises(ConfigError, match='multi_label is False, but .*MultiLabelBBoxHead'):
        check_config(cfg)


def rename_classes(old: Path, new: Path) -> None:
    """Write an annotation whose actions are those of IhD-2."""
    annotation = load_annotation(old)
    names = dict(zip(CLASSES[2:5], ('take a photo', 'throw', 'touch (an object)'), strict=True))
    annotation.classes = list(names.values())
    annotation.tubes = {
        video: [replace(tube, label=names[tube.label]) for tube in tubes if tube.label in names]
        for video, tubes in annotation.tubes.items()
    }
    save_annotation(annotation, new)


def options(**more) -> list[str]:
    return ['--cfg-options', *(f'{key}={value}' for key, value in {**SMALL, **more}.items())]


@pytest.mark.parametrize('row', ['full', 'oracle', 'swapped', 'ihd'])
def test_two_iterations_and_a_validation(row, folder):
    config = f'configs/ava_to_kinetics/{row}.py'
    if row == 'swapped':  # the README's file
        config = 'configs/kinetics_to_ava.py'
        (folder / config).write_text(SWAPPED)
    if row == 'ihd':
        config = 'configs/ava_to_ihd.py'
        (folder / config).write_text(IHD)
        rename_classes(folder / 'data/ava/ava.json', folder / 'data/ava/ava_ihd.json')
        (folder / 'data/ihd').mkdir()
        (folder / 'data/ihd/videos').symlink_to(folder / 'data/ava_kinetics/videos')
        rename_classes(folder / 'data/ava_kinetics/kinetics.json', folder / 'data/ihd/ihd.json')
    output = run_tool(
        'train', config, '--work-dir', folder / row, '--seed', '0', *options(), folder=folder
    )
    assert torch.load(folder / row / 'iter_2.pth', weights_only=False)['meta']['iter'] == 2
    for name in ('loss_cls', 'acc_cls_recall', 'acc_cls_precision', 'AVA_frame_mAP@0.5',
                 'frame_mAP@0.5', 'video_mAP@0.5'):  # fmt: skip
        assert re.search(rf'{name}: \d', output), (name, output[-3000:])
    assert ('loss_da_tinst' in output) == (row != 'oracle')
    # labelled frames of the evaluated side: two of the film, one of the clip
    assert re.findall(r'n_frames: (\d+)', output)[-1] == ('2' if row == 'swapped' else '1')
