from pathlib import Path

import pytest

from tests.faults.tiny_pair import make_rows


@pytest.fixture(scope='session')
def rows(tmp_path_factory) -> Path:
    """Folder of small configs ``full.py`` and ``source_only.py``."""
    return make_rows(tmp_path_factory.mktemp('tiny'), 'full', 'source_only')
