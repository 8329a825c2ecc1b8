"""Proposals for the rows that read a file of them: those of source-only's RPN, seed by seed.

MMAction2's AVA-style detectors propose no boxes. In a table they read the proposals of the
source-only detector of the same seed, which ``tools/data/dump_proposals.py`` leaves in
``OUT/source_only/seed<k>/proposals.npz`` once it is scored, in place of the file that their config
names.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config

PROPOSER = 'source_only'
"""The row whose RPN makes the proposals."""


def files_of(cfg: Config) -> dict[str, Path]:
    """Files of proposals that training and test read: dotted key in the config -> file."""
    parts = ('train_dataloader', 'test_dataloader')
    return {key: path for part in parts for key, path in _find(cfg.get(part), part)}


def proposal_options(cfg: Config, file: Path) -> list[str]:
    """``--cfg-options`` by which a config reads another file of proposals."""
    return [f'{key}={file}' for key in files_of(cfg)]


def _find(value, key: str) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Mapping):
        kind = str(value.get('type')).rpartition('.')[2]
        file = value.get('proposals')
        if kind == 'ActionTubeDataset' and file not in (None, 'ground_truth'):
            yield f'{key}.proposals', Path(file)
        items = value.items()
    else:
        items = enumerate(value) if isinstance(value, list | tuple) else ()
    for name, item in items:
        yield from _find(item, f'{key}.{name}')
