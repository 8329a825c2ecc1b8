"""Proposals for the rows that read a file of them: those of source-only's RPN, seed by seed.

MMAction2's AVA-style detectors propose no boxes. In a table they read the proposals of the
source-only detector of the same seed, which ``tools/data/dump_proposals.py`` leaves in
``OUT/source_only/seed<k>/proposals.npz`` once it is scored, in place of the file that their config
names.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config

from mmstal_da.datasets.proposals import how_to_make
from mmstal_da.utils.launch import UsageError

from .cells import Cell, Settings, find_rows, last_checkpoint, make_cells, read_config, read_json
from .data import digest_file

PROPOSER = 'source_only'


def files_of(cfg: Config) -> dict[str, Path]:
    """Files of proposals that training and test read: dotted key in the config -> file."""
    parts = ('train_dataloader', 'test_dataloader')
    return {key: path for part in parts for key, path in _find(cfg.get(part), part)}


def _find(value, key: str) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Mapping):
        kind = str(value.get('type')).rpartition('.')[2]
        if kind == 'LoadProposals' and value.get('proposals') != 'ground_truth':
            yield f'{key}.proposals', Path(value.get('proposals') or '')
        items = value.items()
    else:
        items = enumerate(value) if isinstance(value, list | tuple) else ()
    for name, item in items:
        yield from _find(item, f'{key}.{name}')


def proposal_options(cfg: Config, file: Path) -> list[str]:
    """``--cfg-options`` by which a config reads another file of proposals."""
    return [f'{key}={file}' for key in files_of(cfg)]


def deal_proposals(cells: Sequence[Cell], pair: Path, out: Path, settings: Settings) -> list[Cell]:
    """Settle which proposals every cell reads.

    Those of source-only with the same seed, if OUT has begun it or is to run it. Otherwise the
    file that the config names, if it is there. Otherwise source-only's all the same, which is then
    trained for this. A cell that is begun stays with what it was begun on.

    Returns:
        The cells, of which those that read source-only's proposals have ``reads`` and the
        source-only cells that make them ``dumps``; before them the source-only cells that it took
        in addition.

    Raises:
        UsageError: The pair has no source-only row.
    """
    rows = find_rows(pair)
    out = out.resolve()
    dealt = {cell.folder: cell for cell in cells}
    added = {}
    for cell in cells:
        files = files_of(read_config(cell.config, settings.cfg_options))
        if not files or cell.result_file.is_file():
            continue
        folder = out / PROPOSER / f'seed{cell.seed}'
        proposer = dealt.get(folder)
        if last_checkpoint(cell.folder):
            recorded = read_json(cell.attempts_file) if cell.attempts_file.is_file() else {}
            own = name_in_records(folder) in (recorded.get('data') or {})
        else:
            to_run = proposer is not None and not proposer.result_file.is_file()
            own = to_run or last_checkpoint(folder) or not all(map(Path.is_file, files.values()))
        if not own:
            continue
        if proposer is None:
            if PROPOSER not in rows:
                raise UsageError(
                    f'{cell.config} needs proposals, and {pair} has no {PROPOSER}.py to make them;'
                    f' {how_to_make(next(iter(files.values())))}'
                )
            row = {PROPOSER: rows[PROPOSER]}
            (proposer,) = make_cells(pair, row, [cell.seed], out, settings)
            added[folder] = proposer
        dealt[folder] = replace(proposer, dumps=True)
        dealt[cell.folder] = replace(cell, reads=proposer.proposals_file)
    return [dealt[folder] for folder in {**added, **dealt}]


def digest_proposals(cell: Cell, cfg: Config) -> dict[str, str]:
    """Of the files of proposals that a cell reads: name in records -> digest."""
    if cell.reads is None:
        files = {path.as_posix(): path for path in files_of(cfg).values()}
    else:
        files = {name_in_records(cell.reads.parent): cell.reads}
    return {name: digest_file(path) for name, path in files.items() if path.is_file()}


def name_in_records(folder: Path) -> str:
    """How records name the proposals of a cell's folder: from OUT on."""
    return f'{folder.parent.name}/{folder.name}/proposals.npz'
