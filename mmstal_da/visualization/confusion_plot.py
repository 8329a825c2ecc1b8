"""A confusion matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

WITH_SHARES = 13  # a larger matrix shows counts alone


def plot_confusion(matrix: np.ndarray, labels: Sequence[str], title: str = '') -> Figure:
    """Draw counts, shaded by their share of the row.

    Args:
        matrix: (C + 1, C + 1) of :func:`~mmstal_da.evaluation.functional.confusion_matrix`: rows of
            ground truth and background, columns of the detector's classes and missed.
        labels: (C,) class names.
        title: Above the picture.
    """
    size = len(labels) + 1
    total = matrix.sum(1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    cell = 0.86 if size <= WITH_SHARES else 0.48
    figure = Figure(figsize=(cell * size + 2.6, cell * size + 1.9), layout='constrained')
    axis = figure.add_subplot()
    colours = colormaps['Blues'].with_extremes(bad='#eeeeee')
    shown = np.ma.array(share, mask=False)
    shown[-1, -1] = np.ma.masked  # neither ground truth nor detection
    image = axis.imshow(shown, cmap=colours, vmin=0, vmax=1)
    for row in range(size):
        for column in range(size):
            count = int(matrix[row, column])
            if (row, column) == (size - 1, size - 1) or (size > WITH_SHARES and not count):
                continue
            text = f'{count:,}'
            if size <= WITH_SHARES:
                text += f'\n{100 * share[row, column]:.0f}%'
            ink = 'white' if share[row, column] > 0.55 else '#222222'
            small = 9 if size <= WITH_SHARES else 6
            axis.text(column, row, text, ha='center', va='center', color=ink, fontsize=small)
    axis.set_xticks(range(size), [*labels, 'missed'], rotation=35, ha='right')
    axis.set_yticks(range(size), [*labels, 'background'])
    # background and missed stand apart
    for line in (axis.axhline, axis.axvline):
        line(size - 1.5, color='white', linewidth=5)
    axis.set_xlabel('detected as')
    axis.set_ylabel('ground truth')
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set_title(title, fontsize=11)
    bar = figure.colorbar(image, ax=axis, shrink=0.7, label='share of the row')
    bar.outline.set_visible(False)
    return figure
