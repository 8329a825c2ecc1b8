"""The record of a finished run, ``result.json``: written, found, and compared with others."""

import os
import platform
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import torch
from mmengine.config import Config

from mmstal_da.domains import trained_parts
from mmstal_da.errors import UsageError
from mmstal_da.utils.collect_env import PACKAGES, git_commit
from mmstal_da.utils.io import read_json

from .cells import Cell
from .fingerprint import Settings
from .rows import row_order

FORMAT = 'mmstal_da.run'
VERSION = 2
VIDEO_IOUS = ('0.2', '0.5', '0.75', '0.5:0.95')
METRICS = ('frame_mAP@0.5', *(f'video_mAP@{iou}' for iou in VIDEO_IOUS))
"""Keys of ``metrics``: percent, None without ground truth."""
ANNOTATED = 'annotated_frame_mAP@0.5'
"""Frame-mAP of the frames with ground truth, where the row is scored on all frames."""
CLASS_METRICS = ('frame_AP@0.5', 'video_AP@0.5')
"""Keys of ``metrics``: class -> percent, of classes with ground truth."""
DESCRIPTION = ('protocol', 'dataset', 'split')
# results that differ in these are of different experiments
ALIKE = ('pair', 'cfg_options', 'amp', 'processes')
ALIKE_METRICS = (*DESCRIPTION, 'background_frames')


def make_record(
    cell: Cell,
    settings: Settings,
    cfg: Config,
    checkpoint: str,
    metrics: dict,
    times: dict,
    git: dict,
    inputs: dict,
) -> dict:
    """What is kept of a run.

    Args:
        cell: The cell.
        settings: What the result depends on besides the config.
        cfg: The config with the options.
        checkpoint: Name of the checkpoint that was scored, the last one.
        metrics: Of :func:`read_metrics`.
        times: ``train`` and ``test`` -> ``wall_s``, ``cpu_s`` in seconds over all ``starts``.
        git: Of :func:`~.running.Attempts.git`.
        inputs: Of :class:`~.running.Attempts`.
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
        **inputs,
        'target_labels': target_labels(cfg),
        **settings.to_dict(),
        'iterations': cell.max_iters,
        'batch_size': loader.get('batch_size'),
        'checkpoint': checkpoint,
        'metrics': {**metrics, 'background_frames': background},
        **times,
        **git,
        'environment': describe_environment(),
    }


def target_labels(cfg: Config) -> str | None:
    """Whose labels of the target a config trains on.

    Returns:
        ``'person'``, also where a person has corrected a model's; ``'boxes'``: a person's boxes
        without their classes; ``'model'``: pseudo-tubes as the model found them; None: nobody's.
    """
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    paired = 'source' in dataset and 'target' in dataset
    parts = trained_parts(dataset) if paired else {}
    labels = dict(labelled_target='person', boxed_target='boxes', pseudo_target='model')
    return next((whose for part, whose in labels.items() if part in parts), None)


def read_metrics(test_folder: Path) -> dict:
    """The metrics that tools/test.py left in its ``--work-dir``.

    Returns:
        :data:`METRICS` and :data:`CLASS_METRICS`, ``protocol``, ``dataset``, ``split``,
        ``train_precision`` and ``test_precision`` (None where the config has no PrecisionHook).

    Raises:
        UsageError: There is not exactly one file of metrics, or it lacks one of them.
    """
    files = sorted(test_folder.glob('*/*.json'))
    if len(files) != 1:
        raise UsageError(f'{test_folder} holds {len(files)} files of metrics instead of one')
    logged = read_json(files[0])
    missing = [key for key in METRICS if not isinstance(logged.get(key, ''), int | float | None)]
    if missing:
        raise UsageError(
            f'{files[0]} lacks {", ".join(missing)}; a row is scored by TubeMetric without prefix, '
            'at its default IoUs'
        )

    def classes(key: str) -> dict[str, float]:
        prefix = f'{key}/'
        return {k.removeprefix(prefix): v for k, v in logged.items() if k.startswith(prefix)}

    return {
        **{key: logged[key] for key in METRICS},
        **({ANNOTATED: logged[ANNOTATED]} if ANNOTATED in logged else {}),
        **{key: classes(key) for key in CLASS_METRICS},
        **{key: logged.get(key) for key in (*DESCRIPTION, 'train_precision', 'test_precision')},
    }


def read_result(path: Path) -> dict:
    """A ``result.json``.

    Raises:
        UsageError: It is something else.
    """
    record = read_json(path)
    if (record.get('format'), record.get('version')) != (FORMAT, VERSION):
        raise UsageError(
            f'{path} is no result of version {VERSION} of tools/run_table.py; remove it, and the '
            'run is scored again'
        )
    return record


def find_results(
    out: Path, rows: Iterable[str] | None = None, seeds: Iterable[int] | None = None
) -> dict[Path, dict]:
    """The finished runs in a folder, ``OUT/<row>/seed<k>/result.json``.

    Args:
        out: The folder.
        rows: Only these rows.
        seeds: Only these seeds.

    Returns:
        File to record, rows in the paper's order, seeds increasing.
    """
    found = {}
    for path in out.glob('*/seed*/result.json'):
        match = re.fullmatch(r'seed(\d+)', path.parent.name)
        row = path.parents[1].name
        if match and (rows is None or row in rows) and (seeds is None or int(match[1]) in seeds):
            found[row_order(row), int(match[1])] = path
    return {path: read_result(path) for _, path in sorted(found.items())}


def check_alike(results: dict[Path, dict]) -> None:
    """Refuse results that no table may compare.

    Raises:
        UsageError: Two differ in options, precision, processes, or in how they were scored.
    """
    data: dict[str, tuple[str, Path]] = {}
    first_path, first = next(iter(results.items()))
    for path, record in results.items():
        for name, digest in record['data'].items():
            other, where = data.setdefault(name, (digest, path))
            if other != digest:
                raise UsageError(f'{path} and {where} were run on different versions of {name}')
        for key in (*ALIKE, *ALIKE_METRICS):
            ours, theirs = ({**r['metrics'], **r}[key] for r in (record, first))
            if ours != theirs:
                raise UsageError(
                    f'{path} has {key} = {ours!r}, {first_path} has {theirs!r}: not of one table; '
                    'choose with --rows and --seeds, or use another --out'
                )


def check_settings(results: dict[Path, dict], settings: Settings) -> None:
    """Refuse to add runs with other settings to a folder.

    Raises:
        UsageError: A result is of others.
    """
    wanted = settings.to_dict()
    for path, record in results.items():
        found = {key: record[key] for key in wanted}
        if found != wanted:
            raise UsageError(f'{path} was run with {found}, not {wanted}; use another --out')


def missing_cells(
    results: dict[Path, dict], wanted: Iterable[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Of the wanted cells (row, seed) those without a result."""
    finished = {(record['row'], record['seed']) for record in results.values()}
    return [cell for cell in wanted if cell not in finished]


