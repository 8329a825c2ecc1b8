"""Reads the scalars that MMEngine logs during training."""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

Curves = dict[str, list[tuple[int, float]]]
"""Scalar -> its points (iteration, value)."""


@dataclass
class Run:
    """Curves of one work directory.

    Attributes:
        name: Name of the run in a legend.
        train: Scalar to its points (iteration, value), iterations increasing.
        val: Metric to its points (iteration of the validation, value).
    """

    name: str
    train: Curves = field(default_factory=dict)
    val: Curves = field(default_factory=dict)


def scalar_files(path: str | os.PathLike[str]) -> list[Path]:
    """The ``scalars.json`` files of a work directory, oldest first; or the file itself.

    Args:
        path: A work directory (it has ``<timestamp>/vis_data/scalars.json`` for every start of the
            run), or such a file.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    files = sorted(path.glob('*/vis_data/scalars.json')) or sorted(path.glob('scalars.json'))
    if not files:
        raise FileNotFoundError(
            f'no scalars.json in {path}: give a work directory that training has written to '
            '(<timestamp>/vis_data/scalars.json, with `vis_backends` of type LocalVisBackend)'
        )
    return files


def row_names(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Names for a legend: the row, and the seed if the folder is one of ``tools/run_table.py``.

    Args:
        paths: Work directories (``work_dirs/table_a/full/seed0``: "full, seed 0"), ``scalars.json``
            files in them, or configs.

    Returns:
        A name per path. Where two would be equal, folders above are put before them.
    """
    split = [_row_and_seed(path) for path in paths]
    depth = dict.fromkeys(split, 1)
    while True:
        names = {key: '/'.join(key[0][-d:]) + key[1] for key, d in depth.items()}
        shared = [name for name, count in Counter(names.values()).items() if count > 1]
        again = [key for key in depth if names[key] in shared and depth[key] < len(key[0])]
        if not again:
            return [names[key] for key in split]
        for key in again:
            depth[key] += 1


def _row_and_seed(path: str | os.PathLike[str]) -> tuple[tuple[str, ...], str]:
    """Folders down to the row, and the seed as it follows in a name."""
    parts = tuple(part for part in Path(path).resolve().parts if part != os.sep)
    if parts[-1] == 'scalars.json':
        parts = parts[:-3] if parts[-2] == 'vis_data' else parts[:-1]
    parts = (*parts[:-1], parts[-1].removesuffix('.py'))
    seed = re.fullmatch(r'seed_?(\d+)', parts[-1])
    return (parts[:-1], f', seed {seed[1]}') if seed and parts[:-1] else (parts, '')


def read_run(path: str | os.PathLike[str], name: str | None = None) -> Run:
    """Read the curves of a work directory.

    A resumed run has several files. If a later file starts at an iteration that an earlier file
    also has, the later file counts.

    Args:
        path: See :func:`scalar_files`.
        name: Name in the legend; by default that of :func:`row_names`.
    """
    run = Run(name or row_names([path])[0])
    for file in scalar_files(path):
        train, val = _read_file(file)
        begin = min((points[0][0] for points in train.values()), default=0)
        for old, new in ((run.train, train), (run.val, val)):
            for key in old:
                if train:
                    old[key] = [point for point in old[key] if point[0] < begin]
            for key, points in new.items():
                old.setdefault(key, []).extend(points)
    return run


def _read_file(path: Path) -> tuple[Curves, Curves]:
    """Training and validation scalars of one file.

    Lines of training hold ``iter`` (and ``epoch`` in epoch-based training). Lines of validation
    hold neither; their ``step`` counts iterations or epochs.
    """
    train: Curves = {}
    val: Curves = {}
    by_epoch, last = False, 0
    with open(path, encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f'{path}, line {number}: not JSON ({error})') from error
            if 'iter' in record:
                by_epoch, last = 'epoch' in record, int(record['iter'])
                target, iteration = train, last
            else:
                target = val
                iteration = last if by_epoch else int(record.get('step', last))
            for key, value in record.items():
                is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
                if key not in ('iter', 'step', 'epoch') and is_number:
                    target.setdefault(key, []).append((iteration, float(value)))
    return train, val
