"""Reads MATLAB files (.mat); a damaged one is an error that names it."""

import os
import struct
import zlib
from typing import Any

import scipy.io
from scipy.io.matlab import MatReadError

from mmstal_da.errors import AnnotationError

# what SciPy raises depends on where the file is damaged
DAMAGED = (
    ValueError, LookupError, AttributeError, TypeError, NotImplementedError, OSError, EOFError,
    MemoryError, OverflowError, RuntimeError, AssertionError, SyntaxError, zlib.error,
    struct.error, MatReadError,
)  # fmt: skip


def load_mat(path: str | os.PathLike[str], variable: str, what: str, **options: Any) -> Any:
    """One variable of a MATLAB file.

    Args:
        path: The file, of MATLAB 7 or older.
        variable: Its name.
        what: What the file should be, for the message.
        **options: Of :func:`scipy.io.loadmat`.

    Raises:
        AnnotationError: The file is damaged, cut off, or lacks the variable.
    """
    try:
        return scipy.io.loadmat(path, variable_names=[variable], **options)[variable]
    except DAMAGED as error:
        text = str(error) or type(error).__name__
        raise AnnotationError(f'{os.fspath(path)} is not {what} ({text}); get it again') from error
