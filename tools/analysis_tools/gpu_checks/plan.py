"""The steps, most useful first, with their time limits."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmengine.config import Config

from .networks import CONFIGS, load_row

PAIR = 'jhmdb_to_foggy'


@dataclass(frozen=True)
class Step:
    """One part of the work.

    Attributes:
        name: Name of its files.
        what: Description for the table.
        needs: Minutes that must be left to start it.
        limit: Minutes after which it is stopped.
    """

    name: str
    what: str
    needs: float
    limit: float


@dataclass(frozen=True)
class Row:
    """A row of the pair that is trained and scored.

    Attributes:
        configs: Possible names of its config; the first that exists with this ``domain_norm``.
        domain_norm: The model's: None on joint statistics, ``'target'`` on statistics per domain.
        what: Description for the table.
    """

    configs: Sequence[str]
    domain_norm: str | None
    what: str


# the names of the rows, defined only here
ROWS = {
    'source_only': Row(['source_only'], None, 'labelled source alone'),
    'full': Row(['full'], None, 'all modules, joint statistics'),
    'full_dn': Row(['full_dn'], 'target', 'all modules, statistics per domain'),
    'oracle': Row(['oracle'], None, 'labelled target'),
}
PREFIX = 'foggy_'

STEPS = [
    Step('tests', 'tests marked gpu', needs=1, limit=4),
    Step('step_time', 'training step at 20 x 256 px, with SlowOnly and SlowFast', 0.7, 4),
    Step('loader', "the loader's rate and the step's", 0.7, 3),
    *(Step(PREFIX + name, f'{PAIR}: {row.what}', 2, 10) for name, row in ROWS.items()),
]


def choose_steps(names: Sequence[str] | None) -> list[Step]:
    """The steps of these names in the plan's order; all of them for None.

    Raises:
        ValueError: No step has one of the names.
    """
    known = [step.name for step in STEPS]
    unknown = set(names or ()) - set(known)
    if unknown:
        raise ValueError(f'no step is named {", ".join(sorted(unknown))}; there are {known}')
    return [step for step in STEPS if names is None or step.name in names]


def find_row(name: str) -> tuple[str, Config]:
    """The file name and the config of a row of ``ROWS``.

    Raises:
        FileNotFoundError: No config of the pair is that row.
    """
    row = ROWS[name]
    for config_name in row.configs:
        if (CONFIGS / PAIR / f'{config_name}.py').is_file():
            config = load_row(PAIR, config_name)
            if config.model.get('domain_norm') == row.domain_norm:
                return config_name, config
    raise FileNotFoundError(
        f'none of {list(row.configs)} in configs/{PAIR} has model.domain_norm={row.domain_norm!r}; '
        'if rows were renamed, correct ROWS in gpu_checks/plan.py'
    )
