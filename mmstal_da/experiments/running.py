"""One cell from its first iteration to its record, and when it ran: ``attempts.json``."""

import datetime
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

from mmstal_da.errors import UsageError
from mmstal_da.utils.io import read_json, write_json

from .cells import Cell, iteration_of, last_checkpoint
from .commands import Command, Commands, Launcher, Outcome
from .fingerprint import Settings, digest_config, digest_file
from .products import PRODUCTS, Input
from .progress import read_progress
from .record import describe_git, make_record, read_metrics
from .rows import read_config

Steps = Generator[Command, Outcome | None, dict]  # None starts it


class RunFailed(Exception):
    """A command of a run failed; the message says which, and where its log is."""


def run_cell(cell: Cell, settings: Settings, launcher: Launcher) -> Steps:
    """Train, score and record a cell; then make what others need of it.

    A generator: it yields each command, and is sent how the command ended. Closing it at a yield
    notes the interruption in ``attempts.json``.

    Args:
        cell: Not finished, begun with this config or not at all, and locked by the caller.
        settings: What the result depends on besides the config.
        launcher: How to run.

    Returns:
        The record, which is then in ``cell.result_file``.

    Raises:
        RunFailed: A command failed, or did not leave what it should.
        UsageError: The config has changed since the cell was made, the metrics are not those of a
            table, or what the cell reads is missing, or is not what the run was begun on.
    """
    cfg = read_config(cell.config, settings.cfg_options)
    if digest_config(cfg, settings) != cell.digest:  # while it waited
        raise UsageError(f'{cell.name}: {cell.config} has changed since; start the table again')
    checkpoint = last_checkpoint(cell.folder)
    attempts = Attempts(cell, settings, checkpoint)
    commands = Commands(cell, cfg, settings, launcher)

    def run(command: Command) -> Generator[Command, Outcome | None, None]:
        with attempts.noting(command.stage, checkpoint) as end:
            outcome = yield command
            assert outcome is not None
            reason = reason_of(outcome, command)
            end(outcome, reason)
        if reason:
            raise RunFailed(f'{cell.name}: {reason}')

    if checkpoint is None or not is_trained(checkpoint, cfg):
        for product in PRODUCTS:  # of an earlier training
            (cell.folder / product.file).unlink(missing_ok=True)
        command = commands.train(checkpoint)
        yield from run(command)
        checkpoint = last_checkpoint(cell.folder)
        if checkpoint is None or not is_trained(checkpoint, cfg):
            raise RunFailed(
                f'{cell.name}: training ended without the checkpoint of its last iteration in '
                f'{cell.folder} (default_hooks.checkpoint); log: {command.log}'
            )
    if cell.result_file.is_file():  # finished, but for what others need
        record = read_json(cell.result_file)
    else:
        test_folder = cell.folder / 'test'
        if test_folder.exists():
            shutil.rmtree(test_folder)  # of an interrupted test
        yield from run(commands.test(checkpoint))
        metrics = read_metrics(test_folder)
        times = {stage: attempts.total(stage) for stage in ('train', 'test')}
        times['train']['seconds_per_iteration'] = attempts.seconds_per_iteration()
        git, inputs = attempts.git(), attempts.inputs
        record = make_record(cell, settings, cfg, checkpoint.name, metrics, times, git, inputs)
        how = {'launcher': launcher.name, 'threads': launcher.threads, 'jobs': launcher.jobs}
        record['environment'] |= how
        write_json(cell.result_file, record)
    for product in cell.unmade:
        yield from run(commands.make(checkpoint, product))
        attempts.note_made(digest_file(cell.folder / product.file))
    return record


def reason_of(outcome: Outcome, command: Command) -> str | None:
    """Why a command did not end well; None if it did."""
    if outcome.code < 0:
        memory = ' (out of memory?)' if outcome.code == -9 else ''
        how = f'was killed by signal {-outcome.code}{memory}'
    elif outcome.code > 0:
        how = f'ended with status {outcome.code}'
    else:
        return None
    text = command.log.read_text(errors='replace') if command.log.is_file() else ''
    # of its last start: the tool's own sentence, which torchrun puts pages behind; else the end
    lines = [line.strip() for line in text.rpartition('\n$ ')[2].split('\n') if line.strip()]
    own = [line for line in lines if line.startswith(f'{command.tool}: ')]
    if own:
        return f'{command.stage} {how}; log: {command.log}, which says: {own[-1]}'
    return f'{command.stage} {how}; log: {command.log}, which ends: {(lines or [""])[-1]}'


