"""Whole numbers of files, which Python would round without a word."""

import numpy as np

from mmstal_da.errors import AnnotationError


def whole(value: object, what: str) -> int:
    """An integer, also one that is stored as a float.

    Args:
        value: From a file.
        what: Its name, for the message.

    Raises:
        AnnotationError: It has a fraction, or is no number.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise AnnotationError(f'{what} is {value!r}, no whole number')
    if not np.isfinite(value) or value != int(value):
        raise AnnotationError(f'{what} is {value!r}, no whole number')
    return int(value)


def whole_text(text: str, what: str) -> int:
    """An integer from text, also ``'7.0'``.

    Raises:
        AnnotationError: It has a fraction, or is no number.
    """
    try:
        return int(text)
    except ValueError:
        try:
            return whole(float(text), what)
        except ValueError as error:
            raise AnnotationError(f'{what} is {text!r}, no whole number') from error


def whole_array(values: np.ndarray, what: str) -> np.ndarray:
    """(n,) int64 of an array of whole numbers.

    Raises:
        AnnotationError: A value has a fraction, or is no number.
    """
    values = np.asarray(values)
    if values.dtype.kind not in 'iuf':
        raise AnnotationError(f'{what} are {values.dtype}, not whole numbers')
    bad = ~np.isfinite(values) | (values != np.rint(values))
    if bad.any():
        raise AnnotationError(f'{what}: {values[bad].reshape(-1)[0]} is not a whole number')
    return values.astype(np.int64)
