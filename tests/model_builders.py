"""Small models and batches of the real classes."""

from pathlib import Path

import numpy as np
import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'

# widths of the narrow detector, narrower still; 3 classes
TINY = {
    'backbone.base_channels': 8,
    'backbone.stem_channels': 8,
    'clip_backbone.width': 0.1,
    'rpn_head.in_channels': 128,
    'rpn_head.feat_channels': 16,
    'rpn_head.anchor_generator.scales': [1, 2, 4],
    'roi_head.bbox_roi_extractor.out_channels': 84,
    'roi_head.shared_head.width': 0.1,
    'roi_head.bbox_head.in_channels': 102,
    'roi_head.bbox_head.num_classes': 3,
}

# the packaged weights do not fit these widths: for configs that start from them
FROM_RANDOM_WEIGHTS = dict.fromkeys(
    ('backbone.init_cfg', 'clip_backbone.init_cfg', 'roi_head.shared_head.init_cfg')
)


def module_configs() -> dict:
    """The three modules of configs/_base_/adaptation, small."""
    modules = Config.fromfile(CONFIGS / '_base_/adaptation/modules.py')
    modules.spatial.channels = (16, 8)
    modules.temporal_image.channels = 16
    modules.temporal_instance.channels = 16
    return {k: modules[k].to_dict() for k in ('spatial', 'temporal_image', 'temporal_instance')}


def build_detector(adaptation: dict | None = None, seed: int = 0, **changes):
    """The narrow detector of the configs, narrower still, with 3 classes."""
    return _built(detector_settings(adaptation, **changes), seed)


def build_teacher(teacher: dict | None = None, seed: int = 0, test_cfg=None, **detector):
    """A TeacherStudentDetector around :func:`build_detector`'s."""
    wrapped = detector_settings(**detector)
    kind = 'TeacherStudentDetector'
    return _built(dict(type=kind, detector=wrapped, teacher=teacher, test_cfg=test_cfg), seed)


def detector_settings(adaptation: dict | None = None, **changes) -> dict:
    """The config of :func:`build_detector`'s model."""
    register_all_modules()
    config = Config.fromfile(CONFIGS / '_base_/models/i3d_rpn_r50_narrow.py')
    config.merge_from_dict(
        {
            **{f'model.{key}': value for key, value in TINY.items()},
            **{f'model.{key}': value for key, value in changes.items()},
        }
    )
    model = config.model
    if adaptation is not None:
        model['adaptation'] = adaptation
    return model


def _built(model: dict, seed: int):
    """A model with weights of the seed, as the runner has it."""
    torch.manual_seed(seed)
    detector = MODELS.build(model)
    detector.init_weights()
    return detector.train()  # puts kept batch norm into eval, as the runner does


def packed(rng: np.random.Generator, size=(48, 64), length=8, labels=True) -> dict:
    """One item as the pipeline packs it: a random clip with one box."""
    height, width = size
    sample = ActionDataSample()
    if labels:
        box = [4 + rng.uniform(0, 8), 6 + rng.uniform(0, 8), width - 8, height - 4]
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([box]), labels=torch.tensor([int(rng.integers(3))])
        )
    sample.set_metainfo(
        dict(
            video_name='v',
            key_frame=1,
            key_index=length // 2,
            img_shape=(height, width),
            ori_shape=(2 * height, 2 * width),
            scale_factor=(0.5, 0.5),
        )
    )
    clip = torch.from_numpy(rng.integers(0, 256, (3, length, height, width), dtype=np.uint8))
    return dict(inputs=clip, data_samples=sample)


def collate(items: list[dict]) -> dict:
    """As MMEngine's pseudo_collate."""
    return {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}


def plain_batch(seed: int = 0, n: int = 2, **kwargs) -> dict:
    """A labelled batch."""
    rng = np.random.default_rng(seed)
    return collate([packed(rng, **kwargs) for _ in range(n)])


def dual_batch(seed: int = 0, n: int = 2, target_labels: bool = False, **kwargs) -> dict:
    """A labelled source batch, equal to ``plain_batch``'s of the seed, and a target batch."""
    rng = np.random.default_rng(seed + 1000)
    target = collate([packed(rng, labels=target_labels, **kwargs) for _ in range(n)])
    return dict(source=plain_batch(seed, n, **kwargs), target=target)


def with_weak_views(batch: dict, seed: int = 7) -> dict:
    """The dual-domain batch, whose target also has random weak views."""
    rng = np.random.default_rng(seed)
    weak = [rng.integers(0, 256, x.shape, dtype=np.uint8) for x in batch['target']['inputs']]
    target = dict(batch['target'], weak_inputs=[torch.from_numpy(x) for x in weak])
    return dict(batch, target=target)


def losses_of(detector, batch: dict, seed: int = 0) -> dict:
    """The detector's losses on a batch, with the samplers' randomness fixed."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    data = detector.data_preprocessor(batch, True)
    return detector(**data, mode='loss')
