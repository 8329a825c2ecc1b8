"""Runs cells on this machine, several at a time, and stops them cleanly."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch

from mmstal_da.errors import UsageError

from .cells import Cell, CellLock, holder, state_of
from .commands import Command, Launcher, Outcome
from .display import Display
from .fingerprint import Settings
from .running import RunFailed, Steps, run_cell

POLL = 0.2  # seconds between looks at the processes
RETRY = 2.0  # seconds between looks at cells that another process has locked
GRACE = 15.0  # seconds from SIGTERM to SIGKILL

Slot = dict[str, str]
"""What a slot adds to the environment of its runs, such as CUDA_VISIBLE_DEVICES."""


@dataclass
class Job:
    """A cell that runs."""

    cell: Cell
    slot: int
    lock: CellLock
    steps: Steps
    command: Command
    process: subprocess.Popen
    log: IO
    began: float = field(default_factory=time.monotonic)

    @property
    def stage(self) -> str:
        """That of the command."""
        return self.command.stage


class Scheduler:
    """Runs cells in order, one in a slot at a time.

    A cell is locked while it runs; one that is locked by another process comes later, and is done
    by then or is run here. Processes have sessions of their own: a Ctrl-C reaches this process
    alone, which then stops them.

    Args:
        settings: What the results depend on besides the configs.
        launcher: How to run.
        slots: As many cells run at a time.
        display: Told what happens.
    """

    def __init__(
        self, settings: Settings, launcher: Launcher, slots: Sequence[Slot], display: Display
    ) -> None:
        self.settings = settings
        self.launcher = launcher
        self.slots = slots
        self.display = display
        self.pending: list[Cell] = []
        self.running: list[Job] = []
        self.failures: list[str] = []
        self.locked_until: dict[Cell, float] = {}
        self.asked: list[int] = []  # signals to stop
        self.stopped: list[tuple[Cell, str]] = []  # cells that a signal has stopped, and in what

    def run(self, cells: Sequence[Cell]) -> list[str]:
        """Run the cells.

        Returns:
            What failed, a message each.

        Raises:
            KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; all processes have been stopped.
        """
        self.pending = list(cells)
        told: set[Cell] = set()
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        # only noted, so that no process is lost between its start and its entry in the list
        handlers = {
            number: signal.signal(number, lambda number, _: self.asked.append(number))
            for number in signals
        }
        try:
            while self.pending or self.running:
                self._heed()
                self._fill()
                self._poll()
                for cell in [] if self.running else self.pending:
                    who = holder(cell.folder)
                    if who and cell not in told:
                        told.add(cell)
                        self.display.say(f'{cell.name} is run by {who}; waiting for it')
                self.display.report(self.running, len(self.pending))
                time.sleep(POLL)
        except BaseException:
            self.stop()
            raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self.failures

    def _heed(self) -> None:
        """Stop where a signal has asked to."""
        if self.asked:
            raise KeyboardInterrupt(signal.Signals(self.asked[0]).name)

    def _fill(self) -> None:
        """Start cells while slots are free."""
        for cell in list(self.pending):
            if len(self.running) >= len(self.slots):
                return
            if self.locked_until.get(cell, 0.0) > time.monotonic() or self._waits(cell):
                continue
            lock = CellLock.take(cell.folder)
            if lock is None:
                self.locked_until[cell] = time.monotonic() + RETRY
                continue
            self.pending.remove(cell)
            try:
                kind = state_of(cell).kind
                if kind == 'changed':
                    raise UsageError(
                        f'{cell.folder} was meanwhile begun with another config or data'
                    )
            except UsageError as error:
                lock.release()
                self._fail(str(error))
                continue
            if kind == 'done':
                lock.release()
                self.display.finished(cell, None)
                continue
            taken = {job.slot for job in self.running}
            slot = next(slot for slot in range(len(self.slots)) if slot not in taken)
            self._advance(cell, slot, lock, run_cell(cell, self.settings, self.launcher), None)

    def _waits(self, cell: Cell) -> bool:
        """Whether a cell that is yet to end makes what this one reads."""
        others = [*self.pending, *(job.cell for job in self.running)]
        return any(cell.reads_of(other) for other in others)

    def _advance(
        self, cell: Cell, slot: int, lock: CellLock, steps: Steps, outcome: Outcome | None
    ) -> None:
        """Run the next command of a cell, or end it."""
        try:
            command = steps.send(outcome)
            process, log = self._launch(command, slot, lock)
        except StopIteration as stop:
            lock.release()
            self.display.finished(cell, stop.value)
        except (RunFailed, UsageError, OSError) as error:
            steps.close()
            lock.release()
            self._fail(str(error))
        else:
            self.running.append(Job(cell, slot, lock, steps, command, process, log))
            self.display.say(f'{cell.name} {command.begins}; log: {command.log}')

    def _launch(self, command: Command, slot: int, lock: CellLock) -> tuple[subprocess.Popen, IO]:
        """Start a command in a session of its own; its processes hold the lock too."""
        # dist_train.sh calls `python`: let it be this one
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')])
        env = {**os.environ, 'PATH': path, **self.slots[slot]}
        if self.launcher.threads is not None:
            env['OMP_NUM_THREADS'] = str(self.launcher.threads)
        if self.settings.processes > 1:
            env['PORT'] = str(free_port())
        log = open(command.log, 'ab')
        try:
            log.write(f'\n$ {" ".join(command.argv)}\n'.encode())
            log.flush()
            process = subprocess.Popen(
                command.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                pass_fds=(lock.fd,),
            )
        except BaseException:
            log.close()
            raise
        return process, log

    def _fail(self, message: str) -> None:
        self.failures.append(message)
        self.display.say(f'FAILED  {message}')

    def _poll(self) -> None:
        """Let the cells whose command has ended go on."""
        for job in list(self.running):
            outcome = _ended(job.process)
            if outcome is not None:
                if outcome.code:  # by a signal to all processes of a Slurm job? it comes here too
                    time.sleep(POLL)
                    self._heed()
                self.running.remove(job)
                _kill_group(job.process, signal.SIGKILL)  # what it may have left behind
                job.log.close()
                self._advance(job.cell, job.slot, job.lock, job.steps, outcome)

    def stop(self) -> None:
        """Stop all processes and release their cells; they can be resumed."""
        self.stopped = [(job.cell, job.stage) for job in self.running]
        for job in self.running:
            _kill_group(job.process, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        alive = list(self.running)
        while alive and time.monotonic() < deadline:
            alive = [job for job in alive if _ended(job.process) is None]
            time.sleep(0.05)
        for job in self.running:
            _kill_group(job.process, signal.SIGKILL)
            job.process.wait()
            job.log.close()
            job.steps.close()
            job.lock.release()
        self.running.clear()


def _ended(process: subprocess.Popen) -> Outcome | None:
    """How a process ended, with its CPU time; None while it runs."""
    if process.returncode is not None:
        return Outcome(process.returncode, 0.0)
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if pid == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return Outcome(process.returncode, usage.ru_utime + usage.ru_stime)


def _kill_group(process: subprocess.Popen, number: int) -> None:
    """Signal a process and its children, if any are left."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def plan_slots(
    settings: Settings, jobs: int | None = None, threads: int | None = None
) -> tuple[Launcher, list[Slot]]:
    """How to run on this machine, and in which slots.

    Args:
        settings: Their number of processes.
        jobs: Runs at a time. By default: as many as the GPUs of this machine allow, or its cores
            where it has no GPU.
        threads: OMP_NUM_THREADS of a process; by default 1 where there is no GPU.

    Raises:
        UsageError: A run asks for more GPUs than there are.
    """
    count = torch.cuda.device_count()
    if not count:
        threads = threads or 1
        cores = len(os.sched_getaffinity(0))
        jobs = jobs or max(1, cores // (threads * settings.processes))
        return Launcher(threads=threads, jobs=jobs), [{} for _ in range(jobs)]
    visible = os.environ.get('CUDA_VISIBLE_DEVICES') or ','.join(map(str, range(count)))
    jobs = jobs or max(1, count // settings.processes)
    dealt = assign_devices(visible.split(','), jobs, settings.processes)
    slots = [{'CUDA_VISIBLE_DEVICES': ','.join(devices)} for devices in dealt]
    return Launcher(threads=threads, jobs=jobs), slots


def assign_devices(devices: Sequence[str], slots: int, per_run: int) -> list[list[str]]:
    """Deal GPUs to slots, round robin.

    Args:
        devices: Entries for CUDA_VISIBLE_DEVICES.
        slots: Runs at a time; beyond ``len(devices) // per_run`` runs share GPUs.
        per_run: GPUs of a run.

    Raises:
        UsageError: A run asks for more GPUs than there are.
    """
    if per_run > len(devices):
        raise UsageError(f'--gpus-per-run {per_run}: this machine has {len(devices)} GPUs')
    n = len(devices)
    return [[devices[(slot * per_run + i) % n] for i in range(per_run)] for slot in range(slots)]


def free_port() -> int:
    """A TCP port that nothing on this machine listens on."""
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]
