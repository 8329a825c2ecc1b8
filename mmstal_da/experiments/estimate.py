"""How long the unfinished cells of a table will take."""

import heapq
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmstal_da.errors import UsageError

from .cells import Cell, Settings, State
from .commands import TOOLS
from .progress import read_progress
from .record import machine_of


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

        Dumping proposals was not measured and counts as scoring does.
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
            machines.add((machine_of(record), record['environment']['jobs']))
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


def time_iterations(cell: Cell, settings: Settings, count: int, threads: int | None) -> Rates:
    """Measure training by a few iterations, in a temporary folder.

    Args:
        cell: The cell to train.
        settings: Options and precision; one process.
        count: Iterations; the first half warms up.
        threads: OMP_NUM_THREADS; None leaves the environment's.

    Raises:
        UsageError: The training failed.
    """
    options = [
        *settings.cfg_options,
        f'train_cfg.max_iters={count}',
        'default_hooks.logger.interval=1',
        f'log_processor.window_size={max(1, count // 2)}',
    ]
    env = dict(os.environ)
    if threads is not None:
        env['OMP_NUM_THREADS'] = str(threads)
    with tempfile.TemporaryDirectory(prefix='run_table_') as folder:
        command = [sys.executable, str(TOOLS / 'train.py'), str(cell.config), '--no-validate']
        command += ['--work-dir', folder, '--seed', str(cell.seed)]
        command += ['--amp'] * settings.amp + ['--cfg-options', *options]
        ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        progress = read_progress(Path(folder))
        if ended.returncode or progress is None or progress.seconds is None:
            tail = '\n'.join((ended.stdout + ended.stderr).splitlines()[-15:])
            raise UsageError(f'--time-iterations: {" ".join(command)} failed:\n{tail}')
    source = f'{count} iterations of {cell.row}, one run at a time; without scoring'
    return Rates({cell.row: progress.seconds}, {}, source)
