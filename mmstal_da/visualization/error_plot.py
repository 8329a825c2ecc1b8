"""Error analysis as a picture."""

import os
from typing import Any

from matplotlib.figure import Figure

from mmstal_da.utils.io import atomic_write

COLOURS = {
    'ap': '#4c9f70',
    'localisation': '#4a7fb5',
    'classification': '#d9a441',
    'time': '#8e6bb0',
    'other': '#9a9a9a',
    'missed': '#c8553d',
}


def plot_errors(errors: dict[str, Any], title: str = '') -> Figure:
    """One bar of 100 % per class with ground truth, the mean on top.

    Args:
        errors: From :func:`~.functional.analyse_errors`.
        title: Written above the bars.
    """
    bars = {'mean': errors['mean']}
    bars.update((name, s) for name, s in errors['classes'].items() if s is not None)
    figure = Figure(figsize=(9, 1.2 + 0.3 * len(bars)), layout='constrained')
    axis = figure.add_subplot()
    left = [0.0] * len(bars)
    for key, colour in COLOURS.items():
        width = [shares[key] for shares in bars.values()]
        label = 'AP' if key == 'ap' else key
        axis.barh(list(bars), width, left=left, color=colour, label=label, height=0.75)
        left = [a + b for a, b in zip(left, width, strict=True)]
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.set_xlabel('share of frame-AP, percent')
    axis.set_title(title)
    axis.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside lower center', ncols=len(COLOURS), frameon=False)
    return figure


def save_error_plot(errors: dict[str, Any], path: str | os.PathLike[str], title: str = '') -> None:
    """Write :func:`plot_errors` as PNG, completely or not at all."""
    figure = plot_errors(errors, title)
    with atomic_write(path, 'wb') as file:
        figure.savefig(file, format='png', dpi=120, metadata={'Software': None})
