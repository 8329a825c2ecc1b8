"""The cells of a table: one row (a config) trained with one seed, and how far each is."""

import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmstal_da.errors import UsageError
from mmstal_da.utils.io import read_json

from .fingerprint import Settings, data_changed, digest_config
from .products import PRODUCTS, Input, Product, Recipes
from .rows import find_rows, row_order


@dataclass(frozen=True)
class Cell:
    """One row with one seed.

    Attributes:
        pair: Name of the folder of configs.
        row: Name of the config file, without ending.
        seed: Seed of the training.
        config: The config file.
        folder: Where the run and its ``result.json`` live.
        digest: Of config and settings, see :func:`~.fingerprint.digest_config`.
        max_iters: Length of the training; None for a config that counts epochs.
        data: Annotation file -> digest, see :meth:`~.products.Recipes.data`.
        inputs: What the row reads of other rows' runs, see :mod:`.products`.
        makes: What the run makes for other rows.
    """

    pair: str
    row: str
    seed: int
    config: Path
    folder: Path
    digest: str
    max_iters: int | None
    data: dict[str, str] = field(default_factory=dict, hash=False)
    inputs: tuple[Input, ...] = ()
    makes: tuple[Product, ...] = ()

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
    def unmade(self) -> tuple[Product, ...]:
        """What it makes and is not there."""
        return tuple(item for item in self.makes if not (self.folder / item.file).is_file())

    def folder_of(self, item: Input) -> Path:
        """The folder of the run of this seed that makes an input."""
        return self.folder.parents[1] / item.row / self.folder.name

    def file_of(self, item: Input) -> Path:
        """The file of an input."""
        return self.folder_of(item) / item.product.file

    def reads_of(self, other: 'Cell') -> bool:
        """Whether it reads what another cell makes."""
        return any(self.folder_of(item) == other.folder for item in self.inputs)


@dataclass(frozen=True)
class State:
    """How far a cell is.

    Attributes:
        kind: ``'done'``, ``'changed'`` (begun or finished under another config or on other data),
            ``'resume'``, ``'todo'`` or ``'make'`` (trained and scored; what others need of it is
            missing).
        iteration: Iterations behind the last checkpoint.
        file: The file that says so.
        unmade: What others need of it and is missing.
    """

    kind: str
    iteration: int = 0
    file: Path | None = None
    unmade: tuple[Product, ...] = ()


