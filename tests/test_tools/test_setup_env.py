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
    for name in ('setup.cfg', 'pyproject.toml'):
        shutil.copy(ROOT / name, folder)
    return folder


def fake_python(path: Path, verdict: str) -> None:
    """An interpreter that answers the question for its version with ``verdict``."""
    path.write_text(f'#!/bin/sh\ncat >/dev/null\necho "{verdict}"\n')
    path.chmod(0o755)


def set_up(checkout: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run the set-up cut off from every package index, with an empty cache."""
    kept = {name: os.environ[name] for name in ('PATH', 'HOME')}
    cut_off = dict(
        PIP_NO_INDEX='1',
        PIP_FIND_LINKS='',
        PIP_CONFIG_FILE='/dev/null',
        MMSTAL_DA_CACHE=str(checkout),
    )
    return subprocess.run(
        ['bash', str(checkout / 'tools' / 'setup_env.sh')],
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
    assert 'found: nothing named python3.11' in done.stdout

    fake_python(programs / 'python3.11', '3.11.2: lacks venv and ensurepip')
    fake_python(programs / 'python3.12', '3.12.0: lacks its headers (Python.h)')
    fake_python(programs / 'python3', '3.8.18: too old, 3.10 or newer is needed')
    fake_python(programs / 'python', '3.14.0 ok')
    done = set_up(checkout, PATH=str(programs))
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


def test_failed_step_is_named_and_the_next_run_goes_on(checkout):
    """Without an index, torch cannot be installed."""
    done = set_up(checkout, PYTHON=sys.executable)
    assert done.returncode == 1
    assert 'FAILED: install torch' in done.stdout
    log = checkout / 'build' / 'setup' / 'install-torch.log'
    assert str(log) in done.stdout
    assert 'No matching distribution' in log.read_text()
    assert 'What to do: ' in done.stdout
    assert not list((checkout / '.venv').glob('.mmstal_da-setup*'))

    done = set_up(checkout, TORCH_SPEC='torch==9.9')
    assert 'make .venv' not in done.stdout
    assert 'torch==9.9' in (checkout / 'build' / 'setup' / 'install-torch.log').read_text()


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
