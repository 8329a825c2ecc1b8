"""Reads NumPy archives (.npz) of users."""

import os
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

# what NumPy and zipfile raise for data that are damaged or hostile
_DAMAGED = (
    ValueError, OSError, EOFError, LookupError, TypeError, AttributeError, RuntimeError,
    NotImplementedError, SyntaxError, MemoryError, OverflowError, zipfile.BadZipFile, zlib.error,
    struct.error,
)  # fmt: skip


def load_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``; no pickles.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such an archive, or a damaged one, or one with two arrays of one name;
            names the file.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no file {path!r}')
    name = ''
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.removesuffix('.npy') for entry in archive.namelist()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f'it has the array {twice[0]!r} twice')
        with np.load(path, allow_pickle=False) as arrays:
            found: dict[str, Any] = {}
            for name in names:
                found[name] = arrays[name]
        return found
    except _DAMAGED as error:
        text = str(error) or type(error).__name__
        where = f', array {name!r}' if name else ''
        raise ValueError(f'{path}: not a readable .npz file{where} ({text})') from error
