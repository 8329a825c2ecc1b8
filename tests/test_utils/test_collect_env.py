"""The environment report says what is there, and what is broken."""

import re
import subprocess
from importlib import metadata

import numpy as np
import pytest

import mmstal_da
from mmstal_da.utils import collect_env as module


def test_report_names_the_stack():
    report = module.collect_env()
    assert report['numpy'] == np.__version__
    for name in ('mmcv', 'mmdet', 'mmaction2', 'mmengine', 'torch'):
        assert report[name] == metadata.version(name)
    assert report['mmcv ops'].startswith('run;')
    assert 'PyTorch' in report
    assert 'PyTorch' not in module.collect_env(basic=False)


def test_report_names_the_commit(tmp_path, monkeypatch):
    """Of a made-up checkout, clean and changed; and none outside of one."""
    package = tmp_path / 'mmstal_da'
    package.mkdir()
    for name in ('__init__.py', 'version.py'):
        (package / name).touch()
    monkeypatch.setattr(mmstal_da, '__file__', str(package / '__init__.py'))
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    assert module.git_commit() == 'not a git checkout'

    def git(*arguments: str) -> str:
        command = ['git', '-c', 'user.name=a', '-c', 'user.email=a@b.c', '-C', str(tmp_path)]
        return subprocess.run([*command, *arguments], check=True, stdout=subprocess.PIPE).stdout

    git('init', '-q')
    assert module.git_commit() == 'not a git checkout'  # not one that knows this package
    git('add', '.')
    git('commit', '-q', '-m', 'first')
    assert re.fullmatch('git commit [0-9a-f]{40}', module.git_commit())
    (package / 'version.py').write_text('changed')
    assert module.git_commit().endswith(' with changes')


@pytest.mark.parametrize('error', [ImportError('undefined symbol: _ZN3c10'), RuntimeError('wrong')])
def test_broken_ops_are_reported(monkeypatch, error):
    def broken():
        raise error

    monkeypatch.setattr(module, 'prove_ops', broken)
    assert module.describe_ops() == f'do not run: {type(error).__name__}: {error}'


def test_wrong_ops_are_noticed(monkeypatch):
    import mmcv.ops
    import torch

    monkeypatch.setattr(mmcv.ops, 'roi_align', lambda *args: torch.zeros(1, 1, 2, 2))
    with pytest.raises(RuntimeError, match='wrong results on cpu'):
        module.prove_ops()
