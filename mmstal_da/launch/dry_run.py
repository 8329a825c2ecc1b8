"""Learning rates and lambda of a training before it runs, from its config alone."""

from collections.abc import Iterator

import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner
from torch import nn

from mmstal_da.errors import UsageError
from mmstal_da.register import register_all_modules
from mmstal_da.registry import HOOKS, MODELS
from mmstal_da.utils.wrapped import detector_config

POINTS = 2000  # of a curve, at most

Curves = dict[str, list[tuple[int, float]]]


def planned_curves(cfg: Config) -> Curves:
    """Learning rates and lambda at the iterations of a training.

    The schedulers are stepped as in training, on a parameter per learning rate. Videos are read
    only if a schedule counts epochs. ``auto_scale_lr`` is not applied.

    Returns:
        ``lr`` -> points (iteration, value), as the log has it; ``lr (<part>)`` for parts of the
        model with a learning rate of their own; ``da_lambda`` if there is an adaptation.

    Raises:
        UsageError: The config has no training, or several optimizers.
    """
    register_all_modules()
    if not (cfg.get('train_cfg') and cfg.get('optim_wrapper')):
        raise UsageError('the config has no training (train_cfg, optim_wrapper)')
    schedulers = cfg.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    epoch = _epoch_length(cfg, schedulers)
    max_iters = cfg.train_cfg.get('max_iters') or cfg.train_cfg.max_epochs * epoch
    rates = _initial_rates(cfg)
    step = -(-max_iters // POINTS)
    curves: Curves = {name: [] for name in rates}
    for iteration, values in enumerate(_step(schedulers, list(rates.values()), max_iters, epoch)):
        if iteration % step == 0 or iteration == max_iters - 1:
            for name, value in zip(rates, values, strict=True):
                curves[name].append((iteration + 1, value))
    hook = _weight_hook(cfg)
    if hook is not None:
        shown = [iteration for iteration, _ in curves['lr']]
        curves['da_lambda'] = [(i, hook.weight_at(i - 1, max_iters)) for i in shown]
    return curves


def _epoch_length(cfg: Config, schedulers: list) -> int:
    """Iterations of an epoch; 1 if nothing counts epochs."""
    if 'max_iters' in cfg.train_cfg and not any(s.get('by_epoch', True) for s in schedulers):
        return 1
    return len(Runner.build_dataloader(cfg.train_dataloader, seed=0))


def _initial_rates(cfg: Config) -> dict[str, float]:
    """Learning rates before any schedule: ``lr``, then those of parts of the model."""
    wrapper = {k: v for k, v in cfg.optim_wrapper.items() if k in ('optimizer', 'paramwise_cfg')}
    if 'optimizer' not in wrapper:
        raise UsageError(f'several optimizers are not supported: {sorted(cfg.optim_wrapper)}')
    base = wrapper['optimizer']['lr']
    if not wrapper.get('paramwise_cfg'):
        return {'lr': base}
    model = MODELS.build(cfg.model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parts: dict[float, list[str]] = {}
    for group in build_optim_wrapper(model, ConfigDict(wrapper)).param_groups:
        for parameter in group['params']:
            # MMEngine adds a parameter of its own that holds the base rate
            part = names.get(id(parameter), '').partition('.')[0]
            if part and part not in parts.setdefault(group['lr'], []):
                parts[group['lr']].append(part)
    others = {f'lr ({", ".join(on)})': rate for rate, on in parts.items() if rate != base}
    return {'lr': base, **others}


def _step(
    schedulers: list, rates: list[float], max_iters: int, epoch: int
) -> Iterator[list[float]]:
    """Learning rates of every iteration, as MMEngine's runner and hook step them."""
    groups: list[dict] = [dict(params=[nn.Parameter(torch.zeros(1))], lr=rate) for rate in rates]
    optimizer = torch.optim.SGD(groups, lr=rates[0], momentum=0.9)
    groups = optimizer.param_groups
    built = []
    for config in schedulers:
        if not str(config['type']).rpartition('.')[2].endswith('LR'):
            continue  # of momentum or an average
        end = max_iters // epoch if config.get('by_epoch', True) else max_iters
        built.append(
            PARAM_SCHEDULERS.build(
                dict(dict(end=end), **config),
                default_args=dict(optimizer=optimizer, epoch_length=epoch),
            )
        )
    for iteration in range(max_iters):
        yield [group['lr'] for group in groups]
        optimizer.step()  # else the schedulers warn
        for scheduler in built:
            if not scheduler.by_epoch or (iteration + 1) % epoch == 0:
                scheduler.step()


def _weight_hook(cfg: Config):
    """The hook that sets lambda; None if no discriminator is on."""
    adaptation = detector_config(cfg.model).get('adaptation') or {}
    if not any(isinstance(value, dict) for value in adaptation.values()):
        return None
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or ())]
    for hook in hooks:
        kind = (hook or {}).get('type', '')
        kind = kind if isinstance(kind, str) else kind.__name__
        if kind.rpartition('.')[2] == 'AdaptationWeightHook':
            return HOOKS.build(hook)
    return None
