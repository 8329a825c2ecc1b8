"""Values that mean nothing are named with their key before anything is built."""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mmaction
import pytest
from mmengine.config import Config

import mmstal_da.register  # noqa: F401  (all classes that a config of ours can build)
from mmstal_da import registry
from mmstal_da.errors import ConfigError
from mmstal_da.launch.options import READ
from mmstal_da.launch.values import check_config_values
from tests.model_builders import build_detector, losses_of, module_configs
from tests.test_configs import CONFIGS, RUNNABLE
from tests.test_models.test_padding import batch

# option -> the message
MEANINGLESS = {
    'model.adaptation.num_proposals': (0, 'a whole number of at least 1, not 0'),
    'model.adaptation.weight': (-1, 'a finite number of at least 0, not -1'),
    'train_cfg.max_iters': (0, 'a whole number of at least 1, not 0'),
    'model.adaptation.spatial.channels': ([], 'a list, not empty, .* not '),
    'model.adaptation.temporal_image.channels': (0, 'a whole number'),
    'model.adaptation.temporal_instance.dropout': (1.0, 'below 1, not 1.0'),
    'model.data_preprocessor.pad_size_divisor': (0, 'a whole number'),
    'model.data_preprocessor.key_std': ([1, 0, 1], 'above 0'),
    'test_evaluator.min_score': (math.nan, 'of at least 0 and of at most 1, not nan'),
    'test_evaluator.classes': ('pull', "a list of different names.* not 'pull'"),
    'train_dataloader.dataset.source.classes': (['a', 'a'], 'a list of different names'),
    'train_dataloader.dataset.source.videos': ('a*', 'a list of different names'),
    'train_dataloader.dataset.source.class_map': ({'a': 1}, 'a dict of names'),
    'train_dataloader.dataset.source.labelled': ('yes', "True or False, not 'yes'"),
    'train_dataloader.dataset.source.pipeline': ([], 'a list of transforms, not empty'),
    'train_dataloader.batch_size': (0, 'a whole number of at least 1'),
    'default_hooks.adaptation_weight.gamma': (0, 'above 0, not 0'),
    'default_hooks.checkpoint.interval': (0, 'a whole number of at least 1, or -1, not 0'),
    'default_hooks.logger.interval': (0, 'a whole number'),
    'model.rpn_head.anchor_generator.scales': ([], 'a list, not empty'),
    'model.train_cfg.rpn.sampler.pos_fraction': (1.5, 'at most 1, not 1.5'),
    'model.train_cfg.rpn.assigner.neg_iou_thr': (0.9, r'at most pos_iou_thr \(0.7\), not 0.9'),
    'model.test_cfg.rcnn.score_thr': (1.0, 'below 1'),
    'model.roi_head.bbox_head.roi_feat_size': (3, 'but .*roi_layer.output_size is 4'),
    'model.backbone.norm_eval': ('no', "True or False, not 'no'"),
    'model.backbone.depth': (42, 'one of 18, 34'),
    'optim_wrapper.optimizer.lr': (-0.1, 'above 0, not -0.1'),
    'optim_wrapper.clip_grad.max_norm': (0, 'above 0, not 0'),
    'param_scheduler': ([3], 'a dict, a list of dicts, or None'),
    'randomness.seed': (-3, 'a whole number of at least 0, or None'),
    'allow_transductive': ('no', "True or False, not 'no'"),
    'sync_bn': ('torch', "model.domain_norm is 'target': sync_bn replaces"),
}
# where any number, or any list, has a meaning
FREE = (
    'visualizer.vis_backends', 'allow_classes_without_truth', 'custom_imports.imports',
    'param_scheduler',
    'model.rpn_head.bbox_coder.target_means', 'model.roi_head.bbox_head.bbox_coder.target_means',
    'model.data_preprocessor.clip_mean', 'model.data_preprocessor.key_mean',
    'model.data_preprocessor.mean',
)  # fmt: skip


@cache
def config(name: str) -> Config:
    return Config.fromfile(CONFIGS / name, import_custom_modules=False)


def changed(name: str, key: str, value) -> Config:
    cfg = Config(config(name)._cfg_dict.to_dict())
    *parents, last = key.split('.')
    node = cfg._cfg_dict
    for part in parents:
        node = node[int(part)] if part.isdigit() else node[part]
    node[int(last) if last.isdigit() else last] = value
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('key', MEANINGLESS)
def test_key_and_value_are_named(key):
    value, words = MEANINGLESS[key]
    with pytest.raises(ConfigError, match=words) as error:
        check_config_values(changed('synthetic_a/full_dn.py', key, value))
    assert key.rpartition('.')[2] in str(error.value)


