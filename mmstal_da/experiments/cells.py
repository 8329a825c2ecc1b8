"""The cells of a table: one row (a config) trained with one seed, and how far each is."""

import argparse
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmengine.config import Config, DictAction

from mmstal_da.errors import UsageError

from .data import data_changed, digest_data
from .proposals import PROPOSER, files_of

PAPER_ROWS = (
    'source_only',
    't_img',
    't_inst',
    's_img',
    't_img_s_img',
    't_inst_s_img',
    'full',
    'oracle',
)
"""Rows of the paper's tables, in its order."""

# what MMEngine's runner reads and a result hangs on; not, for instance, how often it logs
RESULT_KEYS = (
    'model',
    'train_dataloader',
    'test_dataloader',
    'train_cfg',
    'test_cfg',
    'test_evaluator',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'default_hooks',
    'custom_hooks',
    'data_preprocessor',
    'model_wrapper_cfg',
    'load_from',
    'env_cfg',
    'randomness',
    'default_scope',
    'custom_imports',
    'runner_type',
)
# parts of these that leave the result as it is; the seed is the cell's own
IGNORED = {
    'default_hooks': ('logger', 'checkpoint', 'timer', 'visualization'),
    'train_cfg': ('val_interval', 'val_begin'),
    'randomness': ('seed',),
}


@dataclass(frozen=True)
class Settings:
    """What all runs of a table have in common and their results hang on.

    Attributes:
        cfg_options: ``('optim_wrapper.optimizer.lr=0.1', ...)``, as on the command line.
        amp: Mixed precision.
        processes: Processes (GPUs) per run; they multiply the batch.
    """

    cfg_options: tuple[str, ...] = ()
    amp: bool = False
    processes: int = 1

    def to_dict(self) -> dict:
        """The settings as JSON knows them."""
        options = list(self.cfg_options)
        return {'cfg_options': options, 'amp': self.amp, 'processes': self.processes}


@dataclass(frozen=True)
class Cell:
    """One row with one seed.

    Attributes:
        pair: Name of the folder of configs.
        row: Name of the config file, without ending.
        seed: Seed of the training.
        config: The config file.
        folder: Where the run and its ``result.json`` live.
        digest: Of config and settings, see :func:`digest_config`.
        max_iters: Length of the training; None for a config that counts epochs.
        data: Annotation file -> digest, see :func:`~.data.digest_data`.
        reads: File of proposals, if the row reads one, see :mod:`.proposals`.
        proposer: Digest of the source-only config that makes the file; None if it reads none.
        dumps: Whether it is to leave its RPN's proposals in :attr:`proposals_file`.
    """

    pair: str
    row: str
    seed: int
    config: Path
    folder: Path
    digest: str
    max_iters: int | None
    data: dict[str, str] = field(default_factory=dict, hash=False)
    reads: Path | None = None
    proposer: str | None = None
    dumps: bool = False

    @property
    def name(self) -> str:
        """Row and seed, for messages."""
        return f'{self.row} seed {self.seed}'

    @property
    def result_file(self) -> Path:
        """The result, there when the cell is finished."""
        return self.folder / 'result.json'

    @property
    def attempts_file(self) -> Path:
        """With which config the cell was begun, and when it ran."""
        return self.folder / 'attempts.json'

    @property
    def proposals_file(self) -> Path:
        """What a cell that ``dumps`` leaves."""
        return self.folder / 'proposals.npz'


@dataclass(frozen=True)
class State:
    """How far a cell is.

    Attributes:
        kind: ``'done'``, ``'changed'`` (begun or finished under another config or on other data),
            ``'resume'``, ``'todo'`` or ``'propose'`` (trained and scored; the proposals that
            others need of it are missing).
        iteration: Iterations that the last checkpoint has behind it.
        file: The file that says so.
    """

    kind: str
    iteration: int = 0
    file: Path | None = None


