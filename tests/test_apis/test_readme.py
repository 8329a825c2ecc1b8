"""The README's cell about one's own videos works as written."""

import re
from pathlib import Path

import pytest

from tests.test_apis.test_inferencer import case  # noqa: F401

README = Path(__file__).resolve().parents[2] / 'README.md'


@pytest.mark.slow
def test_the_cell(case, tmp_path, monkeypatch):  # noqa: F811
    (cell,) = re.findall(r'```python\n(from mmstal_da\.apis .*?)```', README.read_text(), re.S)
    folder, checkpoint, *_ = case
    places = ('work_dirs/quickstart/full/iter_300.pth', 'data/synthetic/target/wave')
    for place, target in zip(places, (checkpoint, folder), strict=True):
        assert f"'{place}'" in cell
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    exec(compile(cell, 'README.md', 'exec'), {})
    assert len(list(tmp_path.glob('work_dirs/found/**/result.json'))) == 2
