"""Reads pickles of arrays and containers without running code from them."""

import os
import pickle
import re
from typing import IO, Any

import numpy as np

_MULTIARRAY = ('_reconstruct', 'scalar', '_frombuffer')
# NumPy 2 renamed it
NUMPY_CORE = 'numpy._core' if np.lib.NumpyVersion(np.__version__) >= '2.0.0' else 'numpy.core'
_CONTAINERS = ('list', 'dict', 'set', 'frozenset', 'tuple', 'bytearray', 'complex', 'slice')
ALLOWED = {
    'numpy': ('ndarray', 'dtype'),
    'numpy.core.multiarray': _MULTIARRAY,  # NumPy 1
    'numpy._core.multiarray': _MULTIARRAY,  # NumPy 2
    'numpy.core.numeric': _MULTIARRAY,
    'numpy._core.numeric': _MULTIARRAY,
    'builtins': _CONTAINERS,
    '__builtin__': _CONTAINERS,  # Python 2
    'collections': ('OrderedDict', 'defaultdict', 'deque', 'Counter'),
    '_codecs': ('encode',),  # how protocols 0-2 spell bytes
}


class UnsafePickleError(ValueError):
    """A pickle asks for something other than arrays, scalars and containers."""


class _Unpickler(pickle.Unpickler):
    """An unpickler that admits the globals of ``ALLOWED`` only."""

    def __init__(self, file: IO[bytes], path: str, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """The global itself if it is harmless."""
        if name not in ALLOWED.get(module, ()):
            raise UnsafePickleError(
                f'{self._path}: the pickle asks for {module}.{name}; only NumPy arrays and plain '
                'containers are read. Re-save the file with these, e.g. with numpy.savez'
            )
        # the installed NumPy's name, whichever version wrote the file
        return super().find_class(re.sub(r'^numpy\._?core\b', NUMPY_CORE, module), name)


def load_pickle(path: str | os.PathLike[str], encoding: str = 'latin1') -> Any:
    """Read a pickle of NumPy arrays, numbers, strings and containers.

    Args:
        path: The file.
        encoding: For strings of Python 2 pickles; ``'latin1'`` also admits their arrays.

    Raises:
        UnsafePickleError: The pickle names any other global (a function or class). The error names
            it and the file; the global is not called.
        ValueError: The file is not a pickle or is truncated.
    """
    path = os.fspath(path)
    with open(path, 'rb') as file:
        try:
            return _Unpickler(file, path, encoding).load()
        except UnsafePickleError:
            raise
        except (
            pickle.UnpicklingError,
            EOFError,
            ValueError,
            IndexError,
            KeyError,
            AttributeError,
            ImportError,
            TypeError,
        ) as error:
            raise ValueError(f'{path}: not a readable pickle ({error})') from error
