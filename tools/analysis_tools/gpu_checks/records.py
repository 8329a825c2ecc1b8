"""Writes a file per step and one of all steps, and prints the table."""

import datetime
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from mmstal_da.utils.collect_env import collect_env
from mmstal_da.utils.io import write_json

FORMAT, VERSION = 'mmstal_da.gpu_checks', 1
# of MMEngine's report: a folder of the machine
LEFT_OUT = ('CUDA_HOME',)
COMMIT = 'MMSTAL_DA_COMMIT'
PUBLISHED = 'tools/analysis_tools/benchmarks'


def describe_machine(tiny: bool) -> dict:
    """``card``, ``driver``, ``memory_mib``, ``commit`` and ``environment``, all versions."""
    environment = {k: v for k, v in collect_env().items() if k not in LEFT_OUT}
    machine = dict(card='CPU, two iterations', driver=None, memory_mib=None)
    if not tiny:
        total = torch.cuda.get_device_properties(0).total_memory
        machine = dict(
            card=torch.cuda.get_device_name(0), driver=driver(), memory_mib=total // 2**20
        )
    return {
        **machine,
        'tiny': tiny,
        # a copy without git can get the commit from the environment
        'commit': os.environ.get(COMMIT) or environment['mmstal_da'],
        'environment': environment,
    }


def driver() -> str | None:
    """Version of NVIDIA's driver; None if it is not available."""
    command = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
    try:
        shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        return shown.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        pass
    file = Path('/proc/driver/nvidia/version')
    found = re.search(r'\b\d{3,}\.\d+[.\d]*', file.read_text()) if file.is_file() else None
    return found[0] if found else None


def merged_file(out: Path, card: str) -> Path:
    """``OUT/<card>_<date>.json``."""
    slug = re.sub(r'[^a-z0-9]+', '_', card.lower()).strip('_')
    return out / f'{slug}_{datetime.date.today().isoformat()}.json'


def write_all(out: Path, merged: Path, machine: Mapping, records: Mapping[str, dict]) -> None:
    """Write the file of all steps and the short ``summary.json``; called after every step."""
    head = dict(format=FORMAT, version=VERSION, **machine)
    write_json(merged, {**head, 'steps': dict(records)})
    rows = [
        dict(
            step=name,
            status=record['status'],
            seconds=record['seconds'],
            headline=headline(record),
        )
        for name, record in records.items()
    ]
    write_json(out / 'summary.json', {**head, 'steps': rows})


def headline(record: Mapping) -> str:
    """The numbers of a step in a line, or why there are none."""
    result = record.get('result') or {}
    text = ''
    if 'passed' in result:
        text = f'{result["passed"]} passed, {result["failed"]} failed, {result["skipped"]} skipped'
    elif result.get('blocks'):
        text = '; '.join(_block_line(b) for b in result['blocks'] if 'networks' in b)
    elif 'sizes' in result:
        text = '; '.join(_loader_line(k, size) for k, size in result['sizes'].items())
    elif 'metrics' in result:
        metrics = result['metrics']
        text = (
            f'frame-mAP {metrics["frame_mAP@0.5"]:.1f}, '
            f'video-mAP {metrics["video_mAP@0.5"]:.1f}, '
            f'{result["train"]["seconds"]:.0f} s training, {result["test"]["seconds"]:.0f} s test'
        )
    return '; '.join(part for part in (text, record.get('reason', '')) if part)


def _block_line(block: Mapping) -> str:
    """One precision and number of clips of the step's time."""
    ours = block['networks']['full']
    return (
        f'{block["precision"]}, {block["clips"]} clips: {1000 * ours["seconds_per_clip"]:.1f} ms '
        f'a clip, {ours["time_over_slowonly"]:.2f} x SlowOnly, '
        f'{ours["time_over_slowfast"]:.2f} x SlowFast'
    )


def _loader_line(size: str, entry: Mapping) -> str:
    """One size of the loader's rate."""
    rates = ', '.join(f'{r:.1f} ({n} workers)' for n, r in entry['loader_by_workers'].items())
    step = f', step {entry["step"]:.1f}' if 'step' in entry else ''
    return f'{size}: loader {rates}{step} clips/s'


def print_table(machine: Mapping, records: Mapping[str, dict]) -> None:
    """Print the summary as a table."""
    table = Table(title=f'{machine["card"]}, driver {machine["driver"]}, {machine["commit"]}')
    for column in ('step', 'status', 's', 'result'):
        table.add_column(column, justify='right' if column == 's' else 'left')
    for name, record in records.items():
        row = (name, record['status'], f'{record["seconds"]:.0f}', headline(record))
        table.add_row(*row)
    Console(width=110).print(table, markup=False)
