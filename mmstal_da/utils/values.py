"""Rules that a value of a config obeys, in words and as a check. Imports no torch."""

import argparse
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What a value must be.

    Attributes:
        words: In words, to follow "is": ``'a whole number of at least 1'``.
        holds: The check.
    """

    words: str
    holds: Callable[[Any], bool]


def is_number(value: Any) -> bool:
    """Whether it is a finite number; a truth value is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Whether it is a whole number; a truth value is none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def share(text: str) -> float:
    """``type`` of a command line's option that is a share or a score: from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'must lie in [0, 1], not {text}')
    return value


def whole(least: int = 1, besides: tuple[Any, ...] = ()) -> Rule:
    """A whole number of at least so much, or one of some others (None, -1)."""
    words = f'a whole number of at least {least}'
    words += ''.join(f', or {other}' for other in besides)
    return Rule(words, lambda v: (is_whole(v) and v >= least) or _one_of(v, besides))


def number(
    least: float = -math.inf,
    most: float = math.inf,
    above: float | None = None,
    below: float | None = None,
    besides: tuple[Any, ...] = (),
) -> Rule:
    """A finite number from ``least`` to ``most``, or strictly between ``above`` and ``below``."""
    low = f'above {above:g}' if above is not None else f'of at least {least:g}'
    high = f'below {below:g}' if below is not None else f'of at most {most:g}'
    ends = [low] * (above is not None or least > -math.inf)
    ends += [high] * (below is not None or most < math.inf)
    words = 'a finite number ' + ' and '.join(ends) if ends else 'a finite number'
    words += ''.join(f', or {other}' for other in besides)

    def holds(v: Any) -> bool:
        inside = is_number(v) and least <= v <= most
        inside = inside and (above is None or v > above) and (below is None or v < below)
        return inside or _one_of(v, besides)

    return Rule(words, holds)


def _one_of(value: Any, others: tuple[Any, ...]) -> bool:
    return any(value is other or (other is not None and value == other) for other in others)


def several(rule: Rule, count: int | None = None, besides: tuple[Any, ...] = ()) -> Rule:
    """A list of such values, at least one, or exactly ``count``."""
    words = f'a list, {"not empty" if count is None else f"of {count}"}, each {rule.words}'
    words += ''.join(f', or {other}' for other in besides)

    def holds(v: Any) -> bool:
        if _one_of(v, besides):
            return True
        right = isinstance(v, Sequence) and not isinstance(v, str) and len(v) > 0
        return right and count in (None, len(v)) and all(rule.holds(item) for item in v)

    return Rule(words, holds)


def one_or_several(rule: Rule) -> Rule:
    """Such a value, or a list of them."""
    many = several(rule)
    return Rule(f'{rule.words}, or several', lambda v: rule.holds(v) or many.holds(v))


def choice(*names: Any) -> Rule:
    """One of these."""
    return Rule(f'one of {", ".join(map(repr, names))}', lambda v: v in names)


def is_name(value: Any) -> bool:
    """Whether it is a text that is not blank."""
    return isinstance(value, str) and bool(value.strip())


SWITCH = Rule('True or False', lambda v: isinstance(v, bool))
SHARE = number(0, 1)
NAMES = Rule(
    "a list of different names, such as ['wave', 'run']",
    lambda v: isinstance(v, Sequence) and not isinstance(v, str) and len(v) > 0
    and all(map(is_name, v)) and len(set(v)) == len(v),
)  # fmt: skip
NAME_MAP = Rule(
    "a dict of names, such as {'Golf-Swing-Back': 'GolfSwing'}",
    lambda v: isinstance(v, Mapping) and all(map(is_name, (*v, *v.values()))),
)


def optional(rule: Rule) -> Rule:
    """Such a value, or None."""
    return Rule(f'{rule.words}, or None', lambda v: v is None or rule.holds(v))


def check_values(rules: Mapping[str, Rule], values: Mapping[str, Any], place: str = '') -> None:
    """Check values by their names.

    Args:
        rules: Name -> rule; names without a value do not count.
        values: Name -> value, for instance the ``locals()`` of a constructor.
        place: Before every name in a message, such as ``'model.adaptation.'``.

    Raises:
        ValueError: Names the value, what it is and what it should be.
    """
    for name, rule in rules.items():
        if name in values and not rule.holds(values[name]):
            raise ValueError(f'{place}{name} is {rule.words}, not {values[name]!r}')
