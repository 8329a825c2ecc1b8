"""Pixels as fractions of the frame, written so that the same float32 comes back."""

from collections.abc import Sequence
from decimal import Decimal, localcontext

import numpy as np

_LONG = 25  # a float64 is shorter; longer texts are exact decimals
_DIGITS = 400


def encode(values: np.ndarray, extent: int, offset: int) -> list[str]:
    """Write coordinates as fractions that :func:`decode` turns into the same float32.

    Args:
        values: (n,) float32 pixels.
        extent: Width or height.
        offset: 0 for the beginning of a box, 1 for its inclusive end.

    Returns:
        n decimals: the shortest of the float64 quotient if that is exact, otherwise as many digits
        as necessary.
    """
    values = np.asarray(values, np.float32)
    fractions = (values.astype(np.float64) + offset) / extent
    same = (fractions * extent - offset).astype(np.float32) == values
    return [
        repr(float(fraction)) if good else _exact(float(value), extent, offset)
        for fraction, value, good in zip(fractions, values, same, strict=True)
    ]


def decode(texts: Sequence[str], extent: int, offset: int) -> np.ndarray:
    """The inverse of :func:`encode`; (n,) float32 pixels."""
    values = np.array([float(text) for text in texts]) * extent - offset
    values = values.astype(np.float32)
    for row, text in enumerate(texts):
        if len(text) > _LONG:
            with localcontext() as context:
                context.prec = _DIGITS
                values[row] = np.float32(float(Decimal(text) * extent - offset))
    return values


def _exact(value: float, extent: int, offset: int) -> str:
    with localcontext() as context:
        context.prec = _DIGITS
        return f'{(Decimal(value) + offset) / extent:.{_DIGITS - 20}f}'
