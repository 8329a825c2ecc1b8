"""Runs cells on this machine, several at a time, and stops them cleanly."""

import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO

import torch

from mmstal_da.errors import UsageError

from .cells import Cell, CellLock, holder, state_of
from .commands import Command, Launcher, Outcome
from .fingerprint import Settings
from .running import RunFailed, Steps, run_cell

POLL = 0.2  # seconds between looks at the processes
RETRY = 2.0  # seconds between looks at cells that another process has locked
GRACE = 15.0  # seconds from SIGTERM to SIGKILL

Start = Callable[[Cell, int], Steps]
"""From a cell and the number of the slot it runs in to its steps."""


class Events:
    """What the scheduler tells; every method may be overridden."""

    def started(self, cell: Cell, command: Command) -> None:
        """A command of a cell runs."""

    def finished(self, cell: Cell, record: dict | None) -> None:
        """A cell is finished; ``record`` is None if another process did it."""

    def failed(self, cell: Cell, message: str) -> None:
        """A cell failed; the others go on."""

    def waiting(self, cell: Cell, who: str) -> None:
        """Nothing is left but cells that another process runs."""

    def queued(self, cell: Cell, text: str) -> None:
        """A job of a cell was given to Slurm."""

    def tick(self, running: Sequence, pending: int) -> None:
        """Called several times a second.

        Args:
            running: Cells that run: ``cell``, ``stage``, ``began`` (of ``time.monotonic()``).
            pending: How many are to come.
        """


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
    began: float

    @property
    def stage(self) -> str:
        """``'train'``, ``'test'`` or ``'propose'``."""
        return self.command.stage


class Scheduler:
    """Runs cells in order, ``slots`` at a time.

    A cell is locked while it runs; one that is locked by another process comes later, and is done
    by then or is run here. Processes have sessions of their own: a Ctrl-C reaches this process
    alone, which then stops them.

    Args:
        start: Makes the steps of a cell.
        slots: Cells at a time.
        events: Told what happens.
    """

    def __init__(self, start: Start, slots: int, events: Events) -> None:
        self.start = start
        self.slots = slots
        self.events = events
        self.running: list[Job] = []
        self.failures: list[str] = []

    def run(self, cells: Sequence[Cell]) -> list[str]:
        """Run the cells.

        Returns:
            What failed, a message each.

        Raises:
            KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; all processes have been stopped.
        """
        pending = deque(cells)
        locked_until = dict.fromkeys(cells, 0.0)
        told: set[Cell] = set()
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        asked: list[int] = []
        # only noted, so that no process is lost between its start and its entry in the list
        handlers = {s: signal.signal(s, lambda number, _: asked.append(number)) for s in signals}
        try:
            while pending or self.running:
                if asked:
                    raise KeyboardInterrupt(signal.Signals(asked[0]).name)
                self._fill(pending, locked_until)
                self._poll()
                if pending and not self.running:
                    for cell in pending:
                        who = holder(cell.folder)
                        if who and cell not in told:
                            told.add(cell)
                            self.events.waiting(cell, who)
                self.events.tick(self.running, len(pending))
                time.sleep(POLL)
        except BaseException:
            self.stop()
            raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self.failures

    def _fill(self, pending: deque, locked_until: dict) -> None:
        """Start cells while slots are free."""
        for cell in list(pending):
            if len(self.running) >= self.slots:
                return
            if locked_until[cell] > time.monotonic() or self._waits(cell, pending):
                continue
            lock = CellLock.take(cell.folder)
            if lock is None:
                locked_until[cell] = time.monotonic() + RETRY
                continue
            pending.remove(cell)
            try:
                kind = state_of(cell).kind
                if kind == 'changed':
                    raise UsageError(
                        f'{cell.folder} was meanwhile begun with another config or data'
                    )
            except UsageError as error:
                lock.release()
                self._fail(cell, str(error))
                continue
            if kind == 'done':
                lock.release()
                self.events.finished(cell, None)
                continue
            taken = {job.slot for job in self.running}
            slot = next(slot for slot in range(self.slots) if slot not in taken)
            self._advance(cell, slot, lock, self.start(cell, slot), None)

    def _waits(self, cell: Cell, pending: Iterable[Cell]) -> bool:
        """Whether a cell that is yet to end makes the proposals that this one reads."""
        others = [*pending, *(job.cell for job in self.running)]
        return any(other.proposals_file == cell.proposals_in for other in others)

    def _advance(
        self, cell: Cell, slot: int, lock: CellLock, steps: Steps, outcome: Outcome | None
    ) -> None:
        """Run the next command of a cell, or end it."""
        try:
            command = steps.send(outcome)
            process, log = _launch(command, lock)
        except StopIteration as stop:
            lock.release()
            self.events.finished(cell, stop.value)
        except (RunFailed, UsageError, OSError) as error:
            steps.close()
            lock.release()
            self._fail(cell, str(error))
        else:
            job = Job(cell, slot, lock, steps, command, process, log, time.monotonic())
            self.running.append(job)
            self.events.started(cell, command)

    def _fail(self, cell: Cell, message: str) -> None:
        self.failures.append(message)
        self.events.failed(cell, message)

    def _poll(self) -> None:
        """Let the cells whose command has ended go on."""
        for job in list(self.running):
            outcome = _ended(job.process)
            if outcome is not None:
                self.running.remove(job)
                _kill_group(job.process, signal.SIGKILL)  # what it may have left behind
                job.log.close()
                self._advance(job.cell, job.slot, job.lock, job.steps, outcome)

    def stop(self) -> None:
        """Stop all processes and let go of their cells; they can be resumed."""
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


def _launch(command: Command, lock: CellLock) -> tuple[subprocess.Popen, IO]:
    """Start a command in a session of its own; its processes hold the lock too."""
    log = open(command.log, 'ab')
    try:
        log.write(f'\n$ {" ".join(command.argv)}\n'.encode())
        log.flush()
        process = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **command.env},
            start_new_session=True,
            pass_fds=(lock.fd,),
        )
    except BaseException:
        log.close()
        raise
    return process, log


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
) -> tuple[Launcher, list[dict[str, str]]]:
    """How to run on this machine, and what each slot adds to the environment of its runs.

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


def make_start(settings: Settings, launcher: Launcher, slots: Sequence[dict[str, str]]) -> Start:
    """What starts a cell in a slot, for the scheduler."""

    def start(cell: Cell, slot: int) -> Steps:
        env = dict(slots[slot])
        if settings.processes > 1:
            env['PORT'] = str(free_port())
        return run_cell(cell, settings, launcher, env)

    return start


def free_port() -> int:
    """A TCP port that nothing on this machine listens on."""
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


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
