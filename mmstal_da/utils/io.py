"""Files that are written completely or not at all, and JSON."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, overload

from mmstal_da.errors import UsageError


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
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise UsageError(f'{path} is not JSON ({error}); remove it') from error
    if not isinstance(content, dict):
        raise UsageError(f'{path} holds no JSON object; remove it')
    return content


def _umask() -> int:
    """The process's umask, which ``mkstemp`` ignores."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
