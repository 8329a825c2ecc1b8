"""Precision-recall curves of every class, of frames and of tubes, in one picture."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from mmstal_da.evaluation.functional.curves import Curve

from .curves import COLOURS

COLUMNS = 4


def plot_precision_recall(
    curves: Mapping[str, Sequence[Curve | None]], labels: Sequence[str], title: str = ''
) -> Figure:
    """Draw a panel per class with ground truth.

    Args:
        curves: Name of a curve, such as ``'frame'`` -> a curve per class, as
            :func:`~mmstal_da.evaluation.functional.precision_recall_curves` gives them. The area
            under a line is the AP in its legend.
        labels: Class names.
        title: Above the figure.

    Raises:
        ValueError: No class has ground truth.
    """
    chosen = [n for n in range(len(labels)) if any(of[n] is not None for of in curves.values())]
    if not chosen:
        raise ValueError('no class has ground truth, so there is no curve to draw')
    columns = min(COLUMNS, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    size = (3.1 * columns + 0.5, 3.1 * rows + 0.7)
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, number in zip(axes, chosen, strict=False):
        for colour, (name, of_level) in zip(COLOURS, curves.items(), strict=False):
            curve = of_level[number]
            if curve is None:
                continue
            label = f'{name}-AP {100 * curve.ap:.1f}'
            axis.plot(curve.recall, curve.precision, color=colour, linewidth=1.6, label=label)
            axis.fill_between(curve.recall, curve.precision, color=colour, alpha=0.08, linewidth=0)
        axis.set_title(labels[number], fontsize=11, pad=22)
        axis.grid(alpha=0.25)
        axis.spines[['top', 'right']].set_visible(False)
        above = dict(loc='lower center', bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
        axis.legend(fontsize=8, handlelength=1.2, columnspacing=1.2, **above)
    for axis in axes[len(chosen) :]:
        axis.set_axis_off()
    axes[0].set_xlim(0, 1)
    axes[0].set_ylim(0, 1.03)
    figure.supxlabel('recall', fontsize=10)
    figure.supylabel('precision', fontsize=10)
    if title:
        figure.suptitle(title, fontsize=12)
    return figure
