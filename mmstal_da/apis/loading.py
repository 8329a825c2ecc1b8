"""A trained detector, its config and its class names, from a checkpoint."""

import os
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner.checkpoint import CheckpointLoader

import mmstal_da.registry  # noqa: F401  (first: repairs what importing mmaction needs)
from mmstal_da.errors import UsageError
from mmstal_da.launch.checkpoints import (
    TRAINING_ONLY,
    check_checkpoint,
    check_fit,
    detector_of,
    weights_of,
)
from mmstal_da.launch.config import load_config
from mmstal_da.launch.reporting import as_config_error
from mmstal_da.models.detectors import ActionTubeDetector
from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS

PathLike = str | os.PathLike[str]


class Trained(NamedTuple):
    """What a file of trained weights holds.

    Attributes:
        cfg: The config that it was trained with, or the one given in its place; ``model`` is that
            of the detector, without a teacher and student around it.
        classes: Names that labels refer to.
        model: Has ``test_step``, of a batch of the test pipeline.
        device: Where it runs: ``'cpu'``, ``'cuda'``, ``'cuda:1'``, …
    """

    cfg: Config
    classes: list[str]
    model: Any
    device: str


def load_trained(
    checkpoint: PathLike, config: PathLike | Config | None = None, device: str | None = None
) -> Trained:
    """The detector of a checkpoint, ready to predict.

    Args:
        checkpoint: A checkpoint of ``tools/train.py``, a file or a URL.
        config: Config, or file of one, in place of the one that the checkpoint carries.
        device: Of the model; None takes what MMEngine finds.

    Raises:
        UsageError: No such file, a checkpoint without config or class names, or a device that
            cannot be used.
        CheckpointError: It is unreadable, or of another model than the config.
        ConfigError: The model cannot be built.
    """
    register_all_modules()
    checkpoint = check_checkpoint(os.fspath(checkpoint))
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    meta = loaded.get('meta') or {}
    cfg = _config(checkpoint, meta, config)
    classes = _class_names(checkpoint, meta, cfg)
    cfg.model, state = detector_of(cfg.model, weights_of(loaded, checkpoint))
    device = device or get_device()
    model = _model(checkpoint, state, cfg, classes)
    try:
        model.to(device)
    # torch has no error of its own for a device that is not there
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition('\n')[0]
        raise UsageError(f'the device {device!r} cannot be used: {reason}') from error
    return Trained(cfg, classes, model, device)


def pipeline_of(cfg: Config) -> list[dict]:
    """The transforms of the test data set.

    Raises:
        UsageError: There are none, or they do not begin with the choice of a clip's frames.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    pipeline = dataset.get('pipeline') or cfg.get('test_pipeline') or ()
    # weather rendered into a data set's frames is part of the data, not of the model's input
    pipeline = [stage for stage in pipeline if 'DegradeFrames' not in stage['type']]
    kinds = [stage['type'].rpartition('.')[2] for stage in pipeline]
    if kinds[:2] != ['SampleKeyFrameClip', 'DecodeFrames']:
        raise UsageError(
            'the config has no test pipeline of SampleKeyFrameClip, DecodeFrames, …; set'
            ' test_pipeline in the config (--config)'
        )
    return pipeline


def _config(checkpoint: str, meta: dict, config: PathLike | Config | None) -> Config:
    if isinstance(config, Config):
        return config
    if config is not None:
        return load_config(os.fspath(config))
    if not meta.get('cfg'):
        raise UsageError(f'{checkpoint} carries no config; give one: config=, --config')
    return Config.fromstring(meta['cfg'], '.py')


def _class_names(checkpoint: str, meta: dict, cfg: Config) -> list[str]:
    names = (meta.get('dataset_meta') or {}).get('classes') or cfg.get('classes')
    if not names:
        raise UsageError(f'{checkpoint} names no classes; set `classes` in the config (--config)')
    return list(names)


def _model(checkpoint: str, state: dict, cfg: Config, classes: list[str]) -> ActionTubeDetector:
    with as_config_error(
        f'the model of {checkpoint} cannot be built; if another version of this library trained it,'
        ' give its config: --config configs/<pair>/<row>.py'
    ):
        model = MODELS.build(cfg.model)
    if not isinstance(model, ActionTubeDetector):
        raise UsageError(
            f'{type(model).__name__} needs proposals; give the checkpoint of a detector that'
            ' finds them itself, such as a row source_only or full'
        )
    check_fit(state, model, checkpoint, TRAINING_ONLY)
    # MMEngine's function would print the keys of the discriminators, which published weights lack
    model.load_state_dict(state, strict=False)
    head = cfg.model.roi_head.bbox_head
    if head.num_classes != len(classes):
        raise UsageError(
            f'the model has {head.num_classes} classes, the names are {classes}; set `classes` in'
            ' the config (--config)'
        )
    return model.eval()
