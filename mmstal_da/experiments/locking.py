"""A lock that is held as long as any process of a run lives."""

import fcntl
import os
import socket
from pathlib import Path


class CellLock:
    """The lock of a folder, ``FOLDER/.lock``.

    It is the file lock of an open file (``flock``): the kernel takes it back when the last process
    that has the file open ends, so nothing is left behind by ``kill -9``. Processes that inherit
    :attr:`fd` hold it too: a training that outlives its scheduler keeps its folder to itself.
    Several machines are told apart where their shared file system passes ``flock`` on (NFS does).

    Attributes:
        fd: The open file, to be passed to the processes of the run.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def take(cls, folder: Path) -> 'CellLock | None':
        """Take the lock; None where someone else holds it."""
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / '.lock', os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        os.ftruncate(fd, 0)
        os.write(fd, f'process {os.getpid()} on {socket.gethostname()}\n'.encode())
        return cls(fd)

    def release(self) -> None:
        """Let go; processes that inherited the lock hold on to it."""
        os.close(self.fd)


def holder(folder: Path) -> str | None:
    """Who holds the lock of a folder, None if nobody does. Writes nothing."""
    path = folder / '.lock'
    if not path.is_file():
        return None
    with open(path, encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or 'another process'
    return None
