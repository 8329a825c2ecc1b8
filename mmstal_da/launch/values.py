"""Values of a config that mean nothing, found before anything is built.

The rules of this project's classes are theirs (``value_rules``), and their constructors check them,
too. Those of MMEngine's, mmdet's and MMAction2's classes, and of places without a class, are here.
Besides, no number is NaN or infinite, and where a parameter's default is True or False, or a
number, the value is, too.
"""

import inspect
import math
import numbers
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmstal_da.errors import ConfigError
from mmstal_da.utils.values import (
    SHARE,
    SWITCH,
    Rule,
    check_values,
    choice,
    is_name,
    is_number,
    number,
    one_or_several,
    optional,
    several,
    whole,
)
from mmstal_da.utils.wrapped import PREDICTORS, detector_config

from .options import READ, class_at

WEIGHT = number(0)
TRANSFORMS = Rule(
    'a list of transforms, not empty',
    lambda v: isinstance(v, list | tuple) and len(v) > 0 and all(isinstance(t, Mapping) for t in v),
)
UNLIMITED = whole(1, besides=(-1,))  # -1: as many as there are
SIZE = one_or_several(whole())

# class -> parameter -> rule
CLASSES: dict[str, dict[str, Rule]] = {
    'ResNet': dict(
        depth=choice(18, 34, 50, 101, 152),
        in_channels=whole(), base_channels=whole(), stem_channels=optional(whole()),
        num_stages=whole(), strides=several(whole()), dilations=several(whole()),
        out_indices=several(whole(0)), frozen_stages=whole(-1), style=choice('pytorch', 'caffe'),
    ),
    'RPNHead': dict(in_channels=whole(), feat_channels=whole(), num_convs=whole()),
    'AnchorGenerator': dict(
        strides=several(one_or_several(number(above=0))), ratios=several(number(above=0)),
        scales=optional(several(number(above=0))), center_offset=SHARE,
    ),
    'DeltaXYWHBBoxCoder': dict(
        target_means=several(number(), 4), target_stds=several(number(above=0), 4)
    ),
    'SingleRoIExtractor': dict(
        out_channels=whole(), featmap_strides=several(number(above=0)), finest_scale=whole()
    ),
    'SingleRoIExtractor3D': dict(
        featmap_stride=whole(), output_size=SIZE, sampling_ratio=whole(0),
        roi_layer_type=choice('RoIAlign', 'RoIPool'),
    ),
    'RoIAlign': dict(output_size=SIZE, sampling_ratio=whole(0), spatial_scale=number(above=0)),
    'BBoxHead': dict(
        num_classes=whole(), in_channels=whole(), roi_feat_size=SIZE, fc_out_channels=whole()
    ),
    'BBoxHeadAVA': dict(
        num_classes=whole(2), in_channels=whole(), dropout_ratio=number(0, below=1),
        focal_gamma=number(0), focal_alpha=number(above=0), background_class=SWITCH,
    ),
    'ResNet3dSlowFast': dict(
        resample_rate=whole(), speed_ratio=whole(), channel_ratio=whole()
    ),
    'BaseDataset': dict(pipeline=TRANSFORMS),
    'ACRNHead': dict(in_channels=whole(), out_channels=whole(), num_convs=whole(0)),
    'MaxIoUAssigner': dict(
        pos_iou_thr=number(above=0, most=1), neg_iou_thr=one_or_several(SHARE), min_pos_iou=SHARE
    ),
    'IgnoringAssigner': dict(
        pos_iou_thr=number(above=0, most=1), neg_iou_thr=one_or_several(SHARE), min_pos_iou=SHARE
    ),
    'MaxIoUAssignerAVA': dict(
        pos_iou_thr=number(above=0, most=1), neg_iou_thr=one_or_several(SHARE), min_pos_iou=SHARE
    ),
    'RandomSampler': dict(
        num=whole(), pos_fraction=SHARE, neg_pos_ub=number(0, besides=(-1,))
    ),
    'CrossEntropyLoss': dict(loss_weight=WEIGHT),
    'L1Loss': dict(loss_weight=WEIGHT),
    'SmoothL1Loss': dict(loss_weight=WEIGHT, beta=number(above=0)),
    'FocalLoss': dict(loss_weight=WEIGHT, gamma=number(0), alpha=SHARE),
    'ActionDataPreprocessor': dict(
        mean=optional(several(number())), std=optional(several(number(above=0))),
        format_shape=choice('NCHW', 'NCTHW', 'NCTVM', 'MIX2d3d'),
    ),
    'Resize': dict(scale=Rule(
        'two sizes in pixels, such as (-1, 256), or a factor above 0',
        lambda v: (is_number(v) and v > 0) or (
            isinstance(v, Sequence) and not isinstance(v, str) and len(v) == 2
            and all(UNLIMITED.holds(size) for size in v) and max(v) > 0
        ),
    )),
    'Flip': dict(flip_ratio=SHARE, direction=choice('horizontal', 'vertical')),
    'ColorJitter': {
        name: Rule('at least 0, or two such numbers', lambda v: all(
            is_number(x) and x >= 0 for x in (v if isinstance(v, Sequence) else [v])
        ))
        for name in ('brightness', 'contrast', 'saturation')
    },
    'CheckpointHook': dict(interval=UNLIMITED, max_keep_ckpts=UNLIMITED),
    'LoggerHook': dict(interval=whole(), interval_exp_name=whole()),
    'LogProcessor': dict(window_size=whole()),
    'EMAHook': dict(momentum=number(0, most=1), interval=whole()),
    'IterBasedTrainLoop': dict(
        max_iters=whole(), val_begin=whole(0), val_interval=whole()
    ),
    'EpochBasedTrainLoop': dict(max_epochs=whole(), val_begin=whole(0), val_interval=whole()),
    'OptimWrapper': dict(accumulative_counts=whole()),
    'Optimizer': dict(
        lr=number(above=0), weight_decay=number(0), eps=number(0), dampening=number(),
        fused=optional(SWITCH),
        momentum=number(0, below=1), betas=several(number(0, below=1), 2),
    ),
    '_ParamScheduler': dict(
        begin=number(0), end=number(above=0, besides=(-1,)), last_step=whole(-1)
    ),
    'LinearParamScheduler': dict(
        start_factor=number(above=0, most=1), end_factor=number(0, most=1)
    ),
    'CosineAnnealingParamScheduler': dict(
        T_max=optional(whole()), eta_min=optional(number(0)), eta_min_ratio=optional(SHARE)
    ),
    'MultiStepParamScheduler': dict(milestones=several(whole()), gamma=number(above=0)),
    'StepParamScheduler': dict(step_size=whole(), gamma=number(above=0)),
}  # fmt: skip

