"""The commands that a run consists of: training, scoring and proposing, however launched."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from .cells import Cell, Settings, last_checkpoint
from .proposals import proposal_options

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@dataclass(frozen=True)
class Machine:
    """How commands are run; results do not hang on it.

    Attributes:
        launcher: ``'local'`` or ``'slurm'``.
        srun_args: Flags for srun.
        threads: OMP_NUM_THREADS of every process; None leaves the environment's.
        jobs: Runs at a time, for the record.
    """

    launcher: str = 'local'
    srun_args: tuple[str, ...] = ()
    threads: int | None = 1
    jobs: int = 1


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
    tool: str, positional: list[str], flags: list[str], settings: Settings, machine: Machine
) -> list[str]:
    """How tools/train.py or tools/test.py is called: alone, by torchrun, or by srun."""
    if machine.launcher == 'slurm':
        srun = ['srun', f'--ntasks={settings.processes}', '--kill-on-bad-exit=1']
        python = [sys.executable, '-u', str(TOOLS / f'{tool}.py'), *positional]
        return [*srun, *machine.srun_args, *python, *flags, '--launcher', 'slurm']
    if settings.processes > 1:
        script = str(TOOLS / f'dist_{tool}.sh')
        return ['bash', script, *positional, str(settings.processes), *flags]
    return [sys.executable, '-u', str(TOOLS / f'{tool}.py'), *positional, *flags]


def train_command(
    cell: Cell, cfg: Config, settings: Settings, machine: Machine, env: dict
) -> Command:
    """Train a cell, from its last checkpoint if it has one."""
    flags = ['--work-dir', str(cell.folder), '--seed', str(cell.seed), '--no-validate']
    checkpoint = last_checkpoint(cell.folder)
    if checkpoint is not None:
        flags += ['--resume', str(checkpoint)]
    if settings.amp:
        flags.append('--amp')
    options = [*settings.cfg_options, *_proposals(cell, cfg), *_saving(cell, cfg)]
    if options:
        flags += ['--cfg-options', *options]
    argv = tool_command('train', [str(cell.config)], flags, settings, machine)
    return Command('train', argv, cell.folder / 'train.log', env)


def _proposals(cell: Cell, cfg: Config) -> list[str]:
    return proposal_options(cfg, cell.reads) if cell.reads else []


def _saving(cell: Cell, cfg: Config) -> list[str]:
    """Save at least every tenth of the training, so that little is lost to an interruption."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if cell.max_iters is None or hook.get('by_epoch', True) or not hook.get('interval'):
        return []
    interval = max(1, min(hook['interval'], cell.max_iters // 10))
    return [f'default_hooks.checkpoint.interval={interval}']


def test_command(
    cell: Cell, cfg: Config, settings: Settings, machine: Machine, env: dict
) -> Command:
    """Score the last checkpoint of a cell on the target's test split."""
    flags = ['--work-dir', str(cell.folder / 'test')]
    options = [*settings.cfg_options, *_proposals(cell, cfg)]
    evaluator = cfg.get('test_evaluator')
    if isinstance(evaluator, dict) and evaluator.get('type', '').endswith('TubeMetric'):
        options.append(f'test_evaluator.dump={cell.folder / "detections.npz"}')
    if options:
        flags += ['--cfg-options', *options]
    positional = [str(cell.config), str(last_checkpoint(cell.folder))]
    argv = tool_command('test', positional, flags, settings, machine)
    return Command('test', argv, cell.folder / 'test.log', env)


def propose_command(cell: Cell, settings: Settings, machine: Machine, env: dict) -> Command:
    """Write the proposals of a cell's last checkpoint; one process, whatever it was trained by."""
    tool = str(TOOLS / 'data' / 'dump_proposals.py')
    argv = [sys.executable, '-u', tool, str(cell.config), str(last_checkpoint(cell.folder))]
    argv += ['--out', str(cell.proposals_file)]
    if settings.cfg_options:
        argv += ['--cfg-options', *settings.cfg_options]
    if machine.launcher == 'slurm':
        argv = ['srun', *machine.srun_args, '--ntasks=1', '--kill-on-bad-exit=1', *argv]
    return Command('propose', argv, cell.folder / 'propose.log', env)
