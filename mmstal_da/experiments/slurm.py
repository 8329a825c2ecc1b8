"""The cells of a table as Slurm jobs, through submitit: one job a cell.

A job trains, scores and records its cell, as the scheduler does on one machine. A job that is
preempted, or that reaches its time limit, is requeued and resumes from its last checkpoint. The
command that submitted only watches. Stopped, it leaves the jobs in the queue; started again, it
watches them again.
"""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmstal_da.errors import UsageError
from mmstal_da.utils.io import read_json

from .cells import Cell, state_of
from .commands import Launcher
from .display import Display
from .fingerprint import Settings
from .running import RunFailed
from .scheduling import Scheduler

POLL = 5.0  # seconds between looks at the queue
MAX_STARTS = 50  # of a job; more only repeat what does not fit its time limit
FOREVER = 10**6  # minutes: submitit leaves it to MAX_STARTS how often a job is requeued

# since Slurm 22.05 srun does not inherit this flag of sbatch
SETUP = ['[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK']


@dataclass(frozen=True)
class CellJob:
    """What a job runs.

    Attributes:
        cell: The cell.
        settings: What the result depends on besides the config.
        launcher: How to run, recorded with the result.
    """

    cell: Cell
    settings: Settings
    launcher: Launcher

    def __call__(self) -> None:
        """Bring the cell to its end, from wherever it is.

        Raises:
            RunFailed: The cell failed.
        """
        failures = Scheduler(self.settings, self.launcher, [{}], Display()).run([self.cell])
        if failures:
            raise RunFailed(failures[0])

    def checkpoint(self):
        """What submitit requeues when the job is preempted or almost out of time: the same."""
        from submitit.helpers import DelayedSubmission

        starts = int(os.environ.get('SLURM_RESTART_COUNT', 0)) + 1
        return DelayedSubmission(self) if starts < MAX_STARTS else None


@dataclass
class Run:
    """A cell in the queue."""

    cell: Cell
    job_id: str
    began: float
    stage: str = 'pending'  # the job's state, ``'ended'`` once it has left the queue

    @property
    def log(self) -> Path:
        """What the job itself prints; its commands have logs of their own."""
        return folder_of(self.cell) / f'{self.job_id}_0_log.out'


def folder_of(cell: Cell) -> Path:
    """Where submitit keeps what belongs to the jobs of a cell."""
    return cell.folder / 'slurm'


def parse_sbatch_args(text: str) -> dict[str, str | bool]:
    """``--partition=gpu --time=4:00:00 --exclusive`` as flag -> value.

    Raises:
        UsageError: A flag is not ``--KEY=VALUE`` or ``--KEY``, or there is no time limit.
    """
    flags: dict[str, str | bool] = {}
    for word in shlex.split(text):
        match = re.fullmatch(r'--([a-z][a-z-]*)(?:=(.*))?', word)
        if match is None:
            raise UsageError(f'--sbatch-args: {word!r} is not --KEY=VALUE or --KEY')
        flags[match[1]] = True if match[2] is None else match[2]
    if 'time' not in flags:
        raise UsageError('--launcher slurm needs a time limit: --sbatch-args="--time=4:00:00 ..."')
    return flags


def run_on_slurm(
    cells: Sequence[Cell],
    settings: Settings,
    launcher: Launcher,
    flags: dict[str, str | bool],
    display: Display,
) -> list[str]:
    """Submit a job for every cell that has none in the queue, and wait for all.

    A cell that reads what another makes waits for its job. At most ``launcher.jobs`` run at
    a time.

    Args:
        cells: The cells, each after those that it reads.
        settings: What the results depend on besides the configs.
        launcher: How to run.
        flags: Of :func:`parse_sbatch_args`.
        display: Told what happens.

    Returns:
        What failed, a message each.

    Raises:
        UsageError: submitit or Slurm is not installed, or Slurm refuses a job.
    """
    runs: list[Run] = []
    queue = read_queue()
    for cell in cells:
        job_id = _find_job(cell, queue)
        if job_id is None:
            after = [run.job_id for run in runs if cell.reads_of(run.cell)]
            if len(runs) >= launcher.jobs:
                after.append(runs[-launcher.jobs].job_id)
            job_id = _submit(CellJob(cell, settings, launcher), flags, after)
        runs.append(Run(cell, job_id, time.monotonic()))
        display.say(f'{cell.name} is job {job_id}; log: {runs[-1].log}')
    failures = []
    while runs:
        time.sleep(POLL)
        queue = read_queue()
        for run in list(runs):
            before, run.stage = run.stage, queue.get(run.job_id, 'ended')
            if run.stage != 'ended':
                continue
            if state_of(run.cell).kind == 'done':
                runs.remove(run)
                display.finished(run.cell, read_json(run.cell.result_file))
            elif before == 'ended':  # for the second time: no file is still on its way to here
                runs.remove(run)
                failures.append(_reason(run))
                display.say(f'FAILED  {failures[-1]}')
        running = [run for run in runs if run.stage == 'running']
        display.report(running, len(runs) - len(running))
    return failures


def read_queue() -> dict[str, str]:
    """The user's jobs that have not ended: id -> state, such as ``'running'``.

    Raises:
        UsageError: ``squeue`` does not run.
    """
    command = ['squeue', '--noheader', '--me', '--format=%A %T']
    try:
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, 'stderr', None) or error
        raise UsageError(f'--launcher slurm: {shlex.join(command)} failed: {reason}') from error
    return {line.split()[0]: line.split()[1].lower() for line in shown.splitlines()}


def _find_job(cell: Cell, queue: dict[str, str]) -> str | None:
    """The job of a cell that is in the queue."""
    found = (path.name.partition('_')[0] for path in folder_of(cell).glob('*_submitted.pkl'))
    return next((job_id for job_id in found if job_id in queue), None)


def _submit(task: CellJob, flags: dict[str, str | bool], after: Sequence[str]) -> str:
    """Submit a job that begins when those in ``after`` have ended; returns its id."""
    try:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError
    except ImportError as error:
        raise UsageError("--launcher slurm: run pip install 'mmstal_da[slurm]'") from error
    flags = {'requeue': True, **flags}
    if after:
        flags['dependency'] = f'afterany:{":".join(after)}'
    executor = SlurmExecutor(folder_of(task.cell))
    executor.update_parameters(
        job_name=f'{task.cell.pair}-{task.cell.row}-{task.cell.seed}',
        time=FOREVER,
        stderr_to_stdout=True,
        ntasks_per_node=1,
        setup=SETUP,
        additional_parameters=flags,
    )
    try:
        return executor.submit(task).job_id
    except (FailedJobError, FailedSubmissionError) as error:
        raise UsageError(f'{task.cell.name}: sbatch refused its job: {error}') from error


def _reason(run: Run) -> str:
    """Why a job left no result, from its log."""
    text = run.log.read_text(errors='replace') if run.log.is_file() else ''
    found = re.findall(r'^.*RunFailed: (.*)', text, re.MULTILINE)
    if found:
        return found[-1]
    last = text.strip().rpartition('\n')[2]
    return f'{run.cell.name}: job {run.job_id} ended without result; log: {run.log}, ends: {last}'
