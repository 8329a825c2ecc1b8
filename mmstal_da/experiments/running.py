"""One cell from its first iteration to its record, as a sequence of commands."""

import os
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

from mmengine.config import Config

from .attempts import Attempts
from .cells import Cell, Settings, last_checkpoint, read_config, read_json
from .commands import Command, Machine, Outcome, propose_command, test_command, train_command
from .record import make_record, read_metrics, write_json

Steps = Generator[Command, Outcome, dict]


class RunFailed(Exception):
    """A command of a run failed; the message says which, and where its log is."""


def run_cell(cell: Cell, settings: Settings, machine: Machine, env: dict) -> Steps:
    """Train, score and record a cell; then dump its proposals, if others need them.

    A generator: it yields each command, and is sent how the command ended. Closing it at a yield
    notes the interruption in ``attempts.json``.

    Args:
        cell: Not finished, begun with this config or not at all, and locked by the caller.
        settings: What the result hangs on.
        machine: How to run.
        env: Variables of the processes, such as CUDA_VISIBLE_DEVICES.

    Returns:
        The record, which is then in ``cell.result_file``.

    Raises:
        RunFailed: A command failed, or did not leave what it should.
        UsageError: The metrics are not those of a table, or the proposals are not there or not
            those that it was begun on.
    """
    # dist_train.sh calls `python`: let it be this one
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')])
    env = {'PATH': path, **env}
    if machine.threads is not None:
        env['OMP_NUM_THREADS'] = str(machine.threads)
    cfg = read_config(cell.config, settings.cfg_options)
    attempts = Attempts(cell, settings)
    if not is_trained(cell.folder, cfg):
        command = train_command(cell, cfg, settings, machine, env)
        with attempts.noting('train') as end:
            end(outcome := (yield command))
        check(outcome, command, cell)
        if not is_trained(cell.folder, cfg):
            raise RunFailed(
                f'{cell.name}: training ended without the checkpoint of its last iteration in '
                f'{cell.folder} (default_hooks.checkpoint); log: {command.log}'
            )
    if cell.result_file.is_file():  # finished, but for its proposals
        record = read_json(cell.result_file)
    else:
        record = yield from _score(cell, settings, cfg, machine, env, attempts)
    if cell.dumps:
        command = propose_command(cell, settings, machine, env)
        with attempts.noting('propose') as end:
            end(outcome := (yield command))
        check(outcome, command, cell)
    return record


def _score(
    cell: Cell, settings: Settings, cfg: Config, machine: Machine, env: dict, attempts: Attempts
) -> Steps:
    """Score the last checkpoint and record it."""
    test_folder = cell.folder / 'test'
    if test_folder.exists():
        shutil.rmtree(test_folder)  # of an interrupted test
    command = test_command(cell, cfg, settings, machine, env)
    with attempts.noting('test') as end:
        end(outcome := (yield command))
    check(outcome, command, cell)
    metrics = read_metrics(test_folder)
    checkpoint = last_checkpoint(cell.folder)
    times = {stage: attempts.total(stage) for stage in ('train', 'test')}
    times['train']['seconds_per_iteration'] = attempts.seconds_per_iteration()
    record = make_record(
        cell, settings, cfg, checkpoint.name, metrics, times, attempts.git(), attempts.proposals
    )
    record['environment'] |= {'launcher': machine.launcher, 'threads': machine.threads}
    record['environment'] |= {'jobs': machine.jobs}
    if machine.launcher == 'slurm':  # this process runs on another machine than the run did
        record['environment'] |= {'cpu': None, 'cores': None, 'gpu': None}
    write_json(cell.result_file, record)
    return record


def check(outcome: Outcome, command: Command, cell: Cell) -> None:
    """Raise RunFailed if a command did not end well."""
    if outcome.code < 0:
        memory = ' (out of memory?)' if outcome.code == -9 else ''
        how = f'was killed by signal {-outcome.code}{memory}'
    elif outcome.code > 0:
        how = f'ended with status {outcome.code}'
    else:
        return
    lines = command.log.read_text(errors='replace').split('\n') if command.log.is_file() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), '')
    raise RunFailed(f'{cell.name}: {command.stage} {how}; log: {command.log}, which ends: {last}')


def is_trained(folder: Path, cfg: Config) -> bool:
    """Whether the last checkpoint is that of the last iteration or epoch."""
    checkpoint = last_checkpoint(folder)
    if checkpoint is None:
        return False
    train_cfg = cfg.train_cfg
    iters, epochs = train_cfg.get('max_iters'), train_cfg.get('max_epochs')
    return checkpoint.name in (f'iter_{iters}.pth', f'epoch_{epochs}.pth')