def failed_cells(
    out: Path, rows: Iterable[str] | None = None, seeds: Iterable[int] | None = None
) -> dict[tuple[str, int], str]:
    """The cells (row, seed) in a folder whose last start failed, and why.

    Args:
        out: The folder.
        rows: Only these rows.
        seeds: Only these seeds.
    """
    failed = {}
    for path in sorted(out.glob('*/seed*/attempts.json')):
        match = re.fullmatch(r'seed(\d+)', path.parent.name)
        row = path.parents[1].name
        if not match or (path.parent / 'result.json').is_file():
            continue
        attempts = read_json(path).get('attempts') or [{}]
        cell = (row, int(match[1]))
        if attempts[-1].get('failed') and (rows is None or row in rows):
            if seeds is None or cell[1] in seeds:
                failed[cell] = attempts[-1]['failed']
    return failed


def describe_git() -> dict:
    """``commit`` of this project's checkout (None outside of one) and whether files differ."""
    words = git_commit().split()
    if words[:2] != ['git', 'commit']:
        return {'commit': None, 'dirty': None}
    return {'commit': words[2], 'dirty': words[3:] == ['with', 'changes']}


def describe_environment() -> dict:
    """Versions and the machine that this process runs on."""
    versions: dict[str, str | None] = {'python': platform.python_version()}
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


def device_name(record: dict) -> str:
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
