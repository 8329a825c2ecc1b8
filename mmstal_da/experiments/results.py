"""Finds the results of a table and refuses those that cannot stand in one."""

import re
from collections.abc import Iterable
from pathlib import Path

from mmstal_da.errors import UsageError

from .cells import Settings, read_json, row_order
from .record import FORMAT, VERSION

# results that differ in these are of different experiments
ALIKE = ('pair', 'cfg_options', 'amp', 'processes')
ALIKE_METRICS = ('protocol', 'dataset', 'split', 'background_frames')


def read_result(path: Path) -> dict:
    """A ``result.json``.

    Raises:
        UsageError: It is something else.
    """
    record = read_json(path)
    if (record.get('format'), record.get('version')) != (FORMAT, VERSION):
        raise UsageError(f'{path} is no result of tools/run_table.py (version {VERSION})')
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
    first_path, first = next(iter(results.items()))
    data: dict[str, tuple[str, Path]] = {}
    for path, record in results.items():
        for name, digest in record['data'].items():
            other, where = data.setdefault(name, (digest, path))
            if other != digest:
                raise UsageError(f'{path} and {where} were run on different versions of {name}')
        for part, key in [
            *((None, key) for key in ALIKE),
            *(('metrics', key) for key in ALIKE_METRICS),
        ]:
            ours, theirs = ((r[part] if part else r)[key] for r in (record, first))
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