class CellLock:
    """The lock of a folder, ``FOLDER/.lock``, held as long as any process of a run lives.

    It is the file lock of an open file (``flock``). The kernel takes it back when the last process
    that has the file open ends, so ``kill -9`` leaves nothing behind. Processes that inherit
    :attr:`fd` hold it too: a training that outlives its scheduler keeps its folder to itself.
    Several machines respect it if their shared file system passes ``flock`` on (NFS does).

    Attributes:
        fd: The open file, to be passed to the processes of the run.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def take(cls, folder: Path) -> 'CellLock | None':
        """Take the lock; None where someone else holds it."""
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / '.lock', os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        os.ftruncate(fd, 0)
        os.write(fd, f'process {os.getpid()} on {socket.gethostname()}\n'.encode())
        return cls(fd)

    def release(self) -> None:
        """Release it; processes that inherited the lock keep it."""
        os.close(self.fd)


def holder(folder: Path) -> str | None:
    """Who holds the lock of a folder, None if nobody does. Writes nothing."""
    path = folder / '.lock'
    if not path.is_file():
        return None
    with open(path, encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or 'another process'
    return None


def make_cells(
    pair: Path, rows: dict[str, Path], seeds: Sequence[int], out: Path, settings: Settings
) -> list[Cell]:
    """All cells in the order to run them: seed by seed, source-only and oracle first.

    Raises:
        UsageError: The rows are scored on different data or under different protocols, or one reads
            what no row of the pair makes.
    """
    recipes = Recipes({**find_rows(pair), **rows}, settings)
    scored = {
        row: json.dumps(
            recipes.config(row).to_dict().get('test_evaluator'), sort_keys=True, default=str
        )
        for row in rows
    }
    first = next(iter(rows))
    differing = [row for row in rows if scored[row] != scored[first]]
    if differing:
        raise UsageError(
            f'{", ".join(differing)} and {first} are not scored alike (test_evaluator of '
            f'{rows[differing[0]]} and {rows[first]}); make a table of each: --rows and --out'
        )
    early = sorted(rows, key=lambda row: (row not in ('source_only', 'oracle'), row_order(row)))
    return [
        Cell(
            pair=pair.resolve().name,
            row=row,
            seed=seed,
            config=rows[row],
            folder=out.resolve() / row / f'seed{seed}',
            digest=digest_config(recipes.config(row), settings),
            max_iters=(recipes.config(row).get('train_cfg') or {}).get('max_iters'),
            data=recipes.data(row),
            inputs=recipes.inputs(row),
        )
        for seed in seeds
        for row in early
    ]


def add_makers(cells: Sequence[Cell], pair: Path, out: Path, settings: Settings) -> list[Cell]:
    """Have cells make what the unfinished ones read, and add those that are missing.

    Returns:
        The cells, each after those that it reads.
    """
    known = {cell.folder: cell for cell in cells}
    waiting = list(known)
    while waiting:
        cell = known[waiting.pop(0)]
        for item in () if state_of(cell).kind == 'done' else cell.inputs:
            folder = cell.folder_of(item)
            if folder not in known:
                row = {item.row: find_rows(pair)[item.row]}
                (known[folder],) = make_cells(pair, row, [cell.seed], out, settings)
            makes = dict.fromkeys([*known[folder].makes, item.product])
            known[folder] = replace(known[folder], makes=tuple(makes))
            waiting.append(folder)
    ordered: dict[Path, Cell] = {}

    def put(cell: Cell) -> None:
        for item in cell.inputs:
            if cell.folder_of(item) in known:
                put(known[cell.folder_of(item)])
        ordered.setdefault(cell.folder, cell)

    for cell in known.values():
        put(cell)
    return list(ordered.values())


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
            f'{pointer} names {checkpoint.name}, which is not there; remove {folder} to train again'
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
    unmade = cell.unmade
    for file, kind in ((cell.result_file, 'done'), (cell.attempts_file, 'resume')):
        if file.is_file():
            changed = is_changed(read_json(file), cell.digest, cell.inputs)
            if changed and (kind == 'done' or checkpoint):
                return State('changed', iteration, file)
            if kind == 'done' and unmade:
                trained = checkpoint and cell.max_iters in (None, iteration)
                kind = 'make' if trained else 'resume'  # a restored result has no checkpoint
                return State(kind if checkpoint else 'todo', iteration, file, unmade)
            if kind == 'done' or checkpoint:
                return State(kind, iteration, file, unmade)
    if checkpoint:  # trained by other means: nobody knows with which config
        return State('changed', iteration, checkpoint)
    return State('todo', unmade=unmade)


def is_changed(found: Mapping, digest: str | None, inputs: Sequence[Input]) -> bool:
    """Whether a run was made with another config, other data, or inputs of another config.

    Args:
        found: Its ``result.json`` or ``attempts.json``. Older results name no inputs.
        digest: Of its config now; None if there is none.
        inputs: What it reads now.
    """
    now = {item.product.name: item.digest for item in inputs}
    read = {product.name: found.get(product.name) for product in PRODUCTS}
    same = found.get('config_sha256') == digest and all(
        record['config_sha256'] == now.get(name) for name, record in read.items() if record
    )
    return not same or data_changed(found.get('data') or {})


def refuse_changed(states: dict[Cell, State]) -> None:
    """Stop where a run was begun with another config or on other data.

    Raises:
        UsageError: There is such a run.
    """
    changed = {cell: state for cell, state in states.items() if state.kind == 'changed'}
    if changed:
        files = '\n'.join(f'  {cell.config}: {state.file}' for cell, state in changed.items())
        raise UsageError(
            'these runs were made with another config, --cfg-options, --amp or --gpus-per-run, '
            'with other annotation files, or on what a row with another config made:\n'
            f'{files}\n--rerun-changed sets them aside and runs them again; another --out keeps '
            'both'
        )


def set_aside(cell: Cell) -> Path:
    """Rename the folder of a run whose config has changed.

    Raises:
        UsageError: The run is in use.
    """
    lock = CellLock.take(cell.folder)
    if lock is None:
        raise UsageError(f'{cell.folder} is in use by {holder(cell.folder)}')
    kept = cell.folder.with_name(f'{cell.folder.name}.changed-{time.strftime("%Y%m%d_%H%M%S")}')
    cell.folder.rename(kept)
    lock.release()
    return kept


def find_changed(results: Mapping[Path, dict], configs: Mapping[str, Path]) -> list[Path]:
    """Results whose config (with their own options) or data is another one now.

    Args:
        results: File to record.
        configs: Row to config file.
    """
    changed = []
    recipes: dict[Settings, Recipes] = {}
    for path, record in results.items():
        settings = Settings(tuple(record['cfg_options']), record['amp'], record['processes'])
        of = recipes.setdefault(settings, Recipes(configs, settings))
        row = record['row']
        digest = digest_config(of.config(row), settings) if row in configs else None
        if is_changed(record, digest, of.inputs(row) if row in configs else ()):
            changed.append(path)
    return changed
