"""When a cell ran, for how long, and under which commit: ``attempts.json``."""

import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mmstal_da.errors import UsageError

from .cells import Cell, Settings, iteration_of, last_checkpoint, read_json
from .commands import Outcome
from .data import digest_file
from .progress import read_progress
from .proposals import PROPOSER
from .record import describe_git, write_json


class Attempts:
    """When a cell ran and under what, in ``attempts.json``; survives ``kill -9``.

    Args:
        cell: The cell.
        settings: What its result hangs on beside the config.

    Attributes:
        proposals: What it reads, if it does: ``from``, ``config_sha256`` and ``sha256``.

    Raises:
        UsageError: The cell was begun on other proposals.
    """

    def __init__(self, cell: Cell, settings: Settings) -> None:
        self.cell = cell
        self.proposals = _describe_proposals(cell)
        found = read_json(cell.attempts_file) if cell.attempts_file.is_file() else {}
        same = found.get('config_sha256') == cell.digest
        self.attempts = found['attempts'] if same else []
        for attempt in self.attempts:
            if attempt['wall_s'] is None:  # it was killed; its log tells until when it lived
                log = cell.folder / f'{attempt["stage"]}.log'
                began = datetime.datetime.fromisoformat(attempt['began']).timestamp()
                lived = log.stat().st_mtime - began if log.is_file() else 0.0
                attempt.update(wall_s=max(0.0, lived), ended='killed')
        if same and last_checkpoint(cell.folder) and found.get('proposals') != self.proposals:
            raise UsageError(
                f'{cell.name} was begun on other proposals than {cell.reads} has now; remove'
                f' {cell.folder} to train it anew'
            )
        self.head = {'config_sha256': cell.digest, 'data': cell.data, **settings.to_dict()}
        if self.proposals:
            self.head['proposals'] = self.proposals

    @contextmanager
    def noting(self, stage: str) -> Iterator:
        """Note the start, and however it ends; yields a function to be told the outcome."""
        attempt = {
            'stage': stage,
            'began': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
            'from_iteration': iteration_of(last_checkpoint(self.cell.folder)),
            **describe_git(),
            'wall_s': None,
            'cpu_s': None,
            'ended': None,
        }
        self.attempts.append(attempt)
        self._write()
        began = time.monotonic()

        def end(outcome: Outcome) -> None:
            attempt.update(cpu_s=round(outcome.cpu_s, 2), ended=outcome.code)

        try:
            yield end
        finally:
            attempt['wall_s'] = round(time.monotonic() - began, 2)
            if attempt['ended'] is None:
                attempt['ended'] = 'interrupted'
            self._write()

    def _write(self) -> None:
        write_json(self.cell.attempts_file, {**self.head, 'attempts': self.attempts})

    def total(self, stage: str) -> dict:
        """Wall and CPU seconds of all attempts at a stage, with work that was lost.

        CPU seconds are None if an attempt was killed and nobody knows its own.
        """
        of_stage = [attempt for attempt in self.attempts if attempt['stage'] == stage]
        cpu = [attempt['cpu_s'] for attempt in of_stage]
        return {
            'wall_s': round(sum(attempt['wall_s'] for attempt in of_stage), 2),
            'cpu_s': round(sum(cpu), 2) if None not in cpu else None,
            'starts': len(of_stage),
        }

    def git(self) -> dict:
        """The commit that training was last started under, and any others it had before.

        Not that of the end: a checkout may move on meanwhile. ``dirty`` if files differed from the
        commit at any start.
        """
        trained = [attempt for attempt in self.attempts if attempt['stage'] == 'train']
        commits = list(dict.fromkeys(attempt['commit'] for attempt in reversed(trained)))
        dirty = any(attempt['dirty'] for attempt in trained)
        return {'commit': commits[0], 'dirty': dirty, 'earlier_commits': commits[1:]}

    def seconds_per_iteration(self) -> float | None:
        """Wall seconds per iteration, start-up included where the last attempt was a whole one."""
        last = self.cell.max_iters
        for attempt in reversed(self.attempts):
            whole = attempt['stage'] == 'train' and attempt['ended'] == 0
            if last is not None and whole and attempt['from_iteration'] < last:
                return round(attempt['wall_s'] / (last - attempt['from_iteration']), 4)
        progress = read_progress(self.cell.folder)
        return progress.seconds if progress else None


def _describe_proposals(cell: Cell) -> dict | None:
    """Whose proposals a cell reads, and which."""
    if cell.reads is None:
        return None
    if not cell.reads.is_file():
        raise UsageError(
            f'{cell.name}: no proposals in {cell.reads}; {PROPOSER} has not ended well'
        )
    return {
        'from': f'{PROPOSER} seed {cell.seed}',
        'config_sha256': cell.proposer,
        'sha256': digest_file(cell.reads),
    }
