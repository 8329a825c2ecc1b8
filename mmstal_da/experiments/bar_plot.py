"""Bars of a table: frame-mAP and video-mAP per row, with every seed as a point."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from .table import collect

PANELS = {'frame_map50': 'frame-mAP at IoU 0.5 (%)', 'video_map50': 'video-mAP at IoU 0.5 (%)'}
COLOURS = {'source_only': '#868e96', 'oracle': '#2b8a3e'}
OTHER = '#1f6fd6'


def plot_table(table: dict, records: Sequence[dict]) -> Figure:
    """Draw a table.

    Args:
        table: Of :func:`~.table.make_table`.
        records: The results it was made of, for the points.

    Returns:
        Two panels. A bar is the mean over seeds, its whiskers the sample standard deviation, a
        point one seed; dashed lines continue source-only and oracle.

    Raises:
        ValueError: The table has no rows.
    """
    rows = table['rows']
    if not rows:
        raise ValueError(f'the table of {table["pair"]} has no rows to plot')
    figure = Figure(figsize=(max(6.0, 1.1 * len(rows) + 2), 6.4), layout='constrained')
    axes = figure.subplots(2, 1, sharex=True)
    for axis, (metric, label) in zip(axes, PANELS.items(), strict=True):
        values = collect(records, metric)
        for position, (name, row) in enumerate(rows.items()):
            entry = row[metric]
            colour = COLOURS.get(name, OTHER)
            axis.bar(position, entry['mean'], 0.64, color=colour, alpha=0.75)
            if entry['std'] is not None:
                style = dict(color='black', capsize=4, linewidth=1.1)
                axis.errorbar(position, entry['mean'], entry['std'], **style)
            seeds = sorted(values[name].items())
            shifts = [0.12 * (i - (len(seeds) - 1) / 2) for i in range(len(seeds))]
            points = [value for _, value in seeds]
            axis.scatter([position + s for s in shifts], points, s=12, color='black', zorder=3)
            top = max([entry['mean'] + (entry['std'] or 0), *points])
            text = f'{entry["mean"]:.1f}'
            axis.annotate(text, (position, top), (0, 3), textcoords='offset points', ha='center')
            if name in COLOURS:
                axis.axhline(entry['mean'], color=colour, linewidth=1, linestyle='--', zorder=0)
        axis.set_ylabel(label)
        axis.set_ylim(0, 1.12 * max(1.0, axis.get_ylim()[1]))
        axis.grid(axis='y', alpha=0.25)
        axis.spines[['top', 'right']].set_visible(False)
    names = [f'{name}\nn={row["n"]}' for name, row in rows.items()]
    axes[-1].set_xticks(range(len(rows)), names, fontsize=8)
    axes[0].set_title(f'{table["pair"]}: mean, sample standard deviation and seeds', fontsize=11)
    return figure
