"""The record of a finished run, ``result.json``."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path

import torch
from mmengine.config import Config

from mmstal_da.errors import UsageError
from mmstal_da.utils.collect_env import PACKAGES, git_commit
from mmstal_da.utils.io import atomic_write

from .cells import Cell, Settings, read_json

FORMAT = 'mmstal_da.run'
VERSION = 1
PRECISIONS = ('train_precision', 'test_precision')
VIDEO_IOUS = ('0.2', '0.5', '0.75', '0.5:0.95')


def make_record(
    cell: Cell,
    settings: Settings,
    cfg: Config,
    checkpoint: str,
    metrics: dict,
    times: dict,
    git: dict,
    proposals: dict | None = None,
) -> dict:
    """What is kept of a run.

    Args:
        cell: The cell.
        settings: What the result hangs on beside the config.
        cfg: The config with the options.
        checkpoint: Name of the checkpoint that was scored, the last one.
        metrics: Of :func:`read_metrics`, in percent.
        times: ``train`` and ``test`` -> ``wall_s``, ``cpu_s`` in seconds over all ``starts``.
        git: Of :func:`~.attempts.Attempts.git`.
        proposals: Of :class:`~.attempts.Attempts`.
    """
    evaluator = cfg.get('test_evaluator')
    background = evaluator.get('background_frames', True) if isinstance(evaluator, dict) else None
    loader = cfg.get('train_dataloader') or {}
    return {
        'format': FORMAT,
        'version': VERSION,
        'pair': cell.pair,
        'row': cell.row,
        'seed': cell.seed,
        'config': shown_path(cell.config),
        'config_sha256': cell.digest,
        'data': cell.data,
        **({'proposals': proposals} if proposals else {}),
        **settings.to_dict(),
        'iterations': cell.max_iters,
        'batch_size': loader.get('batch_size'),
        'checkpoint': checkpoint,
        'metrics': {**metrics, 'background_frames': background},
        **times,
        **git,
        'environment': describe_environment(),
    }


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file, whole or not at all."""
    with atomic_write(path) as file:
        json.dump(content, file, indent=1)
        file.write('\n')


def read_metrics(test_folder: Path) -> dict:
    """The metrics that tools/test.py left in its ``--work-dir``.

    Returns:
        ``frame_map`` and ``video_map`` (IoU -> percent), ``frame_ap`` and ``video_ap`` at IoU 0.5
        (class -> percent; classes with ground truth), ``protocol``, ``dataset``, ``split``,
        ``train_precision`` and ``test_precision`` (None where the config has no PrecisionHook).

    Raises:
        UsageError: There is not exactly one file of metrics, or it lacks one of them.
    """
    files = sorted(test_folder.glob('*/*.json'))
    if len(files) != 1:
        raise UsageError(f'{test_folder} holds {len(files)} files of metrics instead of one')
    logged = read_json(files[0])
    wanted = ['frame_mAP@0.5', *(f'video_mAP@{iou}' for iou in VIDEO_IOUS)]
    missing = [key for key in wanted if not isinstance(logged.get(key), int | float)]
    if missing:
        raise UsageError(
            f'{files[0]} lacks {", ".join(missing)}; a row is scored by TubeMetric without prefix, '
            'at its default IoUs'
        )

    def classes(prefix: str) -> dict[str, float]:
        return {k.removeprefix(prefix): v for k, v in logged.items() if k.startswith(prefix)}

    return {
        'frame_map': {'0.5': logged['frame_mAP@0.5']},
        'video_map': {iou: logged[f'video_mAP@{iou}'] for iou in VIDEO_IOUS},
        'frame_ap': classes('frame_AP@0.5/'),
        'video_ap': classes('video_AP@0.5/'),
        **{key: logged.get(key) for key in ('protocol', 'dataset', 'split', *PRECISIONS)},
    }


def describe_git() -> dict:
    """``commit`` of this project's checkout (None outside of one) and whether files differ."""
    words = git_commit().split()
    if words[:2] != ['git', 'commit']:
        return {'commit': None, 'dirty': None}
    return {'commit': words[2], 'dirty': words[3:] == ['with', 'changes']}


def describe_environment() -> dict:
    """Versions and the machine that this process runs on."""
    versions = {'python': platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        'platform': f'{platform.system()} {platform.machine()}',
        'cpu': _cpu_model(),
        'cores': len(os.sched_getaffinity(0)),
        'gpu': torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        'versions': versions,
    }


def machine_of(record: dict) -> str:
    """GPU, or processor, that a recorded run was made on."""
    environment = record['environment']
    return environment['gpu'] or environment['cpu'] or 'unknown machine'


def _cpu_model() -> str:
    """The processor's name."""
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def shown_path(path: Path) -> str:
    """A path from the repository's root if it lies within, else as it is."""
    root = Path(__file__).resolve().parents[2]
    path = path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
