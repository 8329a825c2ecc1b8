"""What the terminal shows while a table is made, and how long it will take."""

import heapq
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .cells import Cell, State
from .progress import read_progress
from .record import device_name
from .table import FRAME, VIDEO

REPORT = 60.0  # seconds between reports of progress


class Display:
    """A line per event, and once in a while a line per run.

    Args:
        total: Cells of the table.
        done: Cells that were finished before.
        on_finished: Called after every finished cell.
    """

    def __init__(
        self, total: int = 1, done: int = 0, on_finished: Callable[[], object] = lambda: None
    ) -> None:
        self.total, self.done = total, done
        self.on_finished = on_finished
        self.next_report = time.monotonic() + REPORT

    def say(self, text: str) -> None:
        """Print a line with the time of day."""
        print(f'{time.strftime("%H:%M:%S")}  {text}', flush=True)

    def finished(self, cell: Cell, record: dict | None) -> None:
        """A cell is finished; ``record`` is None if another process did it."""
        self.done += 1
        text = f'{cell.name} is finished ({self.done} of {self.total})'
        if record is None:
            text += ', by another process'
        else:
            scores = (record['metrics'][key] for key in (FRAME, VIDEO))
            frame, video = ('-' if score is None else f'{score:.1f}' for score in scores)
            seconds = format_seconds(record['train']['wall_s'])
            text += f': frame-mAP {frame}, video-mAP {video}; {seconds} of training'
        self.say(text)
        self.on_finished()

    def report(self, running: Sequence, pending: int) -> None:
        """Say how far the runs are, if it is time to.

        Args:
            running: What runs: its ``cell``, its ``stage``, and when it ``began``, in seconds of
                ``time.monotonic()``.
            pending: How many are to come.
        """
        now = time.monotonic()
        if now < self.next_report:
            return
        self.next_report = now + REPORT
        for run in running:
            text = f'{run.cell.name}: {run.stage}, {format_seconds(now - run.began)}'
            progress = read_progress(run.cell.folder)
            if run.stage in ('train', 'running') and progress and run.cell.max_iters is not None:
                iteration, seconds = progress
                left = None if seconds is None else seconds * (run.cell.max_iters - iteration)
                text += f', iteration {iteration}/{run.cell.max_iters}, eta {format_seconds(left)}'
            self.say(text)
        self.say(f'{self.done} of {self.total} finished, {len(running)} run, {pending} to come')


def format_seconds(seconds: float | None) -> str:
    """``1:02:03`` or ``2:03``; ``?`` for None."""
    if seconds is None:
        return '?'
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'


def describe_state(state: State, rerun_changed: bool) -> str:
    """What is to be done with a cell."""
    aside = 'to set aside and run again' if rerun_changed else 'to refuse'
    made = ' and '.join(product.title for product in state.unmade)
    then = f', then to write its {made}' if made else ''
    return {
        'done': 'done',
        'todo': f'to do{then}',
        'resume': f'to resume from iteration {state.iteration}{then}',
        'make': f'to write its {made}',
        'changed': f'changed config or data: {aside}',
    }[state.kind]


@dataclass(frozen=True)
class Rates:
    """Measured speed.

    Attributes:
        iteration: Row to wall seconds per training iteration.
        test: Row to wall seconds of scoring.
        source: Where they were measured, in words.
    """

    iteration: Mapping[str, float]
    test: Mapping[str, float]
    source: str

    def seconds(self, cell: Cell, state: State) -> float | None:
        """What is left of a cell; rows that were not measured take as long as the mean row.

        Making what others need was not measured and counts as scoring does.
        """
        if cell.max_iters is None:
            return None
        done = state.iteration if state.kind in ('resume', 'make') else 0
        passes = len(state.unmade) + (state.kind != 'make')
        rate, test = (
            of.get(cell.row, float(np.mean(list(of.values()))))
            for of in (self.iteration, self.test)
        )
        return rate * (cell.max_iters - done) + test * passes


def rates_of(records: Iterable[dict], source: str) -> Rates | None:
    """Speeds from records of finished runs; None without any."""
    iteration: dict[str, list[float]] = {}
    test: dict[str, list[float]] = {}
    machines = set()
    for record in records:
        seconds = record['train'].get('seconds_per_iteration')
        if seconds is not None:
            machines.add(f'{device_name(record)}, {record["environment"]["jobs"]} at a time')
            iteration.setdefault(record['row'], []).append(seconds)
            test.setdefault(record['row'], []).append(record['test']['wall_s'])
    if not iteration:
        return None
    means = [
        {row: float(np.mean(values)) for row, values in of.items()} for of in (iteration, test)
    ]
    return Rates(means[0], means[1], f'{source} ({" and ".join(sorted(machines))})')


def makespan(seconds: Sequence[float], jobs: int) -> float:
    """Wall seconds of runs that start in order, ``jobs`` at a time."""
    ends = [0.0] * max(1, jobs)
    for value in seconds:
        heapq.heappush(ends, heapq.heappop(ends) + value)
    return max(ends)
