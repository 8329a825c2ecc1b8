"""Runs whose config is not the one that they were begun with."""

import time
from collections.abc import Mapping
from pathlib import Path

from mmstal_da.errors import UsageError

from .cells import Cell, Settings, State, digest_config, is_changed, read_config
from .locking import CellLock, holder
from .proposals import PROPOSER


def set_aside(cell: Cell) -> Path:
    """Rename the folder of a run whose config has changed."""
    lock = CellLock.take(cell.folder)
    if lock is None:
        raise UsageError(f'{cell.folder} is in use by {holder(cell.folder)}')
    kept = cell.folder.with_name(f'{cell.folder.name}.changed-{time.strftime("%Y%m%d_%H%M%S")}')
    cell.folder.rename(kept)
    lock.release()
    return kept


def refuse_changed(states: dict[Cell, State]) -> None:
    """Refuse to go on where the config is another one than that of the runs."""
    changed = {cell: state for cell, state in states.items() if state.kind == 'changed'}
    if changed:
        files = '\n'.join(f'  {cell.config}: {state.file}' for cell, state in changed.items())
        raise UsageError(
            'the config, --cfg-options, --amp, --gpus-per-run, the annotation files or, where it '
            f"makes their proposals, {PROPOSER}'s config are not those that these were run with:\n"
            f'{files}\n--rerun-changed sets them aside and runs them anew; another --out keeps both'
        )


def find_changed(results: Mapping[Path, dict], configs: Mapping[str, Path]) -> list[Path]:
    """Results whose config, with the options that they were run with, or data is another one now.

    Args:
        results: File to record.
        configs: Row to config file.
    """
    digests: dict = {}

    def digest(row: str, settings: Settings) -> str | None:
        if row not in configs:
            return None
        if (row, settings) not in digests:
            cfg = read_config(configs[row], settings.cfg_options)
            digests[row, settings] = digest_config(cfg, settings)
        return digests[row, settings]

    changed = []
    for path, record in results.items():
        settings = Settings(tuple(record['cfg_options']), record['amp'], record['processes'])
        proposer = digest(PROPOSER, settings) if record.get('proposals') else None
        if is_changed(record, digest(record['row'], settings), proposer):
            changed.append(path)
    return changed
