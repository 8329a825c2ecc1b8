import os
from pathlib import Path

import pytest

TEST_DATA = 'MMSTAL_DA_TEST_DATA'


@pytest.fixture(scope='session')
def test_data() -> Path:
    """The folder of real annotations and clips (see data/README.md); skips without it."""
    folder = os.environ.get(TEST_DATA)
    if not folder:
        pytest.skip(f'{TEST_DATA} is not set: it names the folder of real annotations and clips')
    if not Path(folder).is_dir():
        pytest.fail(f'{TEST_DATA}={folder} is no folder')
    return Path(folder)
