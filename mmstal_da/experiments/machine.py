"""How many runs at a time, and on which devices each."""

import os
import socket
from collections.abc import Callable, Sequence

import torch

from mmstal_da.errors import UsageError

from .cells import Cell, Settings
from .commands import Machine
from .running import Steps, run_cell

FIRST_PORT = 29500  # MMEngine's default


def find_machine(
    cells: int,
    settings: Settings,
    launcher: str = 'local',
    jobs: int | None = None,
    threads: int | None = None,
    srun_args: Sequence[str] = (),
) -> tuple[Machine, list[dict[str, str]]]:
    """How to run, and what to add to the environment of each run that runs at a time.

    Args:
        cells: Runs to do.
        settings: Their number of processes.
        launcher: ``'local'`` or ``'slurm'``.
        jobs: Runs at a time. By default: as many as the GPUs of this machine allow, or its cores
            where it has no GPU; with Slurm, which queues them, all.
        threads: OMP_NUM_THREADS of a process; by default 1 where there is no GPU.
        srun_args: Flags for srun.

    Raises:
        UsageError: A run asks for more GPUs than there are.
    """
    if launcher == 'slurm':
        jobs = jobs or max(1, cells)
        ports = [{'MASTER_PORT': str(FIRST_PORT + slot)} for slot in range(jobs)]
        return Machine('slurm', tuple(srun_args), threads, jobs), ports
    count = torch.cuda.device_count()
    if not count:
        threads = threads or 1
        cores = len(os.sched_getaffinity(0))
        jobs = jobs or max(1, cores // (threads * settings.processes))
        return Machine('local', (), threads, jobs), [{} for _ in range(jobs)]
    visible = os.environ.get('CUDA_VISIBLE_DEVICES') or ','.join(map(str, range(count)))
    jobs = jobs or max(1, count // settings.processes)
    dealt = assign_devices(visible.split(','), jobs, settings.processes)
    slots = [{'CUDA_VISIBLE_DEVICES': ','.join(devices)} for devices in dealt]
    return Machine('local', (), threads, jobs), slots


def make_start(
    settings: Settings, machine: Machine, slots: Sequence[dict[str, str]]
) -> Callable[[Cell, int], Steps]:
    """What starts a cell in a slot, for the scheduler."""

    def start(cell: Cell, slot: int) -> Steps:
        env = dict(slots[slot])
        if machine.launcher == 'local' and settings.processes > 1:
            env['PORT'] = str(free_port())
        return run_cell(cell, settings, machine, env)

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