def find_rows(pair: Path) -> dict[str, Path]:
    """Rows of a pair, the paper's in its order and then the others by name.

    Raises:
        UsageError: The folder does not exist or holds no config.
    """
    if not pair.is_dir():
        raise UsageError(f'{pair} is no folder of configs; pairs are the folders of configs/')
    found = {path.stem: path for path in pair.glob('*.py') if not path.name.startswith('_')}
    if not found:
        raise UsageError(f'{pair} has no config: a row is a .py file that does not begin with _')
    return {row: found[row] for row in sorted(found, key=row_order)}


def row_order(row: str) -> tuple[int, str]:
    """Key to sort rows by: the paper's order, then by name."""
    return (PAPER_ROWS.index(row) if row in PAPER_ROWS else len(PAPER_ROWS), row)


def choose_rows(pair: Path, names: Sequence[str] | None = None) -> dict[str, Path]:
    """The rows that are named, or without names those of the paper's tables.

    Raises:
        UsageError: A named row does not exist, or none is of the paper's tables.
    """
    rows = find_rows(pair)
    unknown = sorted(set(names or ()) - set(rows))
    if unknown:
        raise UsageError(f'--rows: {pair} has no {", ".join(unknown)}; it has {", ".join(rows)}')
    chosen = {row: path for row, path in rows.items() if row in (names or PAPER_ROWS)}
    if not chosen:
        raise UsageError(f'{pair} has no row of the paper; name them: --rows {" ".join(rows)}')
    return chosen


def parse_options(options: Iterable[str]) -> dict:
    """``--cfg-options`` as tools/train.py reads them: dotted key to value.

    Raises:
        UsageError: An option is not KEY=VALUE.
    """
    options = list(options)
    wrong = [option for option in options if not re.match(r'[^=]+=', option)]
    if wrong:
        raise UsageError(f'--cfg-options: {wrong[0]!r} is not KEY=VALUE')
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='*', action=DictAction, default={})
    return parser.parse_args(['--cfg-options', *options] if options else []).cfg_options


def read_config(path: Path, cfg_options: Iterable[str] = ()) -> Config:
    """A config with options, without importing the modules that it names."""
    cfg = Config.fromfile(path, import_custom_modules=False)
    cfg.merge_from_dict(parse_options(cfg_options))
    return cfg


def digest_config(cfg: Config, settings: Settings) -> str:
    """SHA-256 of all that a result hangs on: the resolved config, precision, processes.

    How often a run logs, saves or validates and where it writes are left out, and so is the
    seed; comments and the way a config inherits do not count either.
    """
    values = {key: value for key, value in cfg.to_dict().items() if key in RESULT_KEYS}
    for key, parts in IGNORED.items():
        if isinstance(values.get(key), dict):
            values[key] = {k: v for k, v in values[key].items() if k not in parts}
    content = {'config': values, 'amp': settings.amp, 'processes': settings.processes}
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def make_cells(
    pair: Path, rows: dict[str, Path], seeds: Sequence[int], out: Path, settings: Settings
) -> list[Cell]:
    """All cells in the order to run them: seed by seed, source-only and oracle first.

    Raises:
        UsageError: The rows are scored on different data or under different protocols, or one reads
            proposals and the pair has no source-only row to make them.
    """
    configs = {row: read_config(path, settings.cfg_options) for row, path in rows.items()}
    scored = {
        row: json.dumps(cfg.to_dict().get('test_evaluator'), sort_keys=True, default=str)
        for row, cfg in configs.items()
    }
    first = next(iter(rows))
    differing = [row for row in rows if scored[row] != scored[first]]
    if differing:
        raise UsageError(
            f'{", ".join(differing)} and {first} are not scored alike (test_evaluator of '
            f'{rows[differing[0]]} and {rows[first]}); make a table of each: --rows and --out'
        )
    early = sorted(rows, key=lambda row: (row not in ('source_only', 'oracle'), row_order(row)))
    readers = [row for row, cfg in configs.items() if files_of(cfg)]
    proposer = None
    if readers:
        path = find_rows(pair).get(PROPOSER)
        if path is None:
            raise UsageError(
                f'{rows[readers[0]]} reads proposals; {pair} has no {PROPOSER}.py to make them'
            )
        proposer = digest_config(read_config(path, settings.cfg_options), settings)
    out = out.resolve()
    return [
        Cell(
            pair=pair.resolve().name,
            row=row,
            seed=seed,
            config=rows[row],
            folder=out / row / f'seed{seed}',
            digest=digest_config(configs[row], settings),
            max_iters=(configs[row].get('train_cfg') or {}).get('max_iters'),
            data=digest_data(configs[row]),
            reads=out / PROPOSER / f'seed{seed}/proposals.npz' if row in readers else None,
            proposer=proposer if row in readers else None,
        )
        for seed in seeds
        for row in early
    ]


