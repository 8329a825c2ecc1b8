"""Schedules of the adaptation weight lambda, as functions of the training's progress alone.

A schedule takes the progress p in [0, 1] and gives the share of lambda's largest value, >= 0. It is
a function or an object that is called. Those here and any others that are registered in
``mmstal_da.registry.FUNCTIONS`` have names; others are named by their import path.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial

from mmstal_da.errors import ConfigError
from mmstal_da.registry import FUNCTIONS

Schedule = Callable[[float], float]
SCHEDULES = ('constant', 'dann', 'linear', 'cosine')


@FUNCTIONS.register_module()
def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


@FUNCTIONS.register_module()
def dann(progress: float, gamma: float = 10.0) -> float:
    """``2 / (1 + exp(-gamma p)) - 1`` (Ganin et al., JMLR 2016)."""
    return 2.0 / (1.0 + math.exp(-gamma * progress)) - 1.0


@FUNCTIONS.register_module()
def linear(progress: float) -> float:
    """``p``."""
    return progress


@FUNCTIONS.register_module()
def cosine(progress: float) -> float:
    """``(1 - cos(pi p)) / 2``."""
    return (1.0 - math.cos(math.pi * progress)) / 2.0


def build_schedule(schedule: str | dict | Schedule, gamma: float = 10.0) -> Schedule:
    """A schedule from a config.

    Args:
        schedule: A name or an import path (``'my_package.ramps.step'``); or a dict with it as
            ``type`` and arguments, which a class gets when it is built and a function with every
            call; or the schedule itself.
        gamma: Steepness of ``'dann'``, if it is given as a name.

    Raises:
        ConfigError: There is no such schedule, or it takes other arguments.
    """
    if callable(schedule) and not isinstance(schedule, type):
        return schedule
    arguments = dict(schedule) if isinstance(schedule, dict) else dict(type=schedule)
    kind = arguments.pop('type', None)
    found = kind if callable(kind) else _find(kind)
    if found is dann:
        arguments.setdefault('gamma', gamma)
    try:
        if isinstance(found, type):
            return found(**arguments)
        if arguments:
            inspect.signature(found).bind(0.0, **arguments)
        return partial(found, **arguments)
    except TypeError as error:
        raise ConfigError(f'schedule {kind!r} with the arguments {arguments}: {error}') from error


def _find(name: object) -> Callable:
    found = FUNCTIONS.get(name) if isinstance(name, str) else None
    if not callable(found):
        raise ConfigError(
            f'schedule is one of {", ".join(SCHEDULES)}, the name of a function or class that'
            ' mmstal_da.registry.FUNCTIONS has (its module is in the custom_imports of the config),'
            f" or an import path such as 'my_package.ramps.step', not {name!r}"
        )
    return found


def weight_at(schedule: Schedule, iteration: int, max_iters: int, max_weight: float = 0.1) -> float:
    """Lambda at an iteration: ``max_weight * schedule(p)``.

    Args:
        schedule: From :func:`build_schedule`.
        iteration: Iterations since the ramp began, >= 0.
        max_iters: Length of the ramp, > 0. ``p = iteration / max_iters``, clipped to [0, 1].
        max_weight: Lambda where the schedule is 1.

    Raises:
        ValueError: A number is out of range, also one that the schedule gives.
    """
    if max_iters <= 0 or max_weight < 0:
        raise ValueError(
            f'max_iters must be > 0 and max_weight >= 0, got {max_iters} and {max_weight}'
        )
    progress = min(max(iteration / max_iters, 0.0), 1.0)
    given = schedule(progress)
    try:
        share = float(given)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 <= share < math.inf:
        raise ValueError(
            f'the schedule of lambda gives {given!r} at progress {progress:g}; it must give a'
            ' finite number >= 0'
        )
    return max_weight * share


def adaptation_weight(
    schedule: str | dict | Schedule,
    iteration: int,
    max_iters: int,
    max_weight: float = 0.1,
    gamma: float = 10.0,
) -> float:
    """Lambda at an iteration; :func:`build_schedule` and :func:`weight_at` in one."""
    return weight_at(build_schedule(schedule, gamma), iteration, max_iters, max_weight)
