import pytest

from mmstal_da.experiments import commands

from .fake_table import TEST, TRAIN, load_main


@pytest.fixture()
def run_table(tmp_path, monkeypatch):
    """``main`` of tools/run_table.py, with tools that train nothing."""
    tools = tmp_path / 'tools'
    tools.mkdir()
    (tools / 'train.py').write_text(TRAIN)
    (tools / 'test.py').write_text(TEST)
    monkeypatch.setattr(commands, 'TOOLS', tools)
    return load_main()
