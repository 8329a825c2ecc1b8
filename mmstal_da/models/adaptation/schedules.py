"""Schedules of the adaptation weight lambda, as functions of the iteration alone."""

import math

SCHEDULES = ('constant', 'dann', 'linear', 'cosine')


def adaptation_weight(
    schedule: str,
    iteration: int,
    max_iters: int,
    max_weight: float = 0.1,
    gamma: float = 10.0,
) -> float:
    """Lambda at an iteration.

    With ``p = iteration / max_iters``, clipped to [0, 1]:

    - ``constant``: ``max_weight``;
    - ``dann``: ``max_weight * (2 / (1 + exp(-gamma p)) - 1)`` (Ganin et al., JMLR 2016);
    - ``linear``: ``max_weight * p``;
    - ``cosine``: ``max_weight * (1 - cos(pi p)) / 2``.

    Args:
        schedule: One of the four.
        iteration: Iterations since the ramp began, >= 0.
        max_iters: Length of the ramp, > 0.
        max_weight: Lambda's largest value.
        gamma: Steepness of ``dann``.

    Raises:
        ValueError: The schedule is unknown or a number is out of range.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f'schedule is one of {", ".join(SCHEDULES)}, not {schedule!r}')
    if max_iters <= 0 or max_weight < 0:
        raise ValueError(
            f'max_iters must be > 0 and max_weight >= 0, got {max_iters} and {max_weight}'
        )
    p = min(max(iteration / max_iters, 0.0), 1.0)
    if schedule == 'constant':
        return max_weight
    if schedule == 'dann':
        return max_weight * (2.0 / (1.0 + math.exp(-gamma * p)) - 1.0)
    if schedule == 'linear':
        return max_weight * p
    return max_weight * (1.0 - math.cos(math.pi * p)) / 2.0