def add_proposers(cells: Sequence[Cell], pair: Path, out: Path, settings: Settings) -> list[Cell]:
    """Have source-only leave proposals for the unfinished cells that read them.

    Returns:
        The cells, of which some ``dumps``; before them the source-only cells that it took beyond.
    """
    dealt = {cell.folder: cell for cell in cells}
    added = []
    for cell in cells:
        if cell.reads is None or state_of(cell).kind == 'done':
            continue
        folder = cell.reads.parent
        if folder not in dealt:
            row = {PROPOSER: find_rows(pair)[PROPOSER]}
            (dealt[folder],) = make_cells(pair, row, [cell.seed], out, settings)
            added.append(folder)
        dealt[folder] = replace(dealt[folder], dumps=True)
    return [dealt[folder] for folder in dict.fromkeys([*added, *dealt])]


def is_changed(found: Mapping, digest: str, proposer: str | None) -> bool:
    """Whether a run was made with another config, other data, or proposals of another config.

    Args:
        found: Its ``result.json`` or ``attempts.json``.
        digest: Of its config now.
        proposer: Of source-only's config now, as far as it reads proposals.
    """
    proposals = found.get('proposals') or {'config_sha256': proposer}
    same = found.get('config_sha256') == digest and proposals['config_sha256'] == proposer
    return not same or bool(data_changed(found.get('data') or {}))


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that ``last_checkpoint`` names, also after the folder was moved.

    Raises:
        UsageError: It names one that is not there.
    """
    pointer = folder / 'last_checkpoint'
    if not pointer.is_file():
        return None
    checkpoint = folder / Path(pointer.read_text().strip()).name
    if not checkpoint.is_file():
        raise UsageError(
            f'{pointer} names {checkpoint.name}, which is not there; remove {folder} to train anew'
        )
    return checkpoint


def iteration_of(checkpoint: Path | None) -> int:
    """Iterations behind a checkpoint ``iter_600.pth``; 0 for None and for epochs."""
    match = re.fullmatch(r'iter_(\d+)\.pth', checkpoint.name) if checkpoint else None
    return int(match[1]) if match else 0


def state_of(cell: Cell) -> State:
    """How far a cell is, from its files."""
    checkpoint = last_checkpoint(cell.folder)
    iteration = iteration_of(checkpoint)
    for file, kind in ((cell.result_file, 'done'), (cell.attempts_file, 'resume')):
        if file.is_file():
            found = read_json(file)
            changed = is_changed(found, cell.digest, cell.proposer)
            if changed and (kind == 'done' or checkpoint):
                return State('changed', iteration, file)
            if kind == 'done' and cell.dumps and not cell.proposals_file.is_file():
                trained = checkpoint and cell.max_iters in (None, iteration)
                kind = 'propose' if trained else 'resume'  # a restored result has no checkpoint
                return State(kind if checkpoint else 'todo', iteration, file)
            if kind == 'done' or checkpoint:
                return State(kind, iteration, file)
    if checkpoint:  # trained by other means: nobody knows with which config
        return State('changed', iteration, checkpoint)
    return State('todo')


def read_json(path: Path) -> dict:
    """A JSON object.

    Raises:
        UsageError: The file is not one.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise UsageError(f'{path} is not JSON ({error}); remove it') from error
    if not isinstance(content, dict):
        raise UsageError(f'{path} holds no JSON object; remove it')
    return content