# place -> key -> rule, where no class has them
PLACES: tuple[tuple[str, dict[str, Rule]], ...] = (
    (r'_dataloader$', dict(
        batch_size=whole(), num_workers=whole(0), prefetch_factor=optional(whole()),
        persistent_workers=SWITCH, pin_memory=SWITCH, drop_last=SWITCH, timeout=number(0),
    )),
    (r'^train_cfg$', dict(
        max_iters=whole(), max_epochs=whole(), val_begin=whole(0), val_interval=whole(),
    )),
    (r'^(val|test)_cfg$', dict(fp16=SWITCH)),
    (r'^model(\.detector)?\.test_cfg$', dict(
        clip_stride=whole(), predict_on=choice(*PREDICTORS),
    )),
    (r'clip_grad$', dict(
        max_norm=number(above=0), clip_value=number(above=0),
        norm_type=number(above=0, besides=(math.inf, 'inf')),
    )),
    (r'_pathway$', dict(
        depth=choice(18, 34, 50, 101, 152), base_channels=whole(), conv1_stride_t=whole(),
        pool1_stride_t=whole(), fusion_kernel=whole(), spatial_strides=several(whole()),
        dilations=several(whole()), conv1_kernel=several(whole(), 3), inflate=one_or_several(
            choice(0, 1)
        ), norm_eval=SWITCH, lateral=SWITCH,
    )),
    (r'^env_cfg$', dict(cudnn_benchmark=SWITCH)),
    (r'^env_cfg\.mp_cfg$', dict(opencv_num_threads=whole(0))),
    (r'^custom_imports$', dict(allow_failed_imports=SWITCH)),
    (r'assigner$', dict(ignore_iof_thr=number(0, most=1, besides=(-1,)))),
    (r'^randomness$', dict(
        seed=optional(whole(0)), diff_rank_seed=SWITCH, deterministic=SWITCH,
    )),
    (r'^auto_scale_lr$', dict(enable=SWITCH, base_batch_size=whole())),
    (r'_cfg\.(rpn|rcnn)$', dict(
        allowed_border=number(0, besides=(-1,)), pos_weight=number(above=0, besides=(-1,)),
        debug=SWITCH, score_thr=number(0, below=1),
    )),
    (r'_cfg\.(rpn|rpn_proposal)$', dict(max_per_img=whole(), nms_pre=UNLIMITED)),
    (r'_cfg\.(rpn|rpn_proposal)$', dict(min_bbox_size=number(0, besides=(-1,)))),
    (r'_cfg\.rcnn$', dict(max_per_img=UNLIMITED)),
    (r'\.nms$', dict(iou_threshold=SHARE, max_num=UNLIMITED)),
    (r'norm_cfg$', dict(requires_grad=SWITCH, eps=number(above=0), num_groups=whole())),
)  # fmt: skip
# top-level key -> rule
TOP = dict(
    resume=SWITCH,
    allow_transductive=SWITCH,
    find_unused_parameters=SWITCH,
    allow_classes_without_truth=Rule(
        'a list of names', lambda v: isinstance(v, list | tuple) and all(map(is_name, v))
    ),
    param_scheduler=Rule(
        'a dict, a list of dicts, or None',
        lambda v: v is None or isinstance(v, Mapping) or v == [] or TRANSFORMS.holds(v),
    ),
)
MAY_BE_INFINITE = ('norm_type',)


