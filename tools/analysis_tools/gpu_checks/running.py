"""Runs a step in a separate process and stops it, with all its children, at its time limit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .context import Context
from .plan import Step

SKIPPED = 3  # exit status of a step that cannot run here
LAST_LINES = 40
GRACE = 10  # seconds from SIGTERM to SIGKILL


def run_step(step: Step, context: Context, seconds: float) -> dict:
    """Run a step.

    Args:
        step: The step.
        context: Its input.
        seconds: Its time limit.

    Returns:
        ``status`` (``'ok'``, ``'failed'``, ``'timed out'``, ``'skipped'``), ``seconds``,
        ``limit_s``, ``result`` (what it wrote, which may be incomplete). If the status is not ok,
        also ``reason`` and ``log``, the last lines that it wrote.
    """
    context.work.mkdir(parents=True, exist_ok=True)
    context.result_file(step.name).unlink(missing_ok=True)
    log = context.work / f'{step.name}.log'
    command = [sys.executable, '-m', 'gpu_checks.child', step.name]
    # so that the log is complete when a step is stopped
    environment = {**os.environ, 'PYTHONUNBUFFERED': '1'}
    if context.tiny:
        environment.setdefault('OMP_NUM_THREADS', '1')  # two are slower if the CPU is busy
    start = time.monotonic()
    with open(log, 'wb') as file:
        process = subprocess.Popen(
            [*command, json.dumps(context.to_arguments())],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            stop_group(process)
    status = {0: 'ok', SKIPPED: 'skipped', None: 'timed out'}.get(code, 'failed')
    record = dict(
        step=step.name,
        what=step.what,
        status=status,
        seconds=round(time.monotonic() - start, 1),
        limit_s=round(seconds),
        result=read_result(context.result_file(step.name)),
    )
    if status != 'ok':
        lines = log.read_text(errors='replace').splitlines()
        record['reason'] = why(status, code, lines, seconds)
        if status != 'skipped':
            record['log'] = [hide_root(line) for line in lines[-LAST_LINES:]]
    return record


def stop_group(process: subprocess.Popen) -> None:
    """End a process and its remaining children, such as workers of loaders."""
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break  # no process is left
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def read_result(path: Path) -> dict | None:
    """The result that a step wrote; None if it wrote nothing."""
    return json.loads(path.read_text()) if path.is_file() else None


def why(status: str, code: int | None, lines: list[str], seconds: float) -> str:
    """One line that says why a step is not ok."""
    if status == 'timed out':
        return f'stopped after its limit of {seconds:.0f} s'
    last = next((line.strip() for line in reversed(lines) if line.strip()), 'it wrote nothing')
    return hide_root(last) if status == 'skipped' else f'exit status {code}: {hide_root(last)}'


def hide_root(line: str) -> str:
    """Remove the path of this project's folder from a line, because results are published."""
    root = Path(__file__).resolve().parents[3]
    return line.replace(f'{root}{os.sep}', '').replace(str(root), '.')
