"""The commands that a run consists of: training, scoring, and writing proposals."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from .cells import Cell
from .fingerprint import Settings
from .rows import proposal_options

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@dataclass(frozen=True)
class Launcher:
    """How commands are run; results do not depend on it.

    Attributes:
        name: ``'local'`` or ``'slurm'``.
        threads: OMP_NUM_THREADS of every process; None leaves the environment's.
        jobs: Runs at a time, for the record.
        tools: Folder of ``train.py``, ``test.py`` and ``data/dump_proposals.py``.
    """

    name: str = 'local'
    threads: int | None = 1
    jobs: int = 1
    tools: Path = field(default_factory=lambda: TOOLS)


class Command(NamedTuple):
    """A process to run.

    Attributes:
        stage: ``'train'``, ``'test'`` or ``'propose'``.
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
        return 'dump_proposals.py' if self.stage == 'propose' else f'{self.stage}.py'


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

    def propose(self, checkpoint: Path) -> Command:
        """Write the proposals of a checkpoint; one process, however many trained it."""
        tool = str(self.launcher.tools / 'data/dump_proposals.py')
        argv = [sys.executable, '-u', tool, str(self.cell.config), str(checkpoint)]
        argv += ['--out', str(self.cell.proposals_file)]
        if self.settings.cfg_options:
            argv += ['--cfg-options', *self.settings.cfg_options]
        return Command('propose', argv, self.cell.folder / 'propose.log', 'writes its proposals')

    def _tool(
        self, stage: str, positional: list[str], flags: list[str], options: list[str], begins: str
    ) -> Command:
        """tools/train.py or tools/test.py: alone, or by torchrun."""
        cell, processes = self.cell, self.settings.processes
        program = [sys.executable, '-u', str(self.launcher.tools / f'{stage}.py')]
        if processes > 1:
            program = ['bash', str(self.launcher.tools / f'dist_{stage}.sh')]
            positional = [*positional, str(processes)]
        proposals = proposal_options(self.cfg, cell.proposals_in) if cell.proposals_in else []
        options = [*self.settings.cfg_options, *proposals, *options]
        options = ['--cfg-options', *options] if options else []
        argv = [*program, str(cell.config), *positional, *flags, *options]
        return Command(stage, argv, cell.folder / f'{stage}.log', begins)

    def _saving(self) -> list[str]:
        """Save at least every tenth of the training, so that an interruption loses little."""
        last = self.cell.max_iters
        hook = (self.cfg.get('default_hooks') or {}).get('checkpoint') or {}
        if last is None or hook.get('by_epoch', True) or not hook.get('interval'):
            return []
        interval = max(1, min(hook['interval'], last // 10))
        return [f'default_hooks.checkpoint.interval={interval}']
