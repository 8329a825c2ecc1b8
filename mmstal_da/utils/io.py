"""Files that are written completely or not at all, and JSON."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, overload

from mmstal_da.errors import AnnotationError, UsageError


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
    and the temporary file is removed.

    Args:
        path: Destination. Missing parent folders are made.
        mode: ``'w'`` (text, UTF-8) or ``'wb'`` (bytes).

    Yields:
        The open temporary file.
    """
    if mode not in ('w', 'wb'):
        raise ValueError(f"atomic_write: mode is 'w' or 'wb', not {mode!r}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.tmp')
    try:
        with os.fdopen(fd, mode, encoding=None if 'b' in mode else 'utf-8') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


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


def load_json(
    path: str | os.PathLike[str], parse_float: Callable[[str], Any] | None = None
) -> Any:
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
