"""Reads pickles of arrays and containers without running code from them."""

import os
import pickle
import pickletools
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


_SCANNED = 8 << 20  # bytes of a file whose opcodes are looked at first


def _ndarray(*_: Any) -> Any:
    raise UnsafePickleError('an array of a size that its data do not have')


def _reconstruct(kind: Any, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """NumPy's own, for an array that gets its shape with its data."""
    if kind is not _ndarray or tuple(shape) != (0,):
        raise UnsafePickleError('an array of a size that its data do not have')
    return np.ndarray.__new__(np.ndarray, (0,), 'b')


def _bytearray(*arguments: Any) -> bytearray:
    """A ``bytearray`` of data, not of a length."""
    if arguments and not isinstance(arguments[0], bytes | bytearray | str | list | tuple):
        raise UnsafePickleError('a bytearray of a length without data')
    return bytearray(*arguments)


_GUARDED = {'ndarray': _ndarray, '_reconstruct': _reconstruct, 'bytearray': _bytearray}


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
        if name in _GUARDED:
            return _GUARDED[name]
        # the installed NumPy's name, whichever version wrote the file
        return super().find_class(re.sub(r'^numpy\._?core\b', NUMPY_CORE, module), name)


def _refuse_memo(file: IO[bytes]) -> None:
    """Refuse numbers of remembered objects beyond the file's length, for which Python makes room.

    Raises:
        ValueError: There is one.
    """
    length = os.fstat(file.fileno()).st_size
    if length > _SCANNED:
        return
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ('PUT', 'LONG_BINPUT') and int(argument or 0) > length:
            raise ValueError(f'it remembers object {argument} of {length} bytes')
    file.seek(0)


def load_pickle(path: str | os.PathLike[str], encoding: str = 'latin1') -> Any:
    """Read a pickle of NumPy arrays, numbers, strings and containers.

    Args:
        path: The file.
        encoding: For strings of Python 2 pickles; ``'latin1'`` also admits their arrays.

    Raises:
        UnsafePickleError: The pickle names any other global (a function or class). The error names
            it and the file; the global is not called.
        ValueError: The file is not a pickle, is truncated, or asks for more memory than its
            content needs.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no file {path!r}')
    with open(path, 'rb') as file:
        try:
            _refuse_memo(file)
            return _Unpickler(file, path, encoding).load()
        except UnsafePickleError as error:
            if path in str(error):
                raise
            raise UnsafePickleError(f'{path}: the pickle asks for {error}') from error
        except (
            pickle.UnpicklingError,
            EOFError,
            ValueError,
            LookupError,
            AttributeError,
            ImportError,
            TypeError,
            MemoryError,
            OverflowError,
            RecursionError,
            AssertionError,
            SystemError,
        ) as error:
            text = str(error) or type(error).__name__
            raise ValueError(f'{path}: not a readable pickle ({text})') from error
