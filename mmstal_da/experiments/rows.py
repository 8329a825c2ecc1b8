"""The rows of a pair: their names, their order, their configs."""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmengine.config import Config, DictAction

from mmstal_da.errors import UsageError
from mmstal_da.launch.config import read_file
from mmstal_da.launch.options import override

LABELS = {
    'source_only': 'I3D+RPN (source only)',
    't_img': 'T_img',
    't_inst': 'T_inst',
    's_img': 'S_img',
    't_img_s_img': 'T_img + S_img',
    't_inst_s_img': 'T_inst + S_img',
    'full': 'T_img + T_inst + S_img',
    'oracle': 'Oracle',
}
"""Rows of the paper's tables, in its order -> how the paper calls them."""

OTHER_LABELS = {
    'oracle_st': '`oracle_st`: labels of both domains',
    'dn': '`dn`: statistics per domain, no discriminator',
    'full_dn': '`full_dn`: all three, statistics per domain',
    'full_late': '`full_late`: all three, λ from half of the training on',
    'mt': '`mt`: mean teacher',
    'mt_tubes': '`mt_tubes`: mean teacher, labels from its tubes',
    'da_aim': '`da_aim`: mean teacher, actions of the source pasted',
    'pseudo': '`pseudo`: learns pseudo-tubes of the target',
    'pseudo_boxes': '`pseudo_boxes`: learns single pseudo-boxes of the target',
    'key_frame_only': '`key_frame_only`: an oracle that sees one frame',
    'slowonly': "`slowonly`: SlowOnly-R50, our RPN's proposals",
    'slowonly_gt': '`slowonly_gt`: SlowOnly-R50, labelled boxes',
    'slowfast': "`slowfast`: SlowFast-R50, our RPN's proposals",
    'slowfast_gt': '`slowfast_gt`: SlowFast-R50, labelled boxes',
    'acrn': "`acrn`: ACRN, our RPN's proposals",
    'acrn_gt': '`acrn_gt`: ACRN, labelled boxes',
}
"""What rows are that the paper does not have."""

BLOCKS = {
    '': 'as the paper trains',
    '_aug': 'strong augmentation',
    '_bg': 'labelled background frames of the source',
    '_bg_aug': 'background frames and strong augmentation',
    '_gt_aug': "strong augmentation, the target's boxes given",
}
"""Ending of a row's name -> how all rows with it train. Rows of one block compare."""

PAPER_ROWS = tuple(LABELS)

TEACHER = 'mt'
"""Rows of this name, or whose name begins with it and ``_``, have a teacher. They always train with
strong augmentation, so their names do not say it."""


def split_row(row: str) -> tuple[str, str]:
    """A row's name as method and block: ``'full_bg_aug'`` is ``('full', '_bg_aug')``."""
    # the longest that fits: _aug is the end of others
    block = max((end for end in BLOCKS if row.endswith(end)), key=len)
    if not block and row.partition('_')[0] == TEACHER:
        return row, '_aug'
    return row.removesuffix(block), block


def control_of(row: str) -> str:
    """The source-only row that trains as ``row`` does."""
    return 'source_only' + split_row(row)[1]


def upper_bound_of(row: str, rows: Iterable[str]) -> str:
    """``oracle_st`` of the row's block, or ``oracle`` if the table has no ``oracle_st``."""
    bound = 'oracle_st' + split_row(row)[1]
    return bound if bound in rows else 'oracle' + split_row(row)[1]


def uses_target_labels(row: str) -> bool:
    """Whether a row is an upper bound: labels of the target train it, or are its proposals.

    Rows whose boxes are given compare among each other, so only their oracle is one.
    """
    row = split_row(row)[0]
    return row in ('oracle', 'oracle_st', 'key_frame_only') or row.endswith('_gt')


def find_rows(pair: Path) -> dict[str, Path]:
    """Rows of a pair, the paper's in its order and then the others by name.

    Raises:
        UsageError: The folder does not exist or holds no config.
    """
    if not pair.is_dir():
        raise UsageError(f'{pair} is no folder of configs; pairs are the folders of configs/')
    found = {path.stem: path for path in pair.glob('*.py') if not path.name.startswith('_')}
    if not found:
        raise UsageError(f'{pair} has no config: a row is a .py file that does not begin with _')
    return {row: found[row] for row in sorted(found, key=row_order)}


def row_order(row: str) -> tuple[int, int, str]:
    """Key to sort rows by: block, the paper's order, name."""
    method, block = split_row(row)
    place = PAPER_ROWS.index(method) if method in PAPER_ROWS else len(PAPER_ROWS)
    return list(BLOCKS).index(block), place, row


def choose_rows(pair: Path, names: Sequence[str] | None = None) -> dict[str, Path]:
    """The rows that are named, or without names those of the paper's tables.

    Raises:
        UsageError: A named row does not exist, or none is of the paper's tables.
    """
    rows = find_rows(pair)
    unknown = sorted(set(names or ()) - set(rows))
    if unknown:
        raise UsageError(f'--rows: {pair} has no {", ".join(unknown)}; it has {", ".join(rows)}')
    chosen = {row: path for row, path in rows.items() if row in (names or PAPER_ROWS)}
    if not chosen:
        raise UsageError(f'{pair} has no row of the paper; name them: --rows {" ".join(rows)}')
    return chosen


def parse_options(options: Iterable[str]) -> dict:
    """``--cfg-options`` as tools/train.py reads them: dotted key to value.

    Raises:
        UsageError: An option is not KEY=VALUE.
    """
    options = list(options)
    wrong = [option for option in options if not re.match(r'[^=]+=', option)]
    if wrong:
        raise UsageError(f'--cfg-options: {wrong[0]!r} is not KEY=VALUE')
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='*', action=DictAction, default={})
    return parser.parse_args(['--cfg-options', *options] if options else []).cfg_options


def read_config(path: Path, cfg_options: Iterable[str] = ()) -> Config:
    """A config with options, without importing the modules that it names.

    Raises:
        UsageError: The file is no config, or an option is not KEY=VALUE or changes nothing.
    """
    cfg = read_file(str(path), import_custom_modules=False)
    options = parse_options(cfg_options)
    if options:
        override(cfg, options, str(path))
    return cfg
