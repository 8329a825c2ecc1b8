"""JHMDB -> UCF101 on real pixels: prepared, trained for a few iterations, scored."""

import json
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmstal_da.register import register_all_modules
from tests.model_builders import CONFIGS

PREPARE = Path(__file__).resolve().parents[1] / 'tools/data/prepare.py'


def prepare(monkeypatch, *args) -> None:
    """Run tools/data/prepare.py."""
    monkeypatch.setattr(sys, 'argv', ['prepare.py', *map(str, args)])
    scope: dict = {'__name__': 'prepare', '__file__': str(PREPARE)}
    exec(compile(PREPARE.read_text(), str(PREPARE), 'exec'), scope)
    assert scope['main']() == 0


@pytest.fixture()
def data(test_data, tmp_path, monkeypatch) -> Path:
    """Annotation files of both datasets, three classes of JHMDB, and links to the videos."""
    jhmdb, ucf = test_data / 'jhmdb', test_data / 'ucf101_24'
    prepare(
        monkeypatch, 'jhmdb', '--annotations', jhmdb / 'jhmdb_annot.mat', '--splits',
        jhmdb / 'jhmdb_split1_train.txt', jhmdb / 'jhmdb_split1_test.txt', '--frames',
        jhmdb / 'clips', '--classes', 'golf', 'walk', 'shoot_ball', '--out', tmp_path / 'jhmdb',
    )  # fmt: skip
    prepare(
        monkeypatch, 'ucf101_24', '--annotations', ucf / 'pyannot.pkl', '--splits',
        ucf / 'ucf101_24_split1_train.txt', ucf / 'ucf101_24_split1_test.txt', '--frames',
        ucf / 'videos', '--only-present', '--out', tmp_path / 'ucf101_24',
    )  # fmt: skip
    (tmp_path / 'jhmdb/videos').symlink_to(jhmdb / 'clips')
    (tmp_path / 'ucf101_24/videos').symlink_to(ucf / 'videos')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').symlink_to(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_second_scenario_in_small(data):
    """All three modules on .avi sources and .avi, .mp4 and .gif targets."""
    register_all_modules()
    cfg = Config.fromfile(CONFIGS / 'jhmdb_to_ucf101/full_112px_scratch.py')
    cfg.merge_from_dict(
        {
            'model.backbone.base_channels': 8,
            'model.backbone.stem_channels': 8,
            'model.clip_backbone.width': 0.1,
            'model.rpn_head.in_channels': 128,
            'model.rpn_head.feat_channels': 16,
            'model.roi_head.bbox_roi_extractor.out_channels': 84,
            'model.roi_head.shared_head.width': 0.1,
            'model.roi_head.bbox_head.in_channels': 102,
            'train_cfg.max_iters': 4,
            'default_hooks.logger.interval': 1,
            'work_dir': str(data / 'work'),
            'val_cfg': None,
            'val_dataloader': None,
            'val_evaluator': None,
            'test_dataloader.dataset.key_frame_stride': 20,
            'test_dataloader.num_workers': 0,
            'test_dataloader.persistent_workers': False,
            'log_level': 'WARNING',
        }
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    (log,) = Path(runner.log_dir).glob('vis_data/scalars.json')
    losses = [json.loads(line)['loss'] for line in log.read_text().splitlines()]
    assert len(losses) == 4 and all(0 < loss < 100 for loss in losses)

    cfg.load_from = str(data / 'work/iter_4.pth')
    cfg.experiment_name = 'test'
    tester = Runner.from_cfg(cfg)
    result = tester.test()
    # of the scenario's classes, pixels of Basketball (.avi, .mp4) and WalkingWithDog (.gif)
    assert result['n_videos'] == 3
    assert 'frame_AP@0.5/Basketball' in result and 'frame_AP@0.5/WalkingWithDog' in result
    dataset = tester.test_dataloader.dataset
    files = {Path(dataset.get_data_info(i)['filename']).suffix for i in range(len(dataset))}
    assert files == {'.avi', '.mp4', '.gif'}
