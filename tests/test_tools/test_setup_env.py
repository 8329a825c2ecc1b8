"""tools/setup_env.sh: which Python it takes, and what it says when a step fails.

The whole set-up takes minutes and runs before these tests do, so only its beginning is run here.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What the set-up reads of a checkout."""
    folder = tmp_path / 'checkout'
    (folder / 'tools').mkdir(parents=True)
    shutil.copy(ROOT / 'tools' / 'setup_env.sh', folder / 'tools')
    for name in ('setup.cfg', 'pyproject.toml', 'setup.py'):
        shutil.copy(ROOT / name, folder)
    return folder


def fake_python(path: Path, verdict: str) -> None:
    """An interpreter that answers the question for its version with ``verdict``."""
    path.write_text(f'#!/bin/sh\ncat >/dev/null\necho "{verdict}"\n')
    path.chmod(0o755)


def set_up(checkout: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the set-up cut off from every package index, with an empty cache."""
    kept = {name: os.environ[name] for name in ('PATH', 'HOME')}
    cut_off = dict(
        PIP_NO_INDEX='1',
        PIP_FIND_LINKS='',
        PIP_CONFIG_FILE='/dev/null',
        MMSTAL_DA_CACHE=str(checkout / 'cache'),
    )
    return subprocess.run(
        ['bash', str(checkout / 'tools' / 'setup_env.sh'), *flags],
        env={**kept, **cut_off, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_no_usable_python_says_what_was_found(checkout, tmp_path):
    programs = tmp_path / 'bin'
    programs.mkdir()
    for name in ('bash', 'dirname', 'cat', 'sh'):
        (programs / name).symlink_to(shutil.which(name))
    done = set_up(checkout, PATH=str(programs))
    assert done.returncode == 1
    assert 'found: nothing named python3.10 to python3.13' in done.stdout

    fake_python(programs / 'python3.11', '3.11.2: lacks venv and ensurepip')
    fake_python(programs / 'python3.12', '3.12.0: lacks its headers (Python.h)')
    fake_python(programs / 'python3', '3.8.18: too old, 3.10 or newer is needed')
    fake_python(programs / 'python', '3.14.0 ok')
    done = set_up(checkout, '--with-mmcv-ops', PATH=str(programs))
    assert done.returncode == 1
    for part in (
        'python3.11: 3.11.2: lacks venv and ensurepip',
        'python3.12: 3.12.0: lacks its headers',
        'python3: 3.8.18: too old',
        'python: 3.14.0: untested',
        'What to do: install Python 3.11',
    ):
        assert part in done.stdout
    assert not (checkout / '.venv').exists()


@pytest.mark.slow
def test_failed_step_is_named_and_the_next_run_goes_on(checkout):
    """Without an index, torch cannot be installed."""
    done = set_up(checkout, PYTHON=sys.executable)
    assert done.returncode == 1
    assert 'FAILED: install torch' in done.stdout
    log = checkout / 'build' / 'setup' / 'install-torch.log'
    assert str(log) in done.stdout
    assert 'No matching distribution' in log.read_text()
    assert 'What to do: pip reached no index' in done.stdout
    assert not list((checkout / '.venv').glob('.mmstal_da-setup*'))

    done = set_up(checkout, TORCH_SPEC='torch==9.9')
    assert 'make .venv' not in done.stdout
    assert 'torch==9.9' in (checkout / 'build' / 'setup' / 'install-torch.log').read_text()


@pytest.mark.slow
def test_broken_venv_is_made_anew(checkout):
    (checkout / '.venv' / 'bin').mkdir(parents=True)
    (checkout / '.venv' / 'bin' / 'python').symlink_to('/nowhere/python3.11')
    done = set_up(checkout, PYTHON=sys.executable)
    assert 'make .venv' in done.stdout
    assert (checkout / '.venv' / 'bin' / 'pip').is_file()


def test_active_environment_that_is_too_old(checkout, tmp_path):
    programs = tmp_path / 'bin'
    programs.mkdir()
    fake_python(programs / 'python', '3.9.1: too old, 3.10 or newer is needed')
    done = set_up(checkout, MMSTAL_DA_ENV='current', PATH=f'{programs}:{os.environ["PATH"]}')
    assert done.returncode == 1
    assert 'FAILED: the active Python' in done.stdout
    assert '3.9.1: too old' in done.stdout
    assert not (checkout / '.venv').exists()


@pytest.fixture(scope='module')
def bare_environment(tmp_path_factory) -> Path:
    """An environment without packages, which the tests below put some into."""
    folder = tmp_path_factory.mktemp('env') / 'env'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(folder)], check=True)
    return folder


@pytest.fixture
def environment(bare_environment) -> Path:
    """Its site-packages, emptied, with a torch that imports."""
    (site,) = bare_environment.glob('lib/python3.*/site-packages')
    shutil.rmtree(site)
    (site / 'torch').mkdir(parents=True)
    (site / 'torch' / '__init__.py').write_text("__version__ = '2.13.0'\n")
    return site


def distribution(site: Path, name: str, version: str) -> None:
    """What makes a package count as installed."""
    folder = site / f'{name.replace("-", "_")}-{version}.dist-info'
    folder.mkdir()
    (folder / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')


def set_up_current(checkout: Path, site: Path) -> str:
    """What the set-up of the active environment says when it fails."""
    path = f'{site.parents[2] / "bin"}:{os.environ["PATH"]}'
    done = set_up(checkout, MMSTAL_DA_ENV='current', PATH=path)
    assert done.returncode == 1
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ('there', 'said'),
    [
        ({'mmcv': '2.2.0'}, ['mmcv 2.2.0 is installed', 'pip uninstall -y mmcv;']),
        ({'mmcv': '1.7.2'}, ['mmcv 1.7.2 is installed', 'need mmcv 2.1']),
        ({'mmcv-lite': '2.2.0'}, ['mmcv-lite 2.2.0 is', 'pip uninstall -y mmcv-lite;']),
        (
            {'mmcv': '2.1.0', 'mmcv-lite': '2.1.0'},
            ['mmcv and mmcv-lite are both installed', 'pip uninstall -y mmcv mmcv-lite;'],
        ),
    ],
)
def test_an_mmcv_that_does_not_fit(checkout, environment, there, said):
    """None is replaced unasked."""
    for name, version in there.items():
        distribution(environment, name, version)
    output = set_up_current(checkout, environment)
    for part in said:
        assert part in output
    assert len(list(environment.glob('mmcv*'))) == len(there)


def test_an_mmcv_that_fits_is_kept(checkout, environment):
    """It goes on to the project itself, without the extra that brings mmcv-lite."""
    distribution(environment, 'mmcv', '2.1.0')
    assert 'FAILED: install mmstal_da' in set_up_current(checkout, environment)
    log = (checkout / 'build/setup/install-mmstal_da-and-its-dependencies.log').read_text()
    assert 'No module named pip' in log


def test_a_torch_that_cannot_be_imported(checkout, environment):
    (environment / 'torch' / '__init__.py').write_text(
        "raise ImportError('libtorch_cpu.so: cannot open shared object file')"
    )
    output = set_up_current(checkout, environment)
    assert 'libtorch_cpu.so: cannot open shared object file' in output
    assert 'FAILED: the installed torch cannot be imported' in output
    assert 'What to do: reinstall it' in output


def test_no_space(checkout, tmp_path):
    """The folder's disk has one gigabyte; nothing is begun."""
    programs = tmp_path / 'bin'
    programs.mkdir()
    (programs / 'df').write_text('#!/bin/sh\necho head; echo disk 9 9 1048576 99% /\n')
    (programs / 'df').chmod(0o755)
    path = f'{programs}:{os.environ["PATH"]}'
    done = set_up(checkout, PYTHON=sys.executable, PATH=path)
    assert done.returncode == 1
    assert 'has 1 GB of free space, and .venv needs 3' in done.stdout
    assert 'What to do: free some space' in done.stdout
    assert not (checkout / '.venv').exists()


def test_an_unknown_argument(checkout):
    done = set_up(checkout, '--with-ops')
    assert done.returncode == 2
    assert 'unknown argument --with-ops; known: --with-mmcv-ops' in done.stdout
    assert not (checkout / '.venv').exists()


@pytest.mark.slow
def test_packages_are_kept_for_the_next_clone(checkout, tmp_path):
    """Another clone's .venv is made of them, with scripts that call its own interpreter."""
    script = (ROOT / 'tools' / 'setup_env.sh').read_text()
    functions = script[
        script.index('# Prints the name of the cached packages') : script.index('restored=\n')
    ]
    other = tmp_path / 'other'
    shutil.copytree(checkout, other)
    prelude = (
        'set -euo pipefail; cd "$1"; root=$PWD; cache="$2"; torch_spec=torch; python="$3"\n'
        f'{functions}\n'
    )

    def bash(folder: Path, commands: str) -> None:
        line = ['bash', '-c', prelude + commands, 'bash', folder, tmp_path / 'cache']
        subprocess.run([*map(str, line), sys.executable], check=True)

    bash(checkout, '"$python" -m venv .venv')
    (site,) = (checkout / '.venv').glob('lib/python3.*/site-packages')
    distribution(site, 'something', '1.0')
    distribution(site, 'mmstal_da', '0.1.0')
    bash(checkout, 'keep_packages "$(cache_key)"')
    bash(other, 'restore_packages "$cache/$(cache_key)"')
    names = {path.name for path in (other / '.venv').glob('lib/python3.*/site-packages/*')}
    assert 'something-1.0.dist-info' in names
    assert not any('mmstal_da' in name for name in names)
    assert (other / '.venv/bin/pip').read_text().startswith(f'#!{other}/.venv/bin/python\n')
    listed = subprocess.run(
        [other / '.venv/bin/pip', 'list'], check=True, capture_output=True, text=True
    )
    assert 'something' in listed.stdout
    activate = (other / '.venv/bin/activate').read_text()
    assert f'{other}/.venv' in activate and '.part' not in activate