def check_config_values(cfg: Config) -> None:
    """Check every value that a config gives, by the class that is built with it.

    Raises:
        ConfigError: Names the key, the value, and what it should be.
    """
    import mmstal_da.register  # noqa: F401  (only here: it imports all of mmdet and MMAction2)

    scope = cfg.get('default_scope') or 'mmengine'
    _check(TOP, cfg._cfg_dict, '')
    for key in sorted(READ & set(cfg.keys())):
        for place, node in _dicts(cfg[key], key):
            built = class_at(node, place, scope)
            _check(_rules(built, place), node, f'{place}.')
            _check_kinds(built, place, node)
    _check_relations(cfg)


def _check(rules: Mapping[str, Rule], values: Mapping, place: str) -> None:
    try:
        check_values(rules, values, place)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _dicts(value: Any, place: str) -> Iterator[tuple[str, Mapping]]:
    """All dicts within a value, with their dotted keys."""
    if isinstance(value, Mapping):
        yield place, value
        for key, inner in value.items():
            yield from _dicts(inner, f'{place}.{key}')
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _dicts(inner, f'{place}.{index}')


def _rules(built: Any, place: str) -> dict[str, Rule]:
    """The rules of a class and its bases, and of a place."""
    rules: dict[str, Rule] = {}
    for kind in reversed(getattr(built, '__mro__', ())):
        rules |= CLASSES.get(kind.__name__, {})
        rules |= vars(kind).get('value_rules', {})
    for pattern, more in PLACES:
        if re.search(pattern, place):
            rules |= more
    return rules


def _check_kinds(built: Any, place: str, node: Mapping) -> None:
    """No NaN; and True or False, or a number, where the default is one."""
    defaults = _defaults(built)
    for key, value in node.items():
        bad = [v for v in _numbers(value) if not math.isfinite(v)]
        if bad and key not in MAY_BE_INFINITE:
            raise ConfigError(f'{place}.{key} is a finite number, not {value!r}')
        if key not in defaults or value is None:
            continue
        default = defaults[key]
        if isinstance(default, bool) and not isinstance(value, bool):
            raise ConfigError(f'{place}.{key} is True or False, not {value!r}')
        if is_number(default) and isinstance(value, str | bool | Mapping):
            raise ConfigError(f'{place}.{key} is a number, not {value!r}')


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        yield float(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)


def _defaults(built: Any) -> dict[str, Any]:
    """Parameter -> default of a class, those of its bases among them."""
    found: dict[str, Any] = {}
    for kind in reversed(getattr(built, '__mro__', ())):
        if '__init__' in vars(kind):
            for name, parameter in inspect.signature(vars(kind)['__init__']).parameters.items():
                found[name] = parameter.default
    return found


def _check_relations(cfg: Config) -> None:
    """Values that must agree with each other."""
    model = detector_config(cfg.get('model'))
    domain_norm = model.get('domain_norm')
    for key in ('sync_bn', 'efficient_conv_bn_eval'):
        if cfg.get(key) and domain_norm is not None:
            raise ConfigError(
                f'{key} is {cfg[key]!r} and model.domain_norm is {domain_norm!r}: {key} replaces'
                f' the layers that keep statistics per domain. Remove {key}; statistics per domain'
                ' are averaged over the processes without it'
            )
    head = model.get('roi_head') or {}
    box = head.get('bbox_head') or {}
    size = ((head.get('bbox_roi_extractor') or {}).get('roi_layer') or {}).get('output_size')
    if size is not None and box.get('roi_feat_size', size) != size:
        raise ConfigError(
            f'model.roi_head.bbox_head.roi_feat_size is {box["roi_feat_size"]}, but'
            f' model.roi_head.bbox_roi_extractor.roi_layer.output_size is {size}: give both the'
            ' same'
        )
    for place, node in _dicts(model.get('train_cfg') or {}, 'model.train_cfg'):
        if isinstance(node.get('neg_iou_thr'), float) and 'pos_iou_thr' in node:
            if node['neg_iou_thr'] > node['pos_iou_thr']:
                raise ConfigError(
                    f'{place}.neg_iou_thr is at most pos_iou_thr ({node["pos_iou_thr"]}), not'
                    f' {node["neg_iou_thr"]}'
                )
