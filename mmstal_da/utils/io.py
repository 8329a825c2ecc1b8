"""Files that are written completely or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, overload


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


def _umask() -> int:
    """The process's umask, which ``mkstemp`` ignores."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
