"""Where the operators come from, and what is said where they cannot be had."""

import subprocess
import sys

import pytest

from mmstal_da import ops
from mmstal_da.ops.extension import OperatorModule


@pytest.mark.parametrize(
    ('versions', 'message'),
    [
        ({}, r'needs mmcv, which is not installed: pip install mmcv-lite==2\.1\.0'),
        ({'mmcv': '2.1.0', 'mmcv-lite': '2.1.0'}, r'pip uninstall -y mmcv mmcv-lite && pip inst'),
        ({'mmcv': '2.2.0'}, r'mmcv 2\.2\.0 is installed.*pip uninstall -y mmcv && pip install'),
        ({'mmcv': '1.7.2'}, r'mmcv 1\.7\.2 is installed'),
        ({'mmcv-lite': '2.2.0'}, r'pip uninstall -y mmcv-lite && pip install mmcv-lite==2\.1\.0'),
    ],
)
def test_what_to_type_where_mmcv_does_not_fit(versions, message):
    with pytest.raises(ImportError, match=message):
        ops.check_mmcv(versions)


@pytest.mark.parametrize('versions', [{'mmcv': '2.1.0'}, {'mmcv-lite': '2.1.0'}])
def test_what_fits(versions):
    ops.check_mmcv(versions)


def test_an_operator_that_is_not_there_names_itself():
    deform = OperatorModule(torchvision=False).deform_conv_forward
    with pytest.raises(ImportError, match=r"'deform_conv_forward'.*--with-mmcv-ops"):
        deform(1, 2)


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


COMPILED = """
import importlib.machinery, importlib.util, sys, types
import mmcv
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == 'mmcv._ext':
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        {body}
sys.meta_path.insert(0, Finder())
import mmstal_da.ops as ops
"""


@pytest.mark.slow
def test_compiled_operators_are_used_untouched():
    code = COMPILED.format(body="module.mine = 'compiled'")
    code += 'ops.provide_ops(); print(sys.modules["mmcv._ext"].mine, "|", ops.describe_ops())'
    assert run(code) == "compiled | mmcv's compiled operators"


@pytest.mark.slow
def test_operators_compiled_for_another_torch():
    code = COMPILED.format(body="raise ImportError('undefined symbol: _ZN3c10')")
    code += 'try:\n    ops.provide_ops()\nexcept ImportError as error:\n    print(error)'
    message = run(code)
    assert 'compiled for another torch (undefined symbol: _ZN3c10)' in message
    assert message.endswith('pip uninstall -y mmcv && pip install mmcv-lite==2.1.0')


def test_a_torchvision_without_operators_is_not_used(tmp_path, monkeypatch):
    """As PyPI's torchvision beside another torch, which raises RuntimeError on import."""
    package = tmp_path / 'torchvision'
    package.mkdir()
    (package / '__init__.py').write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'torchvision', raising=False)
    assert not ops.torchvision_has_ops()