def is_trained(checkpoint: Path | None, cfg: Config) -> bool:
    """Whether a checkpoint is that of the last iteration or epoch."""
    if checkpoint is None:
        return False
    iters, epochs = cfg.train_cfg.get('max_iters'), cfg.train_cfg.get('max_epochs')
    return checkpoint.name in (f'iter_{iters}.pth', f'epoch_{epochs}.pth')


class Attempts:
    """When a cell ran and under which commit, in ``attempts.json``; survives ``kill -9``.

    Args:
        cell: The cell.
        settings: What its result depends on besides the config.
        checkpoint: Its last checkpoint, None if it was not begun.

    Attributes:
        inputs: What it reads: name of the :class:`~.products.Product` -> ``from``,
            ``config_sha256`` and ``sha256``.

    Raises:
        UsageError: It is missing, or not as it was made, or the cell was begun on another.
    """

    def __init__(self, cell: Cell, settings: Settings, checkpoint: Path | None) -> None:
        self.cell = cell
        self.inputs = {item.product.name: _describe(cell, item) for item in cell.inputs}
        found = read_json(cell.attempts_file) if cell.attempts_file.is_file() else {}
        same = found.get('config_sha256') == cell.digest
        self.attempts = found['attempts'] if same else []
        for attempt in self.attempts:
            if attempt['wall_s'] is None:  # it was killed; its log tells until when it lived
                log = cell.folder / f'{attempt["stage"]}.log'
                began = datetime.datetime.fromisoformat(attempt['began']).timestamp()
                lived = log.stat().st_mtime - began if log.is_file() else 0.0
                attempt.update(wall_s=max(0.0, lived), ended='killed')
        for item in cell.inputs if same and checkpoint else ():
            if found.get(item.product.name) != self.inputs[item.product.name]:
                raise UsageError(
                    f'{cell.name} was begun on other {item.product.title} than'
                    f' {cell.file_of(item)} has now; remove {cell.folder} to train it again'
                )
        self.head = {'config_sha256': cell.digest, 'data': cell.data, **settings.to_dict()}
        self.head |= self.inputs

    @contextmanager
    def noting(self, stage: str, checkpoint: Path | None) -> Iterator:
        """Note the start, and however it ends; yields a function to be told the outcome."""
        attempt = {
            'stage': stage,
            'began': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
            'from_iteration': iteration_of(checkpoint),
            **describe_git(),
            'wall_s': None,
            'cpu_s': None,
            'ended': None,
        }
        self.attempts.append(attempt)
        self._write()
        began = time.monotonic()

        def end(outcome: Outcome, reason: str | None) -> None:
            attempt.update(cpu_s=round(outcome.cpu_s, 2), ended=outcome.code)
            if reason:
                attempt['failed'] = reason

        try:
            yield end
        finally:
            attempt['wall_s'] = round(time.monotonic() - began, 2)
            if attempt['ended'] is None:
                attempt['ended'] = 'interrupted'
            self._write()

    def note_made(self, digest: str) -> None:
        """Note the digest of what the last attempt has made."""
        self.attempts[-1]['sha256'] = digest
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
        return progress[1] if progress else None


def _describe(cell: Cell, item: Input) -> dict:
    """Whose file a cell reads, and which.

    Raises:
        UsageError: It is missing, or somebody has changed it.
    """
    file, maker = cell.file_of(item), f'{item.row} seed {cell.seed}'
    if not file.is_file():
        raise UsageError(
            f'{cell.name}: no {item.product.title} in {file}; {maker} has not ended well. The same'
            f' command makes them ({item.product.tool}), once that does'
        )
    digest, attempts = digest_file(file), file.with_name('attempts.json')
    found = read_json(attempts)['attempts'] if attempts.is_file() else []
    made = [attempt for attempt in found if attempt['stage'] == item.product.stage]
    if made and made[-1].get('sha256', digest) != digest:
        raise UsageError(
            f'{cell.name}: {file} is not what {maker} wrote; remove it, and the same command makes'
            ' it again'
        )
    return {'from': maker, 'config_sha256': item.digest, 'sha256': digest}
