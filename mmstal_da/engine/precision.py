"""Chooses the precision of a run: bfloat16 only if the hardware has it."""

import functools
import platform
from pathlib import Path

import torch
from mmengine.device import get_device
from mmengine.logging import print_log

# flags in /proc/cpuinfo: AVX512-BF16 and AMX (x86), the bfloat16 extension (ARM)
NATIVE_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}
CPUINFO = Path('/proc/cpuinfo')


def has_native_bfloat16(device: str | None = None) -> bool:
    """Whether the hardware multiplies in bfloat16.

    Otherwise bfloat16 is emulated: convolutions on a CPU with only AVX2 take 34 to 400 times as
    long as in float32.

    Args:
        device: ``'cpu'``, ``'cuda'``, ``'cuda:1'``, …; default: the device that MMEngine uses.
    """
    kind = (device or get_device()).partition(':')[0]
    if kind == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind != 'cpu' or bool(NATIVE_FLAGS & cpu_flags())


def cpu_flags() -> set[str]:
    """The features that Linux lists for the first processor; empty on other systems."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text().splitlines():
            if line.startswith(('flags', 'Features')):
                return set(line.partition(':')[2].split())
    return set()


def bfloat16_or_float32(device: str | None = None) -> torch.dtype:
    """bfloat16 if the hardware has it, else float32, with one log message per process."""
    device = device or get_device()
    if has_native_bfloat16(device):
        return torch.bfloat16
    _say_float32(device.partition(':')[0])
    return torch.float32


@functools.cache
def _say_float32(kind: str) -> None:
    name = torch.cuda.get_device_name() if kind == 'cuda' else f'this CPU ({platform.machine()})'
    print_log(
        f'bfloat16 was requested; {name} would emulate it, many times slower, so this runs in '
        'float32',
        logger='current',
    )
