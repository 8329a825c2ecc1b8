"""What the terminal shows while a table is made, and how long it will take."""

import heapq
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from .cells import Cell, State
from .commands import Command
from .progress import Progress, format_seconds, read_progress
from .record import device_name
from .scheduling import Events
from .table import FRAME, VIDEO

REFRESH = 2.0  # seconds between looks at the scalars
REPORT = 300.0  # seconds between lines of progress where there is no terminal


class Display(Events):
    """A line per event, and on a terminal a live table of the runs.

    Args:
        total: Cells of the table.
        done: Cells that were finished before.
        on_finished: Called after every finished cell.
        console: Where to; by default stdout.
    """

    def __init__(
        self,
        total: int,
        done: int,
        on_finished: Callable[[], object],
        console: Console | None = None,
    ) -> None:
        self.total, self.done = total, done
        self.on_finished = on_finished
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.next_look = 0.0
        self.next_report = time.monotonic() + REPORT

    def __enter__(self) -> 'Display':
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_) -> None:
        if self.live.is_started:
            self.live.stop()

    def say(self, text: str) -> None:
        """Print a line with the time of day."""
        self.console.print(f'{time.strftime("%H:%M:%S")}  {text}', markup=False)

    def started(self, cell: Cell, command: Command) -> None:
        """A command of a cell runs."""
        stages = {'train': 'trains', 'test': 'is scored', 'propose': 'writes its proposals'}
        what = stages[command.stage]
        if '--resume' in command.argv:
            checkpoint = Path(command.argv[command.argv.index('--resume') + 1])
            what = f'resumes from {checkpoint.name}'
        self.say(f'{cell.name} {what}; log: {command.log}')

    def finished(self, cell: Cell, record: dict | None) -> None:
        """A cell is finished."""
        self.done += 1
        text = f'{cell.name} is finished ({self.done} of {self.total})'
        if record is None:
            text += ', by another process'
        else:
            metrics = record['metrics']
            frame, video = (
                '-' if v is None else f'{v:.1f}' for v in (metrics[FRAME], metrics[VIDEO])
            )
            text += f': frame-mAP {frame}, video-mAP {video}; '
            text += f'{format_seconds(record["train"]["wall_s"])} of training'
        self.say(text)
        self.on_finished()

    def failed(self, cell: Cell, message: str) -> None:
        """A cell failed."""
        self.say(f'FAILED  {message}')

    def waiting(self, cell: Cell, who: str) -> None:
        """Nothing is left but cells that another process runs."""
        self.say(f'{cell.name} is run by {who}; waiting for it')

    def queued(self, cell: Cell, text: str) -> None:
        """A job of a cell was given to Slurm."""
        self.say(f'{cell.name} {text}')

    def tick(self, running: Sequence, pending: int) -> None:
        """Refresh the live table, or report once in a while."""
        now = time.monotonic()
        if self.live.is_started and now >= self.next_look:
            self.next_look = now + REFRESH
            self.live.update(self._table(running, pending), refresh=True)
        elif not self.live.is_started and now >= self.next_report:
            self.next_report = now + REPORT
            for job in running:
                self.say('{} {}, {} {}, eta {}'.format(job.cell.name, *_describe(job, now)))

    def _table(self, running: Sequence, pending: int) -> Table:
        title = f'{self.done} of {self.total} finished, {len(running)} running, {pending} to come'
        table = Table(title=title, title_justify='left')
        for column in ('run', 'stage', 'iteration', 'time', 'eta'):
            table.add_column(column)
        for job in running:
            stage, *cells = _describe(job, time.monotonic())
            table.add_row(job.cell.name, stage, *cells)
        return table


def _describe(job, now: float) -> tuple[str, str, str, str]:
    """Stage, iteration, elapsed time and time left of a run."""
    elapsed = format_seconds(now - job.began)
    if job.stage not in ('train', 'running'):
        return job.stage, '-', elapsed, '?'
    progress = read_progress(job.cell.folder) or Progress(0, None)
    last = job.cell.max_iters
    eta = format_seconds(progress.eta(last)) if last is not None else '?'
    return job.stage, f'{progress.iteration}/{last if last is not None else "?"}', elapsed, eta


def describe_state(state: State, rerun_changed: bool) -> str:
    """What is to be done with a cell."""
    if state.kind == 'changed':
        plan = 'to set aside and run again' if rerun_changed else 'to refuse'
        return f'changed config or data: {plan}'
    resume = f'to resume from iteration {state.iteration}'
    propose = 'to write its proposals'
    return {'done': 'done', 'todo': 'to do', 'resume': resume, 'propose': propose}[state.kind]


@dataclass(frozen=True)
class Rates:
    """Measured speed.

    Attributes:
        iteration: Row to wall seconds per training iteration.
        test: Row to wall seconds of scoring.
        source: Where they were measured, in words.
    """

    iteration: dict[str, float]
    test: dict[str, float]
    source: str

    def seconds(self, cell: Cell, state: State) -> float | None:
        """What is left of a cell; rows that were not measured take as long as the mean row.

        Writing proposals was not measured and counts as scoring does.
        """
        if state.kind == 'done':
            return 0.0
        if cell.max_iters is None or not self.iteration:
            return None
        done = state.iteration if state.kind in ('resume', 'propose') else 0
        rate = self.iteration.get(cell.row, float(np.mean(list(self.iteration.values()))))
        test = self.test.get(cell.row, float(np.mean(list(self.test.values()) or [0.0])))
        return rate * (cell.max_iters - done) + test


def rates_of(records: Iterable[dict], source: str) -> Rates | None:
    """Speeds from records of finished runs; None without any."""
    iteration: dict[str, list[float]] = {}
    test: dict[str, list[float]] = {}
    machines = set()
    for record in records:
        seconds = record['train'].get('seconds_per_iteration')
        if seconds is not None:
            machines.add((device_name(record), record['environment']['jobs']))
            iteration.setdefault(record['row'], []).append(seconds)
            test.setdefault(record['row'], []).append(record['test']['wall_s'])
    if not iteration:
        return None
    where = ' and '.join(sorted(f'{name}, {jobs} at a time' for name, jobs in machines))
    return Rates(
        {row: float(np.mean(values)) for row, values in iteration.items()},
        {row: float(np.mean(values)) for row, values in test.items()},
        f'{source} ({where})',
    )


def makespan(seconds: Sequence[float], jobs: int) -> float:
    """Wall seconds of runs that start in order, ``jobs`` at a time."""
    ends = [0.0] * max(1, jobs)
    for value in seconds:
        heapq.heappush(ends, heapq.heappop(ends) + value)
    return max(ends)
