"""The commands that a run consists of: training, scoring, and making what other rows read."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from .cells import Cell
from .fingerprint import Settings
from .products import PRODUCTS, Product

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@dataclass(frozen=True)
class Launcher:
    """How commands are run; results do not depend on it.

    Attributes:
        name: ``'local'`` or ``'slurm'``.
        threads: OMP_NUM_THREADS of every process; None leaves the environment's.
        jobs: Runs at a time, for the record.
        tools: Folder of ``train.py``, ``test.py`` and of ``data`` with the others.
    """

    name: str = 'local'
    threads: int | None = 1
    jobs: int = 1
    tools: Path = field(default_factory=lambda: TOOLS)


class Command(NamedTuple):
    """A process to run.

    Attributes:
        stage: ``'train'``, ``'test'`` or that of a :class:`~.products.Product`.
        argv: Program and arguments.
        log: File for its output, appended to.
        begins: What it does, in words.
    """

    stage: str
    argv: list[str]
    log: Path
    begins: str

    @property
    def tool(self) -> str:
        """Name under which the tool complains, such as ``'train.py'``."""
        tools = {product.stage: product.tool for product in PRODUCTS}
        return tools.get(self.stage, f'{self.stage}.py')


class Outcome(NamedTuple):
    """How a process ended.

    Attributes:
        code: Exit status; minus the signal's number for a killed one.
        cpu_s: CPU seconds of it and of the children that it waited for.
    """

    code: int
    cpu_s: float


@dataclass(frozen=True)
class Commands:
    """The commands of one cell.

    Attributes:
        cell: The cell.
        cfg: Its config with the options.
        settings: Options, precision and number of processes.
        launcher: Where the tools are.
    """

    cell: Cell
    cfg: Config
    settings: Settings
    launcher: Launcher = field(default_factory=Launcher)

    def train(self, checkpoint: Path | None) -> Command:
        """Train, from a checkpoint if there is one."""
        flags = ['--work-dir', str(self.cell.folder), '--seed', str(self.cell.seed)]
        flags.append('--no-validate')
        if checkpoint is not None:
            flags += ['--resume', str(checkpoint)]
        if self.settings.amp:
            flags.append('--amp')
        begins = f'resumes from {checkpoint.name}' if checkpoint else 'trains'
        return self._tool('train', [], flags, self._saving(), begins)

    def test(self, checkpoint: Path) -> Command:
        """Score a checkpoint on the target's test split."""
        options = []
        evaluator = self.cfg.get('test_evaluator')
        if isinstance(evaluator, dict) and evaluator.get('type', '').endswith('TubeMetric'):
            options.append(f'test_evaluator.dump={self.cell.folder / "detections.npz"}')
        flags = ['--work-dir', str(self.cell.folder / 'test')]
        return self._tool('test', [str(checkpoint)], flags, options, 'is scored')

    def make(self, checkpoint: Path, product: Product) -> Command:
        """Make what other rows read; one process, however many trained the checkpoint."""
        cell = self.cell
        argv = [sys.executable, '-u', str(self.launcher.tools / 'data' / product.tool)]
        for word in product.arguments:
            argv.append(word.format(config=cell.config, checkpoint=checkpoint))
        argv += ['--out', str(cell.folder / product.file), *self._options()]
        log = cell.folder / f'{product.stage}.log'
        return Command(product.stage, argv, log, f'writes its {product.title}')

    def _tool(
        self, stage: str, positional: list[str], flags: list[str], options: list[str], begins: str
    ) -> Command:
        """tools/train.py or tools/test.py: alone, or by torchrun."""
        cell, processes = self.cell, self.settings.processes
        program = [sys.executable, '-u', str(self.launcher.tools / f'{stage}.py')]
        if processes > 1:
            program = ['bash', str(self.launcher.tools / f'dist_{stage}.sh')]
            positional = [*positional, str(processes)]
        argv = [*program, str(cell.config), *positional, *flags, *self._options(options)]
        return Command(stage, argv, cell.folder / f'{stage}.log', begins)

    def _options(self, more: Sequence[str] = ()) -> list[str]:
        """The table's options, those by which the cell reads its inputs, and more."""
        options = list(self.settings.cfg_options)
        for item in self.cell.inputs:
            options += item.product.options(self.cfg, self.cell.file_of(item))
        options += more
        return ['--cfg-options', *options] if options else []

    def _saving(self) -> list[str]:
        """Save at least every tenth of the training, so that an interruption loses little."""
        last = self.cell.max_iters
        hook = (self.cfg.get('default_hooks') or {}).get('checkpoint') or {}
        if last is None or hook.get('by_epoch', True) or not hook.get('interval'):
            return []
        interval = max(1, min(hook['interval'], last // 10))
        return [f'default_hooks.checkpoint.interval={interval}']
