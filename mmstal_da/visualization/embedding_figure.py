"""Features of two domains as points: a row of panels per place, a column per checkpoint."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

SOURCE_COLOUR, TARGET_COLOUR = '#1f6fd6', '#e8590c'

Points = Mapping[str, np.ndarray]
"""Place -> (N, 2) points."""


def embedding_figure(
    columns: Mapping[str, Points],
    domains: Sequence[np.ndarray],
    notes: Mapping[str, Mapping[str, str]],
    title: str = '',
) -> Figure:
    """Draw points of source and target side by side.

    Args:
        columns: Name of a checkpoint -> place -> (N, 2) points; all have the same places.
        domains: For every column (N,), 0 source, 1 target.
        notes: Name of a checkpoint -> place -> a line below the panel's title.
        title: Above the figure.

    Returns:
        The figure; panels have no ticks, since only neighbourhood has a meaning.
    """
    places = list(next(iter(columns.values())))
    figure = Figure(
        figsize=(3.4 * len(columns) + 0.4, 3.5 * len(places) + 0.8), layout='constrained'
    )
    axes = figure.subplots(len(places), len(columns), squeeze=False)
    for column, ((name, points), domain) in enumerate(zip(columns.items(), domains, strict=True)):
        for row, place in enumerate(places):
            axis = axes[row, column]
            order = np.random.default_rng(0).permutation(len(domain))  # neither is always on top
            colours = np.where(domain == 1, TARGET_COLOUR, SOURCE_COLOUR)[order]
            axis.scatter(*points[place][order].T, s=14, c=colours, alpha=0.65, linewidths=0)
            heading = f'{name}: {place}' if len(columns) > 1 else place
            axis.set_title(f'{heading}\n{notes.get(name, {}).get(place, "")}', fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
    for colour, label in ((SOURCE_COLOUR, 'source'), (TARGET_COLOUR, 'target')):
        axes[0, 0].scatter([], [], s=30, c=colour, label=label)
    axes[0, 0].legend(fontsize=8, framealpha=0.8, loc='best')
    if title:
        figure.suptitle(title, fontsize=11, fontweight='bold')
    return figure
