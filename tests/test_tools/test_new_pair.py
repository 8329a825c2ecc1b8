"""The rows of a pair of one's own are those of the pairs that are shipped."""

from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from mmstal_da.errors import UsageError
from tests.load_tool import load_tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tool():
    return load_tool('new_pair')


@pytest.fixture
def pair(tmp_path) -> Path:
    """A shipped pair's data in a folder of one's own."""
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs/_base_').symlink_to(ROOT / 'configs/_base_')
    folder = tmp_path / 'configs/mine'
    folder.mkdir()
    (folder / '_data.py').write_text((ROOT / 'configs/jhmdb_to_foggy/_data.py').read_text())
    return folder


@pytest.fixture
def no_data(monkeypatch):
    """The shipped pair's videos are not there; its configs are what is looked at."""
    monkeypatch.setattr('mmstal_da.launch.checks.check_config', lambda cfg: None)


@pytest.mark.slow
def test_rows_are_those_of_a_shipped_pair(tool, pair, no_data, capsys):
    assert tool.main([str(pair), '--model', 'i3d_rpn_r50_112px']) == 0
    shipped = ROOT / 'configs/jhmdb_to_foggy'
    rows = sorted(p.name for p in shipped.glob('*.py') if not p.name.startswith('_'))
    assert rows == sorted(p.name for p in pair.glob('*.py') if not p.name.startswith('_'))
    assert f'{len(rows) + 4} files written' in capsys.readouterr().out
    for row in rows:
        mine, theirs = Config.fromfile(pair / row), Config.fromfile(shipped / row)
        mine, theirs = (
            str(cfg.to_dict()).replace('proposals/mine', 'proposals/jhmdb_to_foggy')
            for cfg in (mine, theirs)
        )
        assert mine == theirs, row
    text = (pair / 'README.md').read_text()
    assert '<!-- table:begin -->' in text and '<!-- table:end -->' in text
    begun = yaml.safe_load((pair / 'metafile.yml').read_text())
    readme = 'configs/mine/README.md'
    assert begun == {'Collections': [{'Name': 'mine', 'README': readme}], 'Models': []}


@pytest.mark.slow
def test_a_table_finds_the_rows(tool, pair, no_data, tmp_path, capsys):
    assert tool.main([str(pair), '--model', 'i3d_rpn_r50_112px']) == 0
    capsys.readouterr()
    flags = ['--seeds', '0', '--out', str(tmp_path / 'table'), '--dry-run']
    assert load_tool('run_table').main([str(pair), *flags]) == 0
    said = capsys.readouterr().out
    for row in ('source_only', 't_img', 't_inst_s_img', 'full', 'oracle'):
        assert f'{row} seed 0  to do' in said, row


def test_what_is_there_is_kept(tool, pair, no_data, capsys):
    (pair / 'full.py').write_text("_base_ = './_base.py'\n# mine\n")
    assert tool.main([str(pair)]) == 0
    assert 'kept as they were: full.py' in capsys.readouterr().out
    assert '# mine' in (pair / 'full.py').read_text()
    assert tool.main([str(pair)]) == 0
    assert '0 files written' in capsys.readouterr().out


def test_complaints(tool, pair, tmp_path, capsys):
    assert tool.main([str(pair)]) == 2  # the data is not there
    assert 'foggy.json' in capsys.readouterr().err
    assert [path.name for path in pair.iterdir()] == ['_data.py']
    (pair / '_data.py').write_text("_base_ = '../_base_/datasets/pair_256px.py'\n")
    assert tool.main([str(pair)]) == 2
    assert "lacks ['classes', 'train_cfg']" in capsys.readouterr().err
    for text, message in (
        ('x = dict(', 'SyntaxError'),
        ("_base_ = './absent.py'\n", 'absent.py'),
        ('x = 1 / 0\n', 'ZeroDivisionError'),
    ):
        (pair / '_data.py').write_text(text)
        assert tool.main([str(pair)]) == 2
        error = capsys.readouterr().err
        assert '_data.py cannot be read' in error and message in error
    assert tool.main([str(tmp_path)]) == 2
    assert '_data.py does not exist' in capsys.readouterr().err
    with pytest.raises(UsageError, match='no folder above has `_base_`'):
        tool.files_of(tmp_path / 'alone', 'i3d_rpn_r50')
