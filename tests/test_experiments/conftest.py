import pytest


@pytest.fixture()
def run_table(tmp_path, monkeypatch):
    """``main`` of tools/run_table.py, with tools that train nothing and small pictures."""
    # imported here: pytest-xdist's first process reads this file, and would wait for torch
    from matplotlib.figure import Figure

    from mmstal_da.experiments import commands
    from mmstal_da.visualization import bar_plot

    from .fake_table import DUMP, TEST, TRAIN, load_main

    tools = tmp_path / 'tools'
    (tools / 'data').mkdir(parents=True)
    (tools / 'train.py').write_text(TRAIN)
    (tools / 'test.py').write_text(TEST)
    for name in ('dump_proposals', 'pseudo_tubes'):
        (tools / f'data/{name}.py').write_text(DUMP)
    monkeypatch.setattr(commands, 'TOOLS', tools)
    monkeypatch.setattr(bar_plot, 'Figure', lambda figsize, layout: Figure(figsize=(2, 2)))
    return load_main()
