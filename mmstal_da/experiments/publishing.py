"""Writes tables into a folder, and puts them with the results beside the configs."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmstal_da.errors import UsageError
from mmstal_da.utils.io import atomic_write
from mmstal_da.visualization.curves import save_figure

from .bar_plot import plot_table
from .cells import find_rows, row_order
from .changes import find_changed
from .markdown import format_table
from .metafile import write_metafiles
from .record import write_json
from .results import read_result

BEGIN, END = '<!-- table:begin -->', '<!-- table:end -->'


def write_tables(folder: Path, table: dict, records: Sequence[dict]) -> list[Path]:
    """Write ``table.json``, ``table.md`` and, of a table with rows, ``table.png``."""
    files = [folder / name for name in ('table.json', 'table.md', 'table.png')]
    write_json(files[0], table)
    with atomic_write(files[1]) as file:
        file.write(format_table(table))
    if not table['rows']:
        return files[:2]
    save_figure(plot_table(table, records), files[2])
    return files


def publish(pair: Path, table: dict, records: Sequence[dict]) -> list[Path]:
    """Put a table beside the configs.

    Writes ``results/<row>_seed<k>.json``, ``results/table.*``, the table between its marks in
    ``README.md``, ``metafile.yml``, and ``model-index.yml`` in the folder above.

    Args:
        pair: Folder of the pair's configs.
        table: Of :func:`~.table.make_table`.
        records: The results it was made of.

    Returns:
        The files that were written.

    Raises:
        UsageError: There are no results, or the README lacks the marks.
    """
    if not records:
        raise UsageError('--publish: no run is finished')
    readme = pair / 'README.md'
    text = insert_table(readme, format_table(table))  # refuses before anything is written
    clean = [without_machine(record) for record in records]
    files = []
    for record in clean:
        files.append(_published_file(pair, record))
        write_json(files[-1], record)
    files += write_tables(pair / 'results', without_machine(table), clean)
    with atomic_write(readme) as file:
        file.write(text)
    return [*files, readme, *write_metafiles(clean, pair)]


def insert_table(readme: Path, table: str) -> str:
    """The text of a README with a table between the marks.

    Raises:
        UsageError: It has no or several pairs of marks.
    """
    text = readme.read_text(encoding='utf-8') if readme.is_file() else ''
    pattern = re.compile(f'{re.escape(BEGIN)}.*?{re.escape(END)}', re.DOTALL)
    if len(pattern.findall(text)) != 1 or text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UsageError(
            f'{readme} needs the lines {BEGIN} and {END} once each, where the table is to be'
        )
    return pattern.sub(lambda _: f'{BEGIN}\n\n{table}\n{END}', text)


def published_results(pair: Path) -> list[dict]:
    """The results beside the configs, rows in the paper's order."""
    files = [
        (row_order(match[1]), int(match[2]), path)
        for path in (pair / 'results').glob('*_seed*.json')
        if (match := re.fullmatch(r'(.+)_seed(\d+)', path.stem))
    ]
    return [read_result(path) for *_, path in sorted(files)]


def restore(
    pair: Path,
    out: Path,
    rows: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
) -> tuple[list[Path], list[Path]]:
    """Put the results beside the configs back into a folder of runs, so that a table goes on there.

    Args:
        pair: Folder of the pair's configs.
        out: Folder of the runs. Cells that it has already stay as they are.
        rows: Only these rows.
        seeds: Only these seeds.

    Returns:
        The ``result.json`` files that were written, and the published files that were left out
        because their config or annotation files are others now.
    """
    published = {
        _published_file(pair, record): record
        for record in published_results(pair)
        if (rows is None or record['row'] in rows) and (seeds is None or record['seed'] in seeds)
    }
    changed = find_changed(published, find_rows(pair))
    written = []
    for path, record in published.items():
        folder = out / record['row'] / f'seed{record["seed"]}'
        if path in changed or folder.exists():
            continue
        folder.mkdir(parents=True)
        write_json(folder / 'result.json', record)
        written.append(folder / 'result.json')
    return written, changed


def _published_file(pair: Path, record: dict) -> Path:
    return pair / 'results' / f'{record["row"]}_seed{record["seed"]}.json'


def without_machine(value):
    """A JSON value without folders of this machine: absolute paths become relative or are cut.

    Paths below the current folder are relative to it; of others the file's name is left.
    """
    if isinstance(value, dict):
        return {without_machine(key): without_machine(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_machine(item) for item in value]
    if not isinstance(value, str):
        return value
    value = value.replace(f'{os.getcwd()}/', '')
    return re.sub(r'(?<![\w:/.~])/(?:[^/\s\'",;\]]+/)+', '.../', value)
