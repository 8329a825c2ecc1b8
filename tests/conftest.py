import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import mmstal_da.registry  # noqa: F401  (first: gives what importing mmdet needs)
from tests.load_tool import load_tool

# its import closes the files of all loggers, so it comes before there are any
with suppress(ImportError):
    import submitit  # noqa: F401

TEST_DATA = 'MMSTAL_DA_TEST_DATA'
# dataset -> its file of annotations, the beginning of its split lists' names
REAL_DATASETS = {
    'ucf101_24': ('pyannot.pkl', 'ucf101_24_split1'),
    'jhmdb': ('jhmdb_annot.mat', 'jhmdb_split1'),
    'ucf_sports': ('ucf_sports_annotations.tar.gz', 'ucfsports'),
}


@pytest.fixture(scope='session')
def test_data() -> Path:
    """The folder of real annotations and clips (see data/README.md); skips without it."""
    folder = os.environ.get(TEST_DATA)
    if not folder:
        pytest.skip(f'{TEST_DATA} is not set: it names the folder of real annotations and clips')
    if not Path(folder).is_dir():
        pytest.fail(f'{TEST_DATA}={folder} is no folder')
    return Path(folder)


@pytest.fixture(scope='session')
def prepared(test_data, tmp_path_factory) -> Path:
    """What prepare.py makes of the real annotations: <name>/<name>.json and <name>/stats.json."""
    prepare, folder = load_tool('data/prepare'), tmp_path_factory.mktemp('prepared')
    for name, (annotations, splits) in REAL_DATASETS.items():
        source, out = test_data / name, folder / name
        lists = [str(source / f'{splits}_{part}.txt') for part in ('train', 'test')]
        arguments = [name, '--annotations', str(source / annotations), '--out', str(out)]
        arguments += ['--splits', *lists, '--stats', str(out / 'stats.json')]
        assert prepare.main(arguments) == 0
    return folder


def as_it_is(text: str, **style) -> tuple[str, bool]:
    """A config's code, valid but not laid out."""
    return text, True


def pytest_collection_finish() -> None:
    """MMEngine lays out a config whenever it is saved, which takes more than a second each time."""
    config = sys.modules.get('mmengine.config.config')  # not imported for this
    if config:
        config.FormatCode = as_it_is


@pytest.fixture(autouse=True)
def default_scope():
    """A runner leaves its default scope behind, in which the next test would look up types."""
    yield
    registry = sys.modules.get('mmengine.registry')  # not imported for this
    if registry:
        scopes = registry.DefaultScope._instance_dict
        for name in [name for name, scope in scopes.items() if scope.scope_name != 'mmstal_da']:
            del scopes[name]
