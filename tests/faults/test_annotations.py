"""Damaged annotations of every format: the right value, or an error that names the file.

Each format is damaged in many ways by fixed seeds and given to ``tools/data/prepare.py``. Whatever
comes, the command ends with 0 and a valid file whose boxes are all accounted for, or with 1, a
message with the file's name, and nothing written. It never ends in another exception or not at all.
"""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.tubes.plausible import refuse_implausible
from tests.faults.damage import damage
from tests.faults.guard import no_hang
from tests.faults.sources import SOURCES, Source
from tests.load_tool import load_tool

FEW, MANY = 12, 110  # seeds of every format
CASES = [
    pytest.param(name, seeds, id=f'{name}-{len(seeds)}', marks=marks)
    for name in SOURCES
    for seeds, marks in ((range(FEW), ()), (range(FEW, FEW + MANY), pytest.mark.slow))
]


@pytest.fixture(scope='module')
def prepare():
    return load_tool('data/prepare')


@pytest.fixture(scope='module', autouse=True)
def without_sync():
    """A disk that takes its time for every file would be most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('os.fsync', lambda _: None)
        yield


def arguments(source: Source, folder: Path, out: Path) -> list[str]:
    path = folder / (source.path or source.name)
    if source.command == 'check':  # reads no video when it exports
        return ['export', 'act', str(path), '--out', str(out.with_suffix('.pkl'))]
    options = [option.format(folder=folder) for option in source.options]
    return [source.command, '--annotations', str(path), '--out', str(out),
            '--stats', str(out.with_name('stats.json')), *options]  # fmt: skip


def count_lines(data: bytes) -> int:
    return sum(bool(line.strip()) for line in data.decode('utf-8-sig').split('\n'))


def count_coco(data: bytes) -> int:
    items = json.loads(data.decode('utf-8-sig'))['annotations']
    return sum((item.get('attributes') or {}).get('outside') is not True for item in items)


def count_act(data: bytes) -> int:
    tubes = [t for by in pickle.loads(data)['gttubes'].values() for items in by.values()
             for t in items]  # fmt: skip
    return sum(len(tube) for tube in tubes)


def count_pyannot(data: bytes) -> int:
    items = [item for video in pickle.loads(data).values() for item in video['annotations']]
    return sum(len(item['boxes']) for item in items)


# what a file holds, counted without the converters
COUNTS: dict[str, Callable[[bytes], int]] = {
    'ava': count_lines, 'coco': count_coco, 'act': count_act, 'pyannot': count_pyannot,
}  # fmt: skip


def one_case(prepare: Any, name: str, folder: Path, whole: bytes, seed: int, capsys: Any) -> str:
    """Damage, convert, and check what came of it; what was done, for the message."""
    source = SOURCES[name]
    file, out = folder / source.name, folder.parent / 'out' / 'out.json'
    data, way = damage(whole, source.kind, seed)
    file.write_bytes(data)
    where = f'{name}, seed {seed} ({way})'
    with no_hang(where):
        code = prepare.main(arguments(source, folder, out))
    printed = capsys.readouterr()
    if code:
        assert code == 1, where
        # the file, or another one of the folder that it does not fit to
        assert str(folder) in printed.err, (where, printed.err)
        assert 'Traceback' not in printed.err, where
        assert not out.exists() and not out.with_suffix('.pkl').exists(), where
        return 'error'
    if source.command == 'check':
        load_annotation(file)
        out.with_suffix('.pkl').unlink()
        return 'read'
    annotation = load_annotation(out)
    refuse_implausible(annotation, where)
    stats = json.loads(out.with_name('stats.json').read_text())
    written = sum(len(tube.frames) for tubes in annotation.tubes.values() for tube in tubes)
    assert stats['boxes_written'] == written, where
    if name == 'viper' and len(annotation.videos) < 2:  # a file that is not read is reported
        assert file.name in stats['problems'][0]['problem'], where
        return 'error'
    if name in COUNTS:
        assert stats['boxes'] == COUNTS[name](data), (where, stats['problems'])
    out.unlink()
    return 'read'


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'seeds'), CASES)
def test_damaged_annotations(prepare, tmp_path, capsys, name, seeds):
    folder = tmp_path / 'in'
    folder.mkdir()
    SOURCES[name].make(folder)
    whole = (folder / SOURCES[name].name).read_bytes()
    with np.errstate(all='ignore'):
        found = [one_case(prepare, name, folder, whole, seed, capsys) for seed in seeds]
    assert 'error' in found


@pytest.mark.parametrize('name', SOURCES)
def test_whole_annotations(prepare, tmp_path, capsys, name):
    """The sources themselves are right, and so are the counts that damaged ones are held to."""
    folder = tmp_path / 'in'
    folder.mkdir()
    SOURCES[name].make(folder)
    out = tmp_path / 'out' / 'out.json'
    assert prepare.main(arguments(SOURCES[name], folder, out)) == 0, capsys.readouterr().err
    if name in COUNTS:
        stats = json.loads(out.with_name('stats.json').read_text())
        assert stats['boxes'] == COUNTS[name]((folder / SOURCES[name].name).read_bytes()) > 4
        assert stats['boxes'] == stats['boxes_written']
