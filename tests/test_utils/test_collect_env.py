"""The environment report says what is there, and what is broken."""

import re
import subprocess
import sys
import types
from importlib import metadata

import numpy as np
import pytest

import mmstal_da
from mmstal_da.ops import extension
from mmstal_da.utils import collect_env as module


def test_report_names_the_stack():
    report = module.collect_env()
    assert report['numpy'] == np.__version__
    for name in ('mmdet', 'mmaction2', 'mmengine', 'torch'):
        assert report[name] == metadata.version(name)
    assert 'operators' in report['RoIAlign and NMS']
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


@pytest.mark.parametrize(
    ('torchvision', 'expected'),
    [(True, "torchvision's operators"), (False, 'own operators (torch and NumPy)')],
)
def test_whose_operators_run(monkeypatch, torchvision, expected):
    stand_in = extension.OperatorModule(torchvision)
    monkeypatch.setitem(sys.modules, 'mmcv._ext', stand_in)
    monkeypatch.setattr(module, 'prove_ops', lambda: None)
    assert module.describe_ops() == expected


def test_compiled_operators_name_their_compiler(monkeypatch):
    import mmcv.ops

    monkeypatch.setitem(sys.modules, 'mmcv._ext', types.ModuleType('mmcv._ext'))
    monkeypatch.setattr(module, 'prove_ops', lambda: None)
    monkeypatch.setattr(mmcv.ops, 'get_compiler_version', lambda: 'GCC 12')
    monkeypatch.setattr(mmcv.ops, 'get_compiling_cuda_version', lambda: 'not available')
    assert module.describe_ops() == "mmcv's compiled operators (GCC 12, CUDA not available)"


@pytest.mark.slow
def test_the_report_needs_no_mmcv(tmp_path):
    """As where neither mmcv nor mmcv-lite is installed."""
    code = (
        'import importlib.util, sys\n'
        'from importlib import metadata\n'
        'class Hide:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        "        if name.split('.')[0] == 'mmcv':\n"
        '            raise ModuleNotFoundError(name)\n'
        'sys.meta_path.insert(0, Hide())\n'
        'find, version = importlib.util.find_spec, metadata.version\n'
        "importlib.util.find_spec = lambda n, *a: None if n == 'mmcv' else find(n, *a)\n"
        'def hidden(name):\n'
        "    if name.startswith('mmcv'):\n"
        '        raise metadata.PackageNotFoundError(name)\n'
        '    return version(name)\n'
        'metadata.version = hidden\n'
        'from mmstal_da.utils.collect_env import collect_env\n'
        "print(collect_env()['RoIAlign and NMS'])\n"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'do not run: ImportError: mmstal_da needs mmcv' in done.stdout
