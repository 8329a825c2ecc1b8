"""A few seconds of video and MMAction2's own configs, cut down by flags alone."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

# a config as MMAction2's wheel ships it
STOCK = (
    Path(importlib.util.find_spec('mmaction').submodule_search_locations[0])
    / '.mim/configs/recognition/tsn'
    / 'tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.py'
)


@pytest.fixture(scope='session')
def stock_config() -> Path:
    assert STOCK.is_file(), f"MMAction2's wheel lacks {STOCK}"
    return STOCK


@pytest.fixture(scope='session')
def stock_options(tmp_path_factory) -> list[str]:
    """``--cfg-options`` that make the stock config small: 4 videos, ResNet-18, 2 iterations."""
    folder = tmp_path_factory.mktemp('videos')
    rng = np.random.default_rng(0)
    lines = []
    for label in range(4):
        writer = cv2.VideoWriter(
            str(folder / f'{label}.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 25, (64, 48)
        )
        for _ in range(4):
            writer.write(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
        writer.release()
        lines.append(f'{label}.avi {label}\n')
    (folder / 'videos.txt').write_text(''.join(lines))
    options = [
        'model.backbone.depth=18',
        'model.backbone.pretrained=None',
        'model.cls_head.in_channels=512',
        'model.cls_head.num_classes=4',
        'train_cfg.max_epochs=1',
        'default_hooks.logger.interval=1',
    ]
    for name in ('train', 'val', 'test'):
        options += [
            f'{name}_dataloader.batch_size=2',
            f'{name}_dataloader.num_workers=0',
            f'{name}_dataloader.persistent_workers=False',
            f'{name}_dataloader.dataset.ann_file={folder}/videos.txt',
            f'{name}_dataloader.dataset.data_prefix.video={folder}',
        ]
    options.append('test_dataloader.dataset.pipeline.1.num_clips=1')
    return options
