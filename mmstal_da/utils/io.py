"""Files that are written completely or not at all, and JSON."""

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, overload

from mmstal_da.errors import AnnotationError, UsageError

LEFT = 60.0  # seconds


@overload
def atomic_write(
    path: str | os.PathLike[str], mode: Literal['w'] = 'w'
) -> AbstractContextManager[IO[str]]: ...


@overload
def atomic_write(
    path: str | os.PathLike[str], mode: Literal['wb']
) -> AbstractContextManager[IO[bytes]]: ...


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = 'w') -> Iterator[IO[Any]]:
    """Open a temporary file next to ``path`` and move it into place on success.

    Readers see the old file or the whole new one. If the body raises, ``path`` is untouched
    and the temporary file is removed. What a killed process left is removed by the next write of
    the same file.

    Args:
        path: Destination. Missing parent folders are made.
        mode: ``'w'`` (text, UTF-8) or ``'wb'`` (bytes).

    Yields:
        The open temporary file.

    Raises:
        OSError: The disk is full, or the folder cannot be written; names ``path``.
    """
    if mode not in ('w', 'wb'):
        raise ValueError(f"atomic_write: mode is 'w' or 'wb', not {mode!r}")
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, f'.{path.name}.', '.tmp')
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.tmp')
    except OSError as error:
        raise OSError(error.errno, f'cannot be written ({error.strerror})', str(path)) from error
    try:
        with os.fdopen(fd, mode, encoding=None if 'b' in mode else 'utf-8') as file:
            lock(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        # the error of a write does not say which file
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(
                error.errno, f'cannot be written ({error.strerror})', str(path)
            ) from error
        raise


def lock(fd: int) -> bool:
    """Mark an open file or folder as in use by this process; false if another one does so."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # in use, or a file system without locks
        return False
    return True


def remove_leftovers(folder: Path, prefix: str, suffix: str, age: float = LEFT) -> list[Path]:
    """Remove temporary files and folders of processes that were killed.

    Args:
        folder: Where they are.
        prefix: How their names begin.
        suffix: How they end.
        age: Least age in seconds. What is younger may have no lock yet.

    Returns:
        What was removed: what no process holds locked.
    """
    removed = []
    for name in os.listdir(folder):
        path = folder / name
        if not (name.startswith(prefix) and name.endswith(suffix)):
            continue
        with suppress(OSError):  # another process removed it, or it is not ours
            if time.time() - path.stat().st_mtime < age:
                continue
            fd = os.open(path, os.O_RDONLY)
            try:
                if lock(fd):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    removed.append(path)
            finally:
                os.close(fd)
    return removed


def read_text(path: str | os.PathLike[str]) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        AnnotationError: Another encoding.
    """
    try:
        return Path(path).read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f'{os.fspath(path)} is no text in UTF-8 ({error}); save it as UTF-8'
        ) from error


def load_json(path: str | os.PathLike[str], parse_float: Callable[[str], Any] | None = None) -> Any:
    """Read JSON of a user.

    Args:
        path: The file, in UTF-8, with or without a byte order mark.
        parse_float: Makes numbers of texts with a fraction; None makes float64.

    Raises:
        AnnotationError: Not JSON or cut off, or an object has a key twice, of which Python's
            reader would take the last.
    """
    where = os.fspath(path)

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise AnnotationError(
                f'{where}: the key {twice!r} is there twice in one object; keep one'
            )
        return found

    text = read_text(path)
    try:
        return json.loads(text, parse_float=parse_float, object_pairs_hook=distinct)
    except AnnotationError:
        raise
    except (ValueError, RecursionError, MemoryError) as error:
        message = str(error) or type(error).__name__
        raise AnnotationError(f'{where}: not JSON, or cut off ({message})') from error


def write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with atomic_write(path) as file:
        json.dump(content, file, indent=1)
        file.write('\n')


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UsageError: The file is not one.
    """
    try:
        content = load_json(path)
    except AnnotationError as error:
        raise UsageError(f'{error}; remove it') from error
    if not isinstance(content, dict):
        raise UsageError(f'{path} holds no JSON object; remove it')
    return content


def _umask() -> int:
    """The process's umask, which ``mkstemp`` ignores."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
