"""Training curves of one or several runs in one picture."""

import math
import os
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmstal_da.utils import atomic_write

from .scalars import Run

Panel = tuple[str, str, str, bool]
"""Title, axis label, pattern of the scalars, and whether they are of validation."""

PANELS: tuple[Panel, ...] = (
    ('Total loss', 'loss', r'loss', False),
    ('Detection losses', 'loss', r'loss_(rpn_cls|rpn_bbox|cls|bbox)', False),
    ('Adaptation losses', 'loss', r'loss_da_(\w+)', False),
    ('Learning rate', 'learning rate', r'lr(?: \((.+)\))?', False),
    ('Adaptation weight λ', 'λ', r'da_lambda', False),
    ('Discriminator accuracy, source', 'accuracy', r'acc_da_(\w+)_source', False),
    ('Discriminator accuracy, target', 'accuracy', r'acc_da_(\w+)_target', False),
    ('Discriminator loss over guessing', 'loss / guessing', r'loss_ratio_da_(\w+)', False),
    ('Reversed over detection gradient', 'share', r'grad_share_da_(\w+)', False),
    ('Target: classes of proposals', 'entropy / ln C', r'target_(entropy|diversity)', False),
    ('Target: confident detections', 'per frame', r'target_confident', False),
    ('Frame-mAP at IoU 0.5', 'frame-mAP (%)', r'(?:.*/)?frame_mAP@[\d.]+', True),
    ('Video-mAP at IoU 0.5', 'video-mAP (%)', r'(?:.*/)?video_mAP@0\.5', True),
)
"""The panels; a panel without data is left out."""

NAMES = {
    'rpn_cls': 'RPN class',
    'rpn_bbox': 'RPN box',
    'cls': 'class',
    'bbox': 'box',
    'spatial': 'spatial ($D_S$)',
    'timg': 'temporal image ($D_{Timg}$)',
    'tinst': 'temporal instance ($D_{Tinst}$)',
    'entropy': 'of each',
    'diversity': 'of all together (0: one class)',
}

SCHEDULED = ('λ', 'learning rate')  # not smoothed

COLOURS = ('#1f6fd6', '#e8590c', '#2b8a3e', '#ae3ec9', '#c92a2a', '#0b7285', '#846358', '#5c5f66')
LineStyle = Literal['-', '--', ':', '-.']
STYLES: tuple[LineStyle, ...] = ('-', '--', ':', '-.')


def smooth(values: Sequence[float] | np.ndarray, window: int) -> np.ndarray:
    """Centred running mean over up to ``window`` values, shorter at both ends.

    NaN and infinite values are left out of the means. If a window has no other values, its mean is
    NaN.
    """
    values = np.asarray(values, float)
    half = window // 2
    means = np.full(len(values), np.nan)
    for index in range(len(values)):
        near = values[max(0, index - half) : index + half + 1]
        near = near[np.isfinite(near)]
        if len(near):
            means[index] = near.mean()
    return means


def plot_curves(runs: Sequence[Run], window: int | None = None, title: str = '') -> Figure:
    """Plot losses, λ, discriminator accuracies and validation mAP.

    In a panel of one scalar, runs differ in colour. In a panel of several, scalars differ in
    colour and runs in line style.

    Args:
        runs: Curves.
        window: Width of the running mean over training scalars, in logged points; by default a
            twentieth of the curve. 1 shows the raw curves.
        title: Above the figure.

    Raises:
        ValueError: None of the runs has anything to plot.
    """
    panels = [panel for panel in PANELS if _keys(runs, panel)]
    if not panels:
        raise ValueError(f'nothing to plot in {[run.name for run in runs]}')
    columns = min(len(panels), 4 if len(panels) > 6 else 3)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.6 * columns, 3.3 * rows + 0.6), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        _plot_panel(axis, runs, panel, window)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=13, fontweight='bold')
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int = 110) -> None:
    """Write a figure as PNG, completely or not at all."""
    with atomic_write(path, 'wb') as file:
        figure.savefig(file, format='png', dpi=dpi, metadata={'Software': None})


def _keys(runs: Sequence[Run], panel: Panel) -> list[str]:
    """Scalars of a panel that at least one run has, in the order of the runs."""
    _, _, pattern, is_val = panel
    found: dict[str, None] = {}
    for run in runs:
        for key in run.val if is_val else run.train:
            if re.fullmatch(pattern, key):
                found[key] = None
    return list(found)


def _plot_panel(axis: Axes, runs: Sequence[Run], panel: Panel, window: int | None) -> None:
    """Draw one panel and its legend."""
    title, label, pattern, is_val = panel
    keys = _keys(runs, panel)
    curves = {
        (run_index, key_index): (run.val if is_val else run.train)[key]
        for run_index, run in enumerate(runs)
        for key_index, key in enumerate(keys)
        if key in (run.val if is_val else run.train)
    }
    shown = sorted({run_index for run_index, _ in curves})  # the runs that have such scalars
    by_key = len(keys) > 1
    style: LineStyle
    for (run_index, key_index), points in curves.items():
        x, y = np.array(points).T
        colour = COLOURS[(key_index if by_key else run_index) % len(COLOURS)]
        style = STYLES[shown.index(run_index) % len(STYLES)] if by_key else '-'
        width = max(1, len(y) // 20) if window is None else window
        if is_val or label in SCHEDULED:
            width = 1
        if width > 1:
            axis.plot(x, y, color=colour, alpha=0.18, linewidth=0.8)
        marker = 'o' if is_val or len(x) == 1 else None
        axis.plot(
            x, smooth(y, width), style, color=colour, linewidth=1.7, marker=marker, markersize=4
        )
    axis.set_title(title, fontsize=11)
    axis.set_xlabel('iteration', fontsize=9)
    axis.set_ylabel(label, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    axis.spines[['top', 'right']].set_visible(False)
    if label == 'accuracy':
        axis.set_ylim(-0.03, 1.03)
        axis.axhline(0.5, color='grey', linewidth=0.8, linestyle=(0, (1, 2)))
    else:
        _limit(axis)
    handles = []
    if by_key:
        for index, key in enumerate(keys):
            colour = COLOURS[index % len(COLOURS)]
            handles.append(Line2D([], [], color=colour, label=_name(pattern, key)))
    if not by_key or len(runs) > 1:
        for order, index in enumerate(shown):
            colour = 'black' if by_key else COLOURS[index % len(COLOURS)]
            style = STYLES[order % len(STYLES)] if by_key else '-'
            handles.append(Line2D([], [], color=colour, linestyle=style, label=runs[index].name))
    axis.legend(handles=handles, fontsize=8, framealpha=0.8)


def _limit(axis: Axes) -> None:
    """Start the axis at zero, and cut single peaks at the top."""
    values = np.concatenate([line.get_ydata() for line in axis.lines])
    values = values[np.isfinite(values)]
    if not len(values) or values.min() < 0:
        return
    high = np.percentile(values, 99.5)
    axis.set_ylim(0, 1.08 * high if high > 0 else 1)


def _name(pattern: str, key: str) -> str:
    """A scalar's name in a legend: the part that distinguishes it within its panel."""
    match = re.fullmatch(pattern, key)
    groups = match.groups() if match else ()
    return NAMES.get(groups[0], groups[0]) if groups and groups[0] else key
