"""Bars of a table: a panel per metric, a bar per row, and every seed as a point."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

COLOURS = {'source_only': '#868e96', 'oracle': '#2b8a3e'}
OTHER = '#1f6fd6'


def plot_bars(panels: Mapping[str, Mapping[str, Mapping[int, float]]], title: str) -> Figure:
    """Draw the values of rows and seeds.

    Args:
        panels: Label of the panel's axis -> row -> seed -> percent. All panels have the rows of
            the first; a row without values has no bar.
        title: Title of the figure.

    Returns:
        A panel above the other. A bar is the mean over seeds, its whiskers the sample standard
        deviation, a point one seed. Dashed lines continue ``source_only`` and ``oracle``.

    Raises:
        ValueError: There are no rows.
    """
    rows = list(next(iter(panels.values()), ()))
    if not rows:
        raise ValueError(f'{title}: no rows to plot')
    figure = Figure(figsize=(max(6.0, 1.1 * len(rows) + 2), 6.4), layout='constrained')
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (label, values) in zip(axes, panels.items(), strict=True):
        for position, name in enumerate(rows):
            points = [value for _, value in sorted(values[name].items())]
            if not points:
                continue
            mean, std = float(np.mean(points)), 0.0
            colour = COLOURS.get(name, OTHER)
            axis.bar(position, mean, 0.64, color=colour, alpha=0.75)
            if len(points) > 1:
                std = float(np.std(points, ddof=1))
                axis.errorbar(position, mean, std, color='black', capsize=4, linewidth=1.1)
            shifts = [0.12 * (i - (len(points) - 1) / 2) for i in range(len(points))]
            axis.scatter([position + s for s in shifts], points, s=12, color='black', zorder=3)
            at = (position, max([mean + std, *points]))
            axis.annotate(f'{mean:.1f}', at, (0, 3), textcoords='offset points', ha='center')
            if name in COLOURS:
                axis.axhline(mean, color=colour, linewidth=1, linestyle='--', zorder=0)
        axis.set_ylabel(label)
        axis.set_ylim(0, 1.12 * max(1.0, axis.get_ylim()[1]))
        axis.grid(axis='y', alpha=0.25)
        axis.spines[['top', 'right']].set_visible(False)
    seeds = [len(next(iter(panels.values()))[name]) for name in rows]
    names = [f'{name}\nn={n}' for name, n in zip(rows, seeds, strict=True)]
    axes[-1].set_xticks(range(len(rows)), names, fontsize=8)
    axes[0].set_title(title, fontsize=11)
    return figure
