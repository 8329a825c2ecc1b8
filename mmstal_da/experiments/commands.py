"""The commands that a run consists of: training, scoring, and writing proposals."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

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

    def environment(self, slot: dict[str, str]) -> dict[str, str]:
        """Variables of the processes in a slot, such as CUDA_VISIBLE_DEVICES."""
        # dist_train.sh calls `python`: let it be this one
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')])
        threads = {} if self.threads is None else {'OMP_NUM_THREADS': str(self.threads)}
        return {'PATH': path, **threads, **slot}


@dataclass(frozen=True)
class Command:
    """A process to run.

    Attributes:
        stage: ``'train'``, ``'test'`` or ``'propose'``.
        argv: Program and arguments.
        log: File for its output, appended to.
        env: Variables to add to the environment.
    """

    stage: str
    argv: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        code: Exit status; minus the signal's number for a killed one.
        cpu_s: CPU seconds of it and of the children that it waited for.
    """

    code: int
    cpu_s: float


def tool_command(
    tool: str, positional: list[str], flags: list[str], settings: Settings, launcher: Launcher
) -> list[str]:
    """How tools/train.py or tools/test.py is called: alone, or by torchrun."""
    if settings.processes > 1:
        script = str(launcher.tools / f'dist_{tool}.sh')
        return ['bash', script, *positional, str(settings.processes), *flags]
    return [sys.executable, '-u', str(launcher.tools / f'{tool}.py'), *positional, *flags]


def train_command(
    cell: Cell,
    cfg: Config,
    checkpoint: Path | None,
    settings: Settings,
    launcher: Launcher,
    env: dict,
) -> Command:
    """Train a cell, from its last checkpoint if it has one."""
    flags = ['--work-dir', str(cell.folder), '--seed', str(cell.seed), '--no-validate']
    if checkpoint is not None:
        flags += ['--resume', str(checkpoint)]
    if settings.amp:
        flags.append('--amp')
    options = [*settings.cfg_options, *_proposals(cell, cfg), *_saving(cell, cfg)]
    if options:
        flags += ['--cfg-options', *options]
    argv = tool_command('train', [str(cell.config)], flags, settings, launcher)
    return Command('train', argv, cell.folder / 'train.log', env)


def _proposals(cell: Cell, cfg: Config) -> list[str]:
    return proposal_options(cfg, cell.proposals_in) if cell.proposals_in else []


def _saving(cell: Cell, cfg: Config) -> list[str]:
    """Save at least every tenth of the training, so that an interruption loses little."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if cell.max_iters is None or hook.get('by_epoch', True) or not hook.get('interval'):
        return []
    interval = max(1, min(hook['interval'], cell.max_iters // 10))
    return [f'default_hooks.checkpoint.interval={interval}']


def test_command(
    cell: Cell, cfg: Config, checkpoint: Path, settings: Settings, launcher: Launcher, env: dict
) -> Command:
    """Score a checkpoint of a cell on the target's test split."""
    flags = ['--work-dir', str(cell.folder / 'test')]
    options = [*settings.cfg_options, *_proposals(cell, cfg)]
    evaluator = cfg.get('test_evaluator')
    if isinstance(evaluator, dict) and evaluator.get('type', '').endswith('TubeMetric'):
        options.append(f'test_evaluator.dump={cell.folder / "detections.npz"}')
    if options:
        flags += ['--cfg-options', *options]
    argv = tool_command('test', [str(cell.config), str(checkpoint)], flags, settings, launcher)
    return Command('test', argv, cell.folder / 'test.log', env)


def propose_command(
    cell: Cell, checkpoint: Path, settings: Settings, launcher: Launcher, env: dict
) -> Command:
    """Write the proposals of a checkpoint; one process, however many trained it."""
    tool = str(launcher.tools / 'data' / 'dump_proposals.py')
    argv = [sys.executable, '-u', tool, str(cell.config), str(checkpoint)]
    argv += ['--out', str(cell.proposals_file)]
    if settings.cfg_options:
        argv += ['--cfg-options', *settings.cfg_options]
    return Command('propose', argv, cell.folder / 'propose.log', env)
