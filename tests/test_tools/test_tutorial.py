"""The tutorial of configs/README.md, followed to the letter: its commands, its labels, its file."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

import mmstal_da.compat  # noqa: F401  (torch.load reads checkpoints of MMEngine)
from mmstal_da.errors import ConfigError
from mmstal_da.launch.checks import check_config
from mmstal_da.register import register_all_modules
from mmstal_da.registry import DATASETS
from mmstal_da.tubes.annotation import Tube, load_annotation, save_annotation
from tests.clips import actor_frames, write_video
from tests.load_tool import run_tool

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / 'configs/README.md').read_text()
BLOCKS = re.findall(r'```(\w+)\n(.*?)```', TEXT, re.DOTALL)
PYTHON = [text for kind, text in BLOCKS if kind == 'python']
LABELS, PAIR, EVALUATION, BASELINE = PYTHON
NO_EVALUATION = [line for line in PAIR.splitlines(keepends=True) if line.endswith(' = None\n')]
# those on pseudo-labels are run by test_pseudo_tubes.py
INDEX, PREPARE, BROWSE, TRAIN, INFER, *_ = [
    line
    for kind, text in BLOCKS
    if kind == 'bash'
    for line in text.replace('\\\n', '').splitlines()
]
# two iterations of a narrow network from random weights on small clips
SMALL = {
    'train_cfg.max_iters': 2,
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
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'default_hooks.logger.interval': 1,
    **{
        f'train_dataloader.dataset.{domain}.pipeline.{key}': value
        for domain in ('source', 'target')
        for key, value in (('0.clip_len', 8), ('2.scale', '(-1,96)'))
    },
}
SMALL_EVALUATION = {
    'train_cfg.val_interval': 2,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'val_dataloader.dataset.key_frame_stride': 12,
    'val_dataloader.dataset.pipeline.0.clip_len': 8,
    'val_dataloader.dataset.pipeline.2.scale': '(-1,96)',
}


def arguments(command: str, *more: str, options: dict | None = None) -> tuple[str, list[str]]:
    """The tool that a command of the tutorial names, and its arguments."""
    python, tool, *words = [*shlex.split(command, comments=True), *more]
    assert python == 'python' and tool.startswith('tools/') and tool.endswith('.py')
    if options:
        words += ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    return tool[len('tools/') : -len('.py')], words


def run(folder: Path, command: str, *more: str, options: dict | None = None) -> str:
    """Run a command of the tutorial in ``folder``, which must succeed; its output."""
    tool, words = arguments(command, *more, options=options)
    return run_tool(tool, *words, folder=folder)


def run_process(folder: Path, command: str, *more: str, options: dict | None = None) -> str:
    """As ``run``, in a process of its own, as who follows the tutorial does it."""
    tool, words = arguments(command, *more, options=options)
    done = subprocess.run(
        [sys.executable, str(ROOT / f'tools/{tool}.py'), *words],
        cwd=folder,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def write_pair(folder: Path, text: str = PAIR) -> None:
    """A checkout as the tutorial finds it, with the pair's file in place."""
    (folder / 'configs').mkdir()
    (folder / 'configs/_base_').symlink_to(ROOT / 'configs/_base_')
    (folder / 'configs/my_pair.py').write_text(text)


def follow(folder: Path, train=run) -> str:
    """Steps 3 and 4: write the pair, look, train; the training's output."""
    write_pair(folder)
    paths = run(folder, BROWSE, '--no-videos').split()
    assert [Path(folder, path).is_file() for path in paths] == [True]
    output = train(folder, TRAIN, '--work-dir', 'work', options=SMALL)
    assert torch.load(folder / 'work/iter_2.pth')['meta']['iter'] == 2
    return output


@pytest.fixture(scope='module')
def labelled(tmp_path_factory) -> Path:
    """Steps 1 and 2 for videos and labels of one's own: a red actor in each of 2 + 2 clips."""
    folder = tmp_path_factory.mktemp('labelled')
    for name in ('source/videos/monday/clip_07', 'source/videos/monday/clip_08',
                 'target/videos/a', 'target/videos/b'):  # fmt: skip
        frames = actor_frames(np.tile([40, 30, 119, 199], (24, 1)), 240, 320)
        write_video(folder / f'data/my_{name}.mp4', frames, 'libx264')
    run_process(folder, INDEX)
    run(folder, INDEX.replace('my_target', 'my_source'))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(LABELS, 'configs/README.md', 'exec'), {})
    path = folder / 'data/my_source/my_source.json'
    annotation = load_annotation(path)
    (walk,) = annotation.tubes['monday/clip_07']
    # the tutorial's "and so on"
    annotation.tubes['monday/clip_08'] = [Tube('golf', walk.frames, walk.boxes)]
    annotation.splits['train'] = list(annotation.tubes)
    save_annotation(annotation, path)
    return folder


