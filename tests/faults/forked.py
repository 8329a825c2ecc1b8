"""Runs in child processes that are forked: they begin at once, and may be killed."""

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from mmstal_da.utils.interrupt import is_interruption

FORK = multiprocessing.get_context('fork')


def start(target: Callable, *args, log: Path | None = None) -> multiprocessing.Process:
    """A child that runs ``target`` in a session of its own and exits with what it returns."""

    begun = FORK.Event()

    def body() -> None:
        code = 1
        try:
            os.setsid()
            out = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            begun.set()
            code = target(*args) or 0
        except BaseException as error:  # noqa: BLE001, the process ends below
            code = 130 if is_interruption(error) else 1
            if code == 1:
                traceback.print_exc()
        finally:
            os._exit(code)

    process = FORK.Process(target=body)
    process.start()
    begun.wait()
    return process


def kill(process: multiprocessing.Process, number: int = signal.SIGKILL) -> None:
    """Signal the child alone, if it lives."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def kill_session(process: multiprocessing.Process) -> None:
    """``kill -9`` the child and whatever it started in its own session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def cpu_seconds(process: multiprocessing.Process) -> float:
    """CPU time that a running process has used: unlike wall time, it knows no busy machine."""
    fields = Path(f'/proc/{process.pid}/stat').read_text().rpartition(') ')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def alive_in_session(leader: int) -> list[int]:
    """Processes of a session that run: its leader, and what that has started."""
    return [pid for pid, fields in _running() if int(fields[3]) == leader]


def children_of(parent: int) -> list[int]:
    """Processes that a process has started and that run."""
    return [pid for pid, fields in _running() if int(fields[1]) == parent]


def _running() -> Iterator[tuple[int, list[str]]]:
    """Every process with the fields of its ``/proc/PID/stat`` behind the name: state, parent, …"""
    for path in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):  # it has just ended
            fields = path.read_text().rpartition(') ')[2].split()
            if fields[0] not in 'ZX':
                yield int(path.parent.name), fields


def wait(process: multiprocessing.Process, seconds: float = 900) -> int:
    """Exit status of a child that must end; minus the signal's number for a killed one."""
    process.join(seconds)
    if process.is_alive():
        kill_session(process)
        raise AssertionError(f'process {process.pid} did not end')
    return process.exitcode


def until(condition: Callable[[], bool], seconds: float = 900) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'it did not come'
        time.sleep(0.002)
