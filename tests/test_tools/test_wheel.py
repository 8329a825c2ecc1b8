"""The wheel brings configs and tools, and trains from where it is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.load_tool import run_tool

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, **kwargs) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **kwargs,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """A folder with the wheel of this checkout installed."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    ignored = shutil.ignore_patterns('__pycache__')
    for part in ('mmstal_da', 'configs', 'tools'):
        shutil.copytree(ROOT / part, source / part, ignore=ignored)
    for part in ('setup.py', 'setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / part, source)
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    run(*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', folder, source)
    (wheel,) = folder.glob('mmstal_da-*.whl')
    run(*pip, 'install', '--no-deps', '--no-compile', '--target', folder / 'site', wheel)
    return folder / 'site'


def test_what_mim_reads(site):
    """``mim`` reads model-index.yml, the metafiles that it names, and the configs these name."""
    mim = site / 'mmstal_da' / '.mim'
    index = yaml.safe_load((mim / 'model-index.yml').read_text())
    assert len(index['Import']) == len(list((ROOT / 'configs').glob('*/metafile.yml')))
    for path in index['Import']:
        for model in yaml.safe_load((mim / path).read_text())['Models']:
            assert (mim / model['Config']).is_file()
            for value in model['Metadata'].values():  # mim joins lists of text
                assert not isinstance(value, list) or all(isinstance(v, str) for v in value)
    configs = {path.relative_to(mim) for path in mim.glob('configs/**/*.py')}
    assert configs == {path.relative_to(ROOT) for path in ROOT.glob('configs/**/*.py')}


def test_the_page_of_a_comparison_comes_along_and_published_detections_do_not(site):
    assert (site / 'mmstal_da/visualization/comparison_page.html').is_file()
    assert not list(site.rglob('*.npz'))


def test_training_from_the_installed_wheel(site, tmp_path):
    run_tool('data/make_synthetic', '--preset', 'tiny', '--out', tmp_path / 'tiny')
    mim = site / 'mmstal_da' / '.mim'
    environment = {**os.environ, 'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '1'}
    where = run(
        sys.executable,
        '-c',
        'import mmstal_da; print(mmstal_da.__file__)',
        env=environment,
        cwd=tmp_path,
    )
    assert Path(where.strip()) == site / 'mmstal_da' / '__init__.py'
    roots = [
        f'train_dataloader.dataset.{part}.data_root={tmp_path}/tiny/'
        for part in ('source', 'target')
    ]
    run(
        sys.executable,
        mim / 'tools' / 'train.py',
        mim / 'configs' / 'synthetic' / 'full.py',
        '--work-dir',
        tmp_path / 'run',
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_iters=2',
        'train_dataloader.batch_size=1',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        *roots,
        env=environment,
        cwd=tmp_path,
    )
    assert (tmp_path / 'run' / 'iter_2.pth').is_file()
