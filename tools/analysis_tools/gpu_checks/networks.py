"""Networks of the configs from random weights, and random clips for them."""

from pathlib import Path

import numpy as np
import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from torch import nn

from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS
from mmstal_da.utils.wrapped import detector_config

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'


def load_row(pair: str, row: str) -> Config:
    """The config ``configs/<pair>/<row>.py``."""
    return Config.fromfile(CONFIGS / pair / f'{row}.py')


def without_pretrained(model: object) -> object:
    """A model's config without files of weights: I3D by Kaiming, the rest by its own defaults."""
    if isinstance(model, list | tuple):
        return type(model)(without_pretrained(part) for part in model)
    if not isinstance(model, dict):
        return model
    changed = {key: without_pretrained(value) for key, value in model.items()}
    if isinstance(changed.get('pretrained'), str):
        changed.update(pretrained=None, pretrained2d=False)
    init = changed.get('init_cfg')
    if isinstance(init, dict) and 'checkpoint' in init:
        i3d = changed.get('type') in ('InceptionI3D', 'InceptionRoIStage')
        changed['init_cfg'] = dict(type='Kaiming', layer='Conv3d') if i3d else None
    return changed


def build_network(config: Config, device: str, seed: int = 0, dropout: bool = True) -> nn.Module:
    """The detector of a config from random weights, in training mode; without a teacher.

    Args:
        config: A row's config.
        device: The model's device; the weights are drawn on the CPU, so they are always the same.
        seed: Seed of the weights.
        dropout: False switches it off, to compare devices whose random numbers differ.
    """
    register_all_modules()
    torch.manual_seed(seed)
    model = MODELS.build(ConfigDict(without_pretrained(detector_config(config.model).to_dict())))
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')  # otherwise one line per parameter
    model.init_weights()
    logger.setLevel(level)
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and not dropout:
            module.p = 0.0
    return model.to(device).train()


def clip_length(config: Config) -> int:
    """Frames per clip of a config's test pipeline."""
    return config.test_dataloader.dataset.pipeline[0].clip_len


def reads_proposals(config: Config) -> bool:
    """Whether the detector classifies given boxes, as MMAction2's AVA-style ones do."""
    return config.model.type.endswith('FastRCNN')


def sees_both_domains(config: Config) -> bool:
    """Whether a training step of this row takes source and target."""
    model = detector_config(config.model)
    adaptation = model.get('adaptation') or {}
    modules = ('spatial', 'temporal_image', 'temporal_instance')
    return bool(model.get('domain_norm')) or any(adaptation.get(name) for name in modules)


def make_batch(config: Config, clips: int, size: tuple[int, int], length: int, seed: int = 0):
    """Random clips with one labelled box each, collated as by the loader of a config.

    Args:
        config: A row's config.
        clips: Number of all clips; in an adapted row half of them are target clips without labels.
        size: Height and width in pixels.
        length: Frames per clip.
        seed: Seed of clips, boxes and labels.
    """
    rng = np.random.default_rng(seed)
    classes = config.model.roi_head.bbox_head.num_classes
    boxes = reads_proposals(config)
    items = [_item(rng, size, length, classes, boxes) for _ in range(clips)]
    if not sees_both_domains(config):
        return _collate(items)
    if clips < 2:
        raise ValueError(f'a batch of both domains has at least 2 clips, not {clips}')
    source, target = items[: clips // 2], items[clips // 2 :]
    for item in target:
        del item['data_samples'].gt_instances
    return dict(source=_collate(source), target=_collate(target))


def _item(
    rng: np.random.Generator, size: tuple[int, int], length: int, classes: int, proposals: bool
) -> dict:
    """One clip (3, T, H, W) uint8 with its sample."""
    height, width = size
    low, high = rng.uniform(0.1, 0.3, 2), rng.uniform(0.6, 0.9, 2)
    scale = np.array([width, height])
    box = torch.tensor(np.concatenate([low * scale, high * scale]), dtype=torch.float32)[None]
    label = torch.tensor([int(rng.integers(classes))])
    sample = ActionDataSample()
    sample.gt_instances = InstanceData(bboxes=box, labels=label)
    if proposals:
        sample.gt_instances.labels = torch.eye(classes)[label]
        loose = box + torch.tensor(rng.uniform(-0.03, 0.03, (8, 4)) * height, dtype=torch.float32)
        scores = torch.linspace(0.9, 0.2, len(loose))
        sample.proposals = InstanceData(bboxes=loose, scores=scores)
    sample.set_metainfo(
        dict(
            video_name='random',
            key_frame=1,
            key_index=length // 2,
            img_shape=size,
            ori_shape=size,
            scale_factor=(1.0, 1.0),
        )
    )
    clip = torch.from_numpy(rng.integers(0, 256, (3, length, height, width), dtype=np.uint8))
    return dict(inputs=clip, data_samples=sample)


def _collate(items: list[dict]) -> dict:
    """As MMEngine's pseudo_collate."""
    return {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}
