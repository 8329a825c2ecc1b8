"""Files that the run of one row makes and other rows read: proposals and pseudo-labels.

MMAction2's AVA-style detectors propose no boxes. Rows ``pseudo*`` learn what another detector found
in the target's training videos. In a table such a row reads the file of another row's run of the
same seed, ``OUT/<row>/seed<k>/<file>``, in place of the file that its config names.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mmengine.config import Config

from mmstal_da.errors import UsageError

from .fingerprint import Settings, digest_config, digest_data
from .rows import read_config, split_row

Named = dict[str, Path]
"""Dotted key in a config -> the file that it names."""


@dataclass(frozen=True)
class Product:
    """A file that a finished run makes for other rows.

    Attributes:
        name: Its key in records. A reader's config says by ``<name>_from = 'ROW'`` whose it reads,
            or by None that it reads the file that it names.
        file: Its name in the folder of the run.
        stage: What makes it, as ``attempts.json`` and the log are called.
        tool: The same in ``tools/data``.
        arguments: Of the tool, before ``--out``.
        maker: The method whose run makes it if the config does not say; of the reader's block.
        named_at: Which files of this kind a part of a config names, given its dotted key.
    """

    name: str
    file: str
    stage: str
    tool: str
    arguments: tuple[str, ...]
    maker: str
    named_at: Callable[[str, Mapping], Named]

    @property
    def title(self) -> str:
        """In messages."""
        return self.name.replace('_', '-')

    def named(self, cfg: Config) -> Named:
        """The files of this kind that training and test read."""
        parts = ('train_dataloader', 'test_dataloader')
        found: Named = {}
        for part in parts:
            for key, value in _mappings(part, cfg.get(part)):
                found |= self.named_at(key, value)
        return found

    def options(self, cfg: Config, file: Path) -> list[str]:
        """``--cfg-options`` by which a config reads another file."""
        return [f'{key}={file}' for key in self.named(cfg)]


def _proposals(key: str, value: Mapping) -> Named:
    kind = str(value.get('type')).rpartition('.')[2]
    file = value.get('proposals')
    if kind != 'ActionTubeDataset' or file in (None, 'ground_truth'):
        return {}
    return {f'{key}.proposals': Path(file)}


def _pseudo_labels(key: str, value: Mapping) -> Named:
    if value.get('train_on') != 'source_and_pseudo':
        return {}
    key, target = f'{key}.target', value['target']
    while 'ann_file' not in target and 'dataset' in target:
        key, target = f'{key}.dataset', target['dataset']
    return {f'{key}.ann_file': Path(target.get('data_root') or '', target['ann_file'])}


def _pseudo_tubes(key: str, value: Mapping) -> Named:
    return {k: file for k, file in _pseudo_labels(key, value).items() if not _of_boxes(file)}


def _pseudo_boxes(key: str, value: Mapping) -> Named:
    return {k: file for k, file in _pseudo_labels(key, value).items() if _of_boxes(file)}


def _of_boxes(file: Path) -> bool:
    """A name such as ``target_pseudo_boxes.json`` says that labels are single boxes."""
    return file.stem.endswith('_boxes')


PRODUCTS = (
    Product(
        name='proposals',
        file='proposals.npz',
        stage='propose',
        tool='dump_proposals.py',
        arguments=('{config}', '{checkpoint}'),
        maker='source_only',
        named_at=_proposals,
    ),
    Product(
        name='pseudo_tubes',
        file='pseudo_tubes.json',
        stage='label',
        tool='pseudo_tubes.py',
        arguments=('{checkpoint}', '--config', '{config}'),
        maker='full',
        named_at=_pseudo_tubes,
    ),
    Product(
        name='pseudo_boxes',
        file='pseudo_boxes.json',
        stage='label_boxes',
        tool='pseudo_tubes.py',
        # tubes of one frame; at 0.8 about as many boxes are learnt as of tubes at 0.7 (tuning seed)
        arguments=(
            *('{checkpoint}', '--config', '{config}', '--link-iou', '1', '--tube-score', '0.8'),
            *('--min-length', '1', '--plausible-length', '1'),
        ),
        maker='full',
        named_at=_pseudo_boxes,
    ),
)


@dataclass(frozen=True)
class Input:
    """What a row reads of another row's run.

    Attributes:
        product: The file.
        row: Whose run makes it.
        digest: Of that row, see :meth:`Recipes.digest`.
    """

    product: Product
    row: str
    digest: str


class Recipes:
    """What the results of a pair's rows depend on; every config is read once.

    Args:
        configs: Row to config file.
        settings: What the results depend on besides.
    """

    def __init__(self, configs: Mapping[str, Path], settings: Settings) -> None:
        self.configs = configs
        self.settings = settings
        self.config = cache(lambda row: read_config(configs[row], settings.cfg_options))

    def inputs(self, row: str, readers: tuple[str, ...] = ()) -> tuple[Input, ...]:
        """What a row reads.

        Args:
            row: The row.
            readers: Rows that read this one's, directly or not.

        Raises:
            UsageError: The pair has no such row, or a row reads what is made of its own.
        """
        readers = (*readers, row)
        found = []
        for product, maker in self._makers(row):
            self._check(product, maker, readers)
            found.append(Input(product, maker, self.digest(maker, readers)))
        return tuple(found)

    def digest(self, row: str, readers: tuple[str, ...] = ()) -> str:
        """SHA-256 of a row's config and, if it reads any, of the rows that it reads."""
        own = digest_config(self.config(row), self.settings)
        read = [(item.product.name, item.digest) for item in self.inputs(row, readers)]
        return hashlib.sha256(json.dumps([own, *read]).encode()).hexdigest() if read else own

    def data(self, row: str) -> dict[str, str]:
        """Annotation file -> digest, of a row and the rows that it reads, but for what these make.

        See :func:`~.fingerprint.digest_data`.
        """
        cfg = self.config(row)
        found, replaced = digest_data(cfg), set()
        for item in self.inputs(row):
            found |= self.data(item.row)
            replaced |= {path.as_posix() for path in item.product.named(cfg).values()}
        return {name: digest for name, digest in found.items() if name not in replaced}

    def _makers(self, row: str) -> Iterator[tuple[Product, str]]:
        cfg = self.config(row)
        for product in PRODUCTS:
            maker = cfg.get(f'{product.name}_from', product.maker + split_row(row)[1])
            if maker is not None and product.named(cfg):
                yield product, maker

    def _check(self, product: Product, maker: str, readers: tuple[str, ...]) -> None:
        config = self.configs[readers[-1]]
        remedy = f"name another row in it, {product.name}_from = 'ROW'"
        if maker not in self.configs:
            raise UsageError(
                f'{config} reads {product.title}; {config.parent} has no {maker}.py to make them: '
                f'{remedy}, or None to read the file that it names'
            )
        if maker in readers:
            circle = ' reads '.join([*readers[readers.index(maker) :], maker])
            raise UsageError(f'{config} reads what is made of its own, {circle}: {remedy}')


def _mappings(key: str, value) -> Iterator[tuple[str, Mapping]]:
    """All mappings within a part of a config, each with its dotted key."""
    if isinstance(value, Mapping):
        yield key, value
        for name, item in value.items():
            yield from _mappings(f'{key}.{name}', item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _mappings(f'{key}.{number}', item)