@pytest.fixture
def clips(labelled, tmp_path, monkeypatch) -> Path:
    """A copy of ``labelled``, entered."""
    shutil.copytree(labelled / 'data', tmp_path / 'data')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def label_target(folder: Path) -> None:
    """Labels for both target videos, each of another class, in a split of their own."""
    path = folder / 'data/my_target/my_target.json'
    annotation = load_annotation(path)
    annotation.classes = ['GolfSwing', 'WalkingWithDog']
    box = np.tile(np.float32([40, 30, 119, 199]), (24, 1))
    for name, label in zip('ab', annotation.classes, strict=True):
        annotation.tubes[name] = [Tube(label, np.arange(1, 25), box)]
    annotation.splits['test'] = ['a', 'b']
    save_annotation(annotation, path)


def test_the_pair_is_one_short_file():
    assert len(PAIR.splitlines()) < 40
    assert len(NO_EVALUATION) == 2


def test_videos_of_ones_own(clips):
    output = follow(clips, run_process)
    for loss in ('loss_cls', 'loss_da_spatial', 'loss_da_timg', 'loss_da_tinst'):
        assert loss in output
    checkpoint = INFER.replace('work_dirs/my_pair/iter_20000.pth', 'work/iter_2.pth')
    run(clips, checkpoint, '--key-frame-stride', '12', '--no-video')
    assert sorted(path.parent.name for path in clips.glob('work_dirs/found/*/result.json')) == [
        'a',
        'b',
    ]


def test_evaluation_with_labels_of_the_target(clips):
    """Adapting on the evaluated videos is refused until the config says that it is meant."""
    label_target(clips)
    text = PAIR.replace(NO_EVALUATION[0], EVALUATION).replace(NO_EVALUATION[1], '')
    write_pair(clips, text)
    with pytest.raises(ConfigError, match=r'share 2 videos.*allow_transductive = True'):
        check_config(Config.fromfile('configs/my_pair.py'))
    (clips / 'configs/my_pair.py').write_text(f'{text}allow_transductive = True\n')
    output = run(clips, TRAIN, '--work-dir', 'work', options={**SMALL, **SMALL_EVALUATION})
    assert 'frame_mAP@0.5' in output


def test_the_source_only_baseline(clips):
    register_all_modules()
    text = re.sub(r'    adaptation=.*\n', '', PAIR)
    text = re.sub(r'train_dataloader = .*\n', lambda _: BASELINE, text)
    write_pair(clips, text)
    cfg = Config.fromfile('configs/my_pair.py')
    check_config(cfg)
    assert 'adaptation' not in cfg.model
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert dataset.metainfo['classes'] == ('GolfSwing', 'WalkingWithDog')
    assert len(dataset) == 40 and len(dataset[0]['data_samples'].gt_instances.bboxes) == 1


def test_two_folders_of_real_clips(test_data, tmp_path):
    """JHMDB's golf and walk to clips of UCF101 without labels."""
    jhmdb = test_data / 'jhmdb'
    for name in ('jhmdb_annot.mat', 'jhmdb_split1_train.txt', 'jhmdb_split1_test.txt'):
        (tmp_path / name).symlink_to(jhmdb / name)
    videos = tmp_path / 'data/my_source/videos'
    videos.mkdir(parents=True)
    for label in ('golf', 'walk'):
        (videos / label).symlink_to(jhmdb / 'clips' / label)
    videos = tmp_path / 'data/my_target/videos'
    videos.mkdir(parents=True)
    for name in ('v_Basketball_g01_c01.avi', 'v_WalkingWithDog_g19_c05.gif'):
        (videos / name).symlink_to(test_data / 'ucf101_24/videos' / name)
    run(tmp_path, INDEX)
    run(tmp_path, PREPARE)
    follow(tmp_path)
