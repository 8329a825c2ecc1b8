"""A local file backend of MMEngine that writes files completely or not at all."""

import os

from mmengine.fileio import LocalBackend, register_backend

from mmstal_da.utils import atomic_write


class AtomicLocalBackend(LocalBackend):
    """MMEngine's ``LocalBackend``, except that a file moves into place when it is complete.

    ``LocalBackend.put`` truncates the old file and then writes. A run that is killed meanwhile
    leaves half a file. Select this backend with ``backend_args=dict(backend='atomic_local')``.
    """

    def put(self, obj: bytes, filepath: str | os.PathLike[str]) -> None:
        """Write bytes to ``filepath``, or leave it unchanged if that fails."""
        with atomic_write(filepath, 'wb') as file:
            file.write(obj)

    def put_text(self, obj: str, filepath: str | os.PathLike[str], encoding: str = 'utf-8') -> None:
        """Write text to ``filepath``, or leave it unchanged if that fails."""
        self.put(obj.encode(encoding), filepath)


register_backend('atomic_local', AtomicLocalBackend, force=True)