def leaves(value, place: str = '') -> Iterator[tuple[str, object]]:
    """All values that are no dicts, and lists both as wholes and item by item."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f'{place}.{key}' if place else key)
    else:
        yield place, value
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            for number, inner in enumerate(value):
                yield from leaves(inner, f'{place}.{number}')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['synthetic_a/full_dn.py', 'synthetic_a/slowfast.py'])
def test_every_number_switch_and_list_has_a_rule(name):
    """Whatever the config gives: NaN, a text, a negative number or nothing in its place."""
    read = {key: value for key, value in config(name)._cfg_dict.to_dict().items() if key in READ}
    silent, tried = [], 0
    for key, value in leaves(read):
        if value is None or isinstance(value, str) or key in FREE:
            continue
        wrong = [math.nan, -7, 'x']
        if isinstance(value, bool):
            wrong = ['x', 3]
        elif isinstance(value, list | tuple):
            wrong = ['x', []]
        for other in wrong:
            tried += 1
            try:
                check_config_values(changed(name, key, other))
            except ConfigError as error:
                assert key.rpartition('.')[2] in str(error)
            else:
                silent.append((key, other))
    assert not silent
    assert tried > 250


def test_every_class_of_ours_has_rules_for_its_numbers():
    """A new parameter with a number or a switch as default does not go without."""
    import inspect

    lacking = []
    for name in ('MODELS', 'DATASETS', 'TRANSFORMS', 'DATA_SAMPLERS', 'HOOKS', 'METRICS'):
        for kind in vars(registry)[name].module_dict.values():
            if not inspect.isclass(kind) or '__init__' not in vars(kind):
                continue
            for parameter in inspect.signature(kind.__init__).parameters.values():
                is_number = isinstance(parameter.default, int | float)
                if is_number and parameter.name not in getattr(kind, 'value_rules', {}):
                    lacking.append(f'{kind.__name__}.{parameter.name}')
    assert lacking == ['SeededDraws.side']  # of the code, not of a config


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNNABLE)
def test_our_configs_have_values_that_mean_something(name):
    check_config_values(config(name))


@pytest.mark.slow
def test_so_have_mmaction_s_own_configs():
    folder = Path(mmaction.__file__).parent / '.mim/configs'
    paths = sorted(p for p in folder.rglob('*.py') if '_base_' not in p.parts)[::6]
    assert len(paths) > 30
    read = 0
    for path in paths:
        try:
            cfg = Config.fromfile(path, import_custom_modules=False)
        except (ImportError, FileNotFoundError):  # of projects that are not in the wheel
            continue
        read += 1
        check_config_values(cfg)
    assert read > 25


@pytest.mark.slow
@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'rpn_head.anchor_generator.strides': [8]}, r'strides \[\(8, 8\)\].*give both one stride'),
        ({'rpn_head.anchor_generator.strides': [16, 32]}, 'give both one stride'),
        ({'roi_head.bbox_roi_extractor.featmap_strides': [32]}, 'give both one stride'),
        ({'rpn_head.anchor_generator.strides': [8],
          'roi_head.bbox_roi_extractor.featmap_strides': [8]}, r'SF\(K\) is .* with the stride 8'),
        ({'data_preprocessor.pad_size_divisor': 5}, 'pad_size_divisor is a multiple .* 16, not 5'),
        ({'data_preprocessor.pad_size_divisor': 8}, 'pad_size_divisor is a multiple'),
        ({'roi_head.bbox_roi_extractor.out_channels': 80}, 'out_channels is 80; set it to 84'),
        ({'roi_head.bbox_head.in_channels': 99}, r'RoI features \(102, .*bbox_head takes \(99,'),
    ],
)  # fmt: skip
def test_strides_and_channels_are_those_of_the_maps(changes, words):
    """When it is built or at the first batch, before anything is learnt from it."""
    with pytest.raises((ConfigError, RuntimeError), match=words):
        losses_of(build_detector(**changes), batch((48, 64), target=0))


def test_the_channels_of_a_discriminator_are_those_of_the_features():
    modules = module_configs()
    modules['spatial'].update(tap='layer2', in_channels=65)
    with pytest.raises(ConfigError, match=r'adaptation\.spatial\.in_channels is 65, but .* 64'):
        losses_of(build_detector(modules), batch((48, 64), (48, 64)))
