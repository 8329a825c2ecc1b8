"""Overrides of a config: each must change something, or it is an error.

A key of ``--cfg-options`` has an effect if it is in the config after the file was read and is read
by what is built, or if it is a parameter of the class that is built there. Variables of a file
(``data_root``, ``train_pipeline``) are neither: they are used up while the file is read.
"""

import copy
import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmstal_da.errors import ConfigError, UsageError

# top-level keys that MMEngine's runner, the tools (the last two: run_table.py), the checks read
READ = (set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}) | {
    *('auto_scale_lr', 'compile', 'custom_imports', 'find_unused_parameters', 'model_wrapper_cfg'),
    *('activation_checkpointing', 'efficient_conv_bn_eval', 'runner_type', 'strategy', 'sync_bn'),
    *('allow_classes_without_truth', 'allow_transductive'),
    *('proposals_from', 'pseudo_tubes_from'),
}
# place in a config -> the registry of what is built there; the first that fits
REGISTRIES = (
    (r'optimizer$', 'OPTIMIZERS'),
    (r'(^|\.)optim_wrapper$', 'OPTIM_WRAPPERS'),
    (r'param_scheduler(\.\d+)?$', 'PARAM_SCHEDULERS'),
    (r'(pipeline|transforms)\.\d+$', 'TRANSFORMS'),
    (r'_evaluator(\.\d+|\.metrics\.\d+)?$', 'METRICS'),
    (r'_hooks\.\w+$', 'HOOKS'),
    (r'_dataloader\.(batch_)?sampler$', 'DATA_SAMPLERS'),
    (r'collate_fn$', 'FUNCTIONS'),
    (r'dataset(\.\w+|s\.\d+)*$', 'DATASETS'),
    (r'^(train|val|test)_cfg$', 'LOOPS'),
    (r'init_cfg(\.\d+)?$', 'WEIGHT_INITIALIZERS'),
    (r'vis_backends\.\d+$', 'VISBACKENDS'),
    (r'^visualizer$', 'VISUALIZERS'),
    (r'^log_processor$', 'LOG_PROCESSORS'),
    (r'(assigner|anchor_generator|bbox_coder|iou_calculator|sampler)$', 'TASK_UTILS'),
    (r'^model(\.|$)', 'MODELS'),
    (r'.', 'MODELS'),
)  # fmt: skip
# place -> the class that is built there from a config without `type`
UNTYPED = (
    (r'^model(\.detector)?\.adaptation$', 'MODELS', 'DomainAdaptation'),
    (r'^model\.teacher$', 'MODELS', 'TeacherSettings'),
    (r'^optim_wrapper$', 'OPTIM_WRAPPERS', 'OptimWrapper'),
    (r'^val_cfg$', 'LOOPS', 'ValLoop'),
    (r'^test_cfg$', 'LOOPS', 'TestLoop'),
    (r'^log_processor$', 'LOG_PROCESSORS', 'LogProcessor'),
)
_NMS = ('type', 'iou_threshold', 'class_agnostic', 'split_thr', 'max_num', 'sigma', 'min_score')
# place -> further keys that are read there, by what builds the class or instead of a class
FURTHER = (
    (r'_dataloader$', (*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch')),
    # --amp makes an AmpOptimWrapper of it, which reads the last two
    (r'^optim_wrapper$',
     ('optimizer', 'constructor', 'paramwise_cfg', 'loss_scale', 'dtype')),
    (r'optim_wrapper\.clip_grad$',
     ('type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value')),
    (r'optim_wrapper\.paramwise_cfg$',
     ('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult',
      'dwconv_decay_mult', 'dcn_offset_lr_mult', 'bypass_duplicate')),
    (r'paramwise_cfg\.custom_keys\.', ('lr_mult', 'decay_mult')),
    (r'param_scheduler(\.\d+)?$', ('convert_to_iter_based',)),
    (r'_hooks\.\w+$', ('priority',)),
    (r'^train_cfg$', ('by_epoch', 'max_epochs', 'max_iters', 'val_begin', 'val_interval',
                      'dynamic_intervals')),
    (r'^randomness$', ('seed', 'diff_rank_seed', 'deterministic')),
    (r'^auto_scale_lr$', ('enable', 'base_batch_size')),
    (r'^env_cfg$', ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit')),
    (r'^env_cfg\.mp_cfg$', ('mp_start_method', 'opencv_num_threads')),
    (r'^env_cfg\.dist_cfg$', ('backend', 'timeout', 'port')),
    (r'^custom_imports$', ('imports', 'allow_failed_imports')),
    (r'^model_wrapper_cfg$', ('broadcast_buffers', 'find_unused_parameters', 'device_ids')),
    (r'^model(\.detector)?\.adaptation\.(spatial|temporal_image)$', ('loss', 'tap')),
    (r'^model(\.detector)?\.adaptation\.temporal_instance$', ('loss',)),
    (r'^model(\.detector)?\.train_cfg$', ('rpn', 'rpn_proposal', 'rcnn')),
    (r'^model(\.detector)?\.test_cfg$', ('rpn', 'rcnn', 'clip_stride')),
    (r'^model\.test_cfg$', ('predict_on',)),
    (r'_cfg\.rpn$', ('assigner', 'sampler', 'allowed_border', 'pos_weight', 'debug', 'nms_pre',
                     'max_per_img', 'nms', 'min_bbox_size')),
    (r'_cfg\.rpn_proposal$', ('nms_pre', 'max_per_img', 'nms', 'min_bbox_size')),
    (r'_cfg\.rcnn$', ('assigner', 'sampler', 'pos_weight', 'debug', 'score_thr', 'nms',
                      'max_per_img')),
    (r'\.nms$', _NMS),
    (r'norm_cfg$', ('type', 'requires_grad', 'eps', 'momentum', 'affine', 'num_groups')),
)  # fmt: skip


def override(cfg: Config, options: Mapping[str, Any], path: str) -> None:
    """Override values of a config in place.

    Args:
        cfg: As its file says, everything merged.
        options: Dotted key -> value, as MMEngine's ``DictAction`` reads them.
        path: The file, for messages.

    Raises:
        UsageError: A key changes nothing, or there is no such place. The message says where a value
            went that was meant, or names the nearest keys.
    """
    import mmstal_da.register  # noqa: F401  (only here: it imports all of mmdet and MMAction2)

    before = copy.deepcopy(cfg._cfg_dict)
    try:
        cfg.merge_from_dict(dict(options))
    except (KeyError, TypeError, IndexError, AssertionError, AttributeError) as error:
        keys = ', '.join(options)
        raise UsageError(
            f'--cfg-options {keys}: {path} has no such place ({error}); of a list of numbers or'
            ' names give the whole'
        ) from error
    scope = cfg.get('default_scope') or 'mmengine'
    for key in _leaves(options):
        _check(before, cfg._cfg_dict, key.split('.'), path, scope)


def _leaves(options: Mapping[str, Any], place: str = '') -> Iterator[str]:
    """Dotted keys of all values that are no dicts."""
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f'{place}{key}.')
        elif key != '_delete_':
            yield f'{place}{key}'


def check_names(cfg: Config, path: str) -> None:
    """Check that no top-level name of a config file is a misspelt key.

    Raises:
        ConfigError: Nothing reads it, it went nowhere, and it is nearly a key that is read.
    """
    keys = set(cfg.keys()) - READ
    texts = [repr(cfg[key]) for key in READ & set(cfg.keys())]
    for key in sorted(keys):
        near = difflib.get_close_matches(key, READ, n=1, cutoff=0.85)
        if near and not any(repr(cfg[key]) in text for text in texts):
            raise ConfigError(f'{path}: nothing reads {key!r}; was {near[0]!r} meant?')


def _check(before: Any, after: Any, parts: list[str], path: str, scope: str) -> None:
    """Check one override.

    Args:
        before: The config without any override.
        after: The config with all of them.
        parts: The key, part by part.
        path: The file, for messages.
        scope: In which bare type names are looked up.
    """
    key = '.'.join(parts)
    if parts[0] not in READ:
        what = f'nothing reads {parts[0]!r}'
        if parts[0] in before:
            what = f'{parts[0]!r} is used up while {path} is read, so it changes nothing later'
        raise UsageError(f'--cfg-options {key}: {what}{_elsewhere(before, parts)}')
    for depth, part in enumerate(parts):
        known = _has(before, part)
        if not known and depth and part != 'type':
            place = '.'.join(parts[:depth])
            found, name, takes_more = readers(after, place, scope)
            found |= set(before) if isinstance(before, Mapping) else set()
            # what goes on to another function is known there, unless it is a slip of the pen here
            slip = difflib.get_close_matches(part, sorted(found), n=1, cutoff=0.75)
            if part not in found and (slip or not takes_more):
                raise UsageError(
                    f'--cfg-options {key}: {name or place} reads no {part!r}'
                    f'{_nearest(place, part, found)}'
                )
        before = _get(before, part) if known else None
        after = _get(after, part)


def readers(config: Any, place: str, scope: str) -> tuple[set[str], str | None, bool]:
    """What reads the keys at a place of a config.

    Args:
        config: What is there.
        place: Its dotted key.
        scope: In which bare type names are looked up.

    Returns:
        The keys, the name of the class that reads them, and whether it passes any others on to a
        function that is not known.
    """
    found = {key for pattern, keys in FURTHER if re.search(pattern, place) for key in keys}
    if re.search(r'^default_hooks$', place) and isinstance(config, Mapping):
        return found | {k for k, v in config.items() if v is None or _get(v, 'type')}, None, False
    if re.search(r'custom_keys$', place):
        return found | set(config), None, False
    built = class_at(config, place, scope)
    if built is None:
        return found, None, False
    parameters, takes_more = parameters_of(built)
    return found | parameters | {'type', '_scope_'}, built.__name__, takes_more


def class_at(config: Any, place: str, scope: str) -> Any | None:
    """What is built at a place of a config: a class or function; None if that is not known."""
    kind = config.get('type') if isinstance(config, Mapping) else None
    if kind is None:
        for pattern, registry, name in UNTYPED:
            if re.search(pattern, place):
                return _find(name, getattr(mmengine.registry, registry), 'mmstal_da')
        return None
    if not isinstance(kind, str):
        return kind
    if re.search(r'roi_layer$', place):
        from mmcv import ops

        return getattr(ops, kind, None)
    names = [name for pattern, name in REGISTRIES if re.search(pattern, place)]
    for name in dict.fromkeys(names):
        found = _find(kind, getattr(mmengine.registry, name), scope)
        if found is not None:
            return found
    return None


def _find(kind: str, registry: Registry, scope: str) -> Any | None:
    try:
        with registry.switch_scope_and_registry(scope) as there:
            return there.get(kind)
    except (KeyError, ImportError):
        return None


def parameters_of(built: Any) -> tuple[set[str], bool]:
    """Names of the parameters of a class or function that a config may give.

    Where a constructor takes ``**kwargs``, those of its base classes are among them. A class that
    takes them itself names them in ``config_keys``.

    Returns:
        The names, and whether others are taken, too.
    """
    signatures = [inspect.signature(built)]
    if inspect.isclass(built):
        own = [kind for kind in built.__mro__ if '__init__' in vars(kind) and kind is not object]
        signatures = [inspect.signature(vars(kind)['__init__']) for kind in own]
    found, takes_more = set(getattr(built, 'config_keys', ())), True
    for signature in signatures:
        parameters = signature.parameters.values()
        found |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            takes_more = False
            break
    return found - {'self'}, takes_more and not hasattr(built, 'config_keys')


def _has(node: Any, part: str) -> bool:
    if isinstance(node, Mapping):
        return part in node
    return isinstance(node, Sequence) and not isinstance(node, str) and _index(node, part)


def _index(node: Sequence, part: str) -> bool:
    return part.lstrip('-').isdigit() and -len(node) <= int(part) < len(node)


def _get(node: Any, part: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(part)
    if isinstance(node, Sequence) and not isinstance(node, str) and _index(node, part):
        return node[int(part)]
    return None


def places_of(config: Any, name: str, place: str = '') -> Iterator[str]:
    """Dotted keys of a config that end in a name."""
    items: Iterable[tuple[Any, Any]] = config.items() if isinstance(config, Mapping) else ()
    if isinstance(config, list | tuple):
        items = [(str(number), item) for number, item in enumerate(config)]
    for key, value in items:
        where = f'{place}.{key}' if place else str(key)
        if not place and key not in READ:
            continue
        if key == name:
            yield where
        yield from places_of(value, name, where)


def _elsewhere(config: Any, parts: Sequence[str]) -> str:
    """Keys that are read and may have been meant, for the end of a message."""
    near = difflib.get_close_matches(parts[0], sorted(READ), n=2, cutoff=0.7)
    found = ['.'.join([name, *parts[1:]]) for name in near]
    found += [] if parts[-1].isdigit() else places_of(config, parts[-1])
    found = list(dict.fromkeys(found))
    if not found:
        return ''
    more = f' and {len(found) - 4} more' if len(found) > 4 else ''
    return f'; read are {", ".join(found[:4])}{more}'


def _nearest(place: str, part: str, known: set[str]) -> str:
    """The nearest keys that are read at this place, for the end of a message."""
    near = difflib.get_close_matches(part, sorted(known), n=2, cutoff=0.5)
    if near:
        return f'; the nearest that it reads: {", ".join(f"{place}.{name}" for name in near)}'
    return f'; it reads {", ".join(sorted(known))}' if known else ''
