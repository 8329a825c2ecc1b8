"""The cells of a table as Slurm jobs, through submitit: one job a cell.

A job trains, scores and records its cell, as the scheduler does on one machine. A job that is
preempted, or that reaches its time limit, is requeued and resumes from its last checkpoint. The
command that submitted only watches: stopped, it leaves the jobs in the queue, and the same command
watches them again.
"""

import getpass
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
from .fingerprint import Settings
from .running import RunFailed
from .scheduling import Events, Scheduler, make_start

POLL = 5.0  # seconds between looks at the queue
MAX_TIMEOUTS = 20  # how often a job may reach its time limit and go on

# since Slurm 22.05 srun does not inherit it from sbatch
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
        start = make_start(self.settings, self.launcher, [{}])
        failures = Scheduler(start, 1, Events()).run([self.cell])
        if failures:
            raise RunFailed(failures[0])

    def checkpoint(self):
        """What submitit submits again for a job that is preempted or out of time: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass
class SlurmRun:
    """A cell in the queue."""

    cell: Cell
    job: object  # submitit.SlurmJob
    began: float
    stage: str = 'pending'  # the job's state

    @property
    def log(self) -> Path:
        """What the job prints; its commands have logs of their own."""
        return self.job.paths.stderr


def parse_sbatch_args(text: str) -> dict[str, str | bool]:
    """``--partition=gpu --time=4:00:00 --exclusive`` as flag -> value.

    Raises:
        UsageError: A flag is not ``--KEY=VALUE`` or ``--KEY``, or there is no ``--time``.
    """
    flags: dict[str, str | bool] = {}
    for word in shlex.split(text):
        match = re.fullmatch(r'--([a-z][a-z-]*)(?:=(.*))?', word)
        if match is None:
            raise UsageError(f'--sbatch-args: {word!r} is not --KEY=VALUE or --KEY')
        flags[match[1]] = True if match[2] is None else match[2]
    if not isinstance(flags.get('time'), str):
        raise UsageError('--launcher slurm needs a time limit: --sbatch-args="--time=HOURS:MM:SS"')
    return flags


def minutes_of(limit: str) -> int:
    """A time limit as sbatch takes it, in whole minutes, at least one.

    Args:
        limit: ``MINUTES``, ``MINUTES:SECONDS``, ``HOURS:MINUTES:SECONDS``, ``DAYS-HOURS``,
            ``DAYS-HOURS:MINUTES`` or ``DAYS-HOURS:MINUTES:SECONDS``.

    Raises:
        UsageError: It is something else.
    """
    match = re.fullmatch(r'(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?', limit)
    if match is None:
        raise UsageError(f'--sbatch-args: --time={limit} is no time limit, such as 4:00:00')
    days, *parts = (int(part or 0) for part in match.groups())
    if match[1] is None and match[4] is None:  # no days and no hours
        parts = [0, *parts[:2]]
    hours, minutes, seconds = parts
    return max(1, (days * 24 + hours) * 60 + minutes + seconds // 60)


def run_on_slurm(
    cells: Sequence[Cell],
    settings: Settings,
    launcher: Launcher,
    flags: dict[str, str | bool],
    events: Events,
) -> list[str]:
    """Submit a job for every cell that has none in the queue, and wait for all.

    A cell that reads proposals waits for the job that makes them; of other jobs at most
    ``launcher.jobs`` run at a time.

    Args:
        cells: The cells, a maker of proposals before its readers.
        settings: What the results depend on besides the configs.
        launcher: How to run.
        flags: Of :func:`parse_sbatch_args`.
        events: Told what happens.

    Returns:
        What failed, a message each.

    Raises:
        UsageError: submitit or Slurm is not installed, or Slurm refuses a job.
    """
    runs: list[SlurmRun] = []
    queue = read_queue()
    for cell in cells:
        job = _find_job(cell, queue)
        if job is None:
            after = [run.job.job_id for run in runs if run.cell.proposals_file == cell.proposals_in]
            if len(runs) >= launcher.jobs:
                after.append(runs[-launcher.jobs].job.job_id)
            job = _submit(CellJob(cell, settings, launcher), flags, after)
        runs.append(SlurmRun(cell, job, time.monotonic()))
        events.queued(cell, f'is job {job.job_id}; its log: {runs[-1].log}')
    failures = []
    gone: set[str] = set()  # seen to have left the queue once: its files may still be on their way
    while runs:
        time.sleep(POLL)
        queue = read_queue()
        for run in list(runs):
            job_id = run.job.job_id
            state = queue.get(job_id, 'ended')
            run.stage = state
            if state == 'ended' and job_id not in gone:
                gone.add(job_id)
                if state_of(run.cell).kind != 'done':
                    continue
            if state != 'ended':
                continue
            runs.remove(run)
            if state_of(run.cell).kind == 'done':
                events.finished(run.cell, read_json(run.cell.result_file))
            else:
                failures.append(_reason(run))
                events.failed(run.cell, failures[-1])
        events.tick([run for run in runs if run.stage != 'pending'], len(runs))
    return failures


def read_queue() -> dict[str, str]:
    """The user's jobs that are not at their end: id -> state, such as ``'running'``.

    Raises:
        UsageError: ``squeue`` does not run.
    """
    command = ['squeue', '--noheader', f'--user={getpass.getuser()}', '--format=%A %T']
    try:
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(f'--launcher slurm: {shlex.join(command)} failed: {error}') from error
    return {line.split()[0]: line.split()[1].lower() for line in shown.splitlines()}


def _folder(cell: Cell) -> Path:
    return cell.folder / 'slurm'


def _submit(task: CellJob, flags: dict[str, str | bool], after: Sequence[str]):
    """Submit a job that begins when those in ``after`` have ended."""
    try:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError
    except ImportError as error:
        raise UsageError("--launcher slurm: run pip install 'mmstal_da[slurm]'") from error
    minutes = minutes_of(flags['time'])
    extra = {'requeue': True, **flags}
    if after:
        extra['dependency'] = f'afterany:{":".join(after)}'
    executor = SlurmExecutor(_folder(task.cell), max_num_timeout=MAX_TIMEOUTS)
    executor.update_parameters(
        job_name=f'{task.cell.pair}-{task.cell.row}-{task.cell.seed}',
        time=minutes,
        ntasks_per_node=1,
        setup=SETUP,
        additional_parameters=extra,
    )
    try:
        return executor.submit(task)
    except (FailedJobError, FailedSubmissionError) as error:
        raise UsageError(f'{task.cell.name}: sbatch refused the job: {error}') from error


def _find_job(cell: Cell, queue: dict[str, str]):
    """The job of a cell that is in the queue, None without."""
    for path in _folder(cell).glob('*_submitted.pkl'):
        job_id = path.name.partition('_')[0]
        if job_id in queue:
            from submitit import SlurmJob

            return SlurmJob(_folder(cell), job_id)
    return None


def _reason(run: SlurmRun) -> str:
    """Why a job left no result, as far as its log says."""
    text = run.log.read_text(errors='replace') if run.log.is_file() else ''
    found = re.findall(r'RunFailed: (.*)', text)
    if found:
        return found[-1]
    last = (text.strip().split('\n') or [''])[-1]
    return f'{run.cell.name}: job {run.job.job_id} ended; log: {run.log}, which ends: {last}'
