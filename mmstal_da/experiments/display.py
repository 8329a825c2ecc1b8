"""What the terminal shows while a table is made."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from .cells import Cell, State
from .commands import Command
from .progress import Progress, format_seconds, read_progress
from .scheduling import Events, Job

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
        stages = {'train': 'trains', 'test': 'is scored', 'propose': 'dumps its proposals'}
        what = stages[command.stage]
        if '--resume' in command.argv:
            checkpoint = Path(command.argv[command.argv.index('--resume') + 1])
            what = f'goes on from {checkpoint.name}'
        self.say(f'{cell.name} {what}; log: {command.log}')

    def finished(self, cell: Cell, record: dict | None) -> None:
        """A cell is finished."""
        self.done += 1
        text = f'{cell.name} is finished ({self.done} of {self.total})'
        if record is None:
            text += ', by another process'
        else:
            metrics = record['metrics']
            text += f': frame-mAP {metrics["frame_map"]["0.5"]:.1f}, '
            text += f'video-mAP {metrics["video_map"]["0.5"]:.1f}; '
            text += f'{format_seconds(record["train"]["wall_s"])} of training'
        self.say(text)
        self.on_finished()

    def failed(self, cell: Cell, message: str) -> None:
        """A cell failed."""
        self.say(f'FAILED  {message}')

    def waiting(self, cell: Cell, who: str) -> None:
        """Nothing is left but cells that another process runs."""
        self.say(f'{cell.name} is run by {who}; waiting for it')

    def tick(self, running: Sequence[Job], pending: int) -> None:
        """Refresh the live table, or report once in a while."""
        now = time.monotonic()
        if self.live.is_started and now >= self.next_look:
            self.next_look = now + REFRESH
            self.live.update(self._table(running, pending), refresh=True)
        elif not self.live.is_started and now >= self.next_report:
            self.next_report = now + REPORT
            for job in running:
                self.say('{} {}, {} {}, eta {}'.format(job.cell.name, *_describe(job, now)))

    def _table(self, running: Sequence[Job], pending: int) -> Table:
        title = f'{self.done} of {self.total} finished, {len(running)} running, {pending} to come'
        table = Table(title=title, title_justify='left')
        for column in ('run', 'stage', 'iteration', 'time', 'eta'):
            table.add_column(column)
        for job in running:
            stage, *cells = _describe(job, time.monotonic())
            table.add_row(job.cell.name, stage, *cells)
        return table


def _describe(job: Job, now: float) -> tuple[str, str, str, str]:
    """Stage, iteration, elapsed time and time left of a run."""
    elapsed = format_seconds(now - job.began)
    if job.command.stage != 'train':
        return job.command.stage, '-', elapsed, '?'
    progress = read_progress(job.cell.folder) or Progress(0, None)
    last = job.cell.max_iters
    eta = format_seconds(progress.eta(last)) if last is not None else '?'
    return 'train', f'{progress.iteration}/{last if last is not None else "?"}', elapsed, eta


def describe_state(state: State, rerun_changed: bool) -> str:
    """What is to be done with a cell."""
    if state.kind == 'changed':
        plan = 'to set aside and run anew' if rerun_changed else 'to refuse'
        return f'changed config or data: {plan}'
    resume = f'to resume from iteration {state.iteration}'
    propose = 'to dump its proposals'
    return {'done': 'done', 'todo': 'to do', 'resume': resume, 'propose': propose}[state.kind]
