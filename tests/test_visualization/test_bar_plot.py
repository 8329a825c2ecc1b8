"""Bars of a table against numbers by hand."""

import pytest
from matplotlib.collections import PathCollection

from mmstal_da.visualization.bar_plot import plot_bars

FRAME = {
    'source_only': {0: 30.0, 1: 33.0, 2: 27.0},
    's_img': {0: 41.0},
    'none': {},
    'oracle': {0: 80.0, 1: 84.0, 2: 88.0},
}
VIDEO = {row: {seed: value / 2 for seed, value in of.items()} for row, of in FRAME.items()}


def test_bars_are_the_means_with_every_seed_as_a_point():
    figure = plot_bars({'frame': FRAME, 'video': VIDEO}, 'a pair')
    frame, video = figure.axes
    assert [bar.get_height() for bar in frame.patches] == [30.0, 41.0, 84.0]
    assert [bar.get_height() for bar in video.patches] == [15.0, 20.5, 42.0]
    points = [item for item in frame.collections if isinstance(item, PathCollection)]
    assert [len(item.get_offsets()) for item in points] == [3, 1, 3]
    # a whisker is the sample standard deviation: sqrt((0 + 9 + 9) / 2)
    (low, high) = frame.containers[1].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == (27.0, 33.0)
    assert [label.get_text() for label in video.get_xticklabels()][2] == 'none\nn=0'
    assert frame.get_title() == 'a pair'


def test_without_rows_there_is_no_picture():
    with pytest.raises(ValueError, match='a pair: no rows to plot'):
        plot_bars({'frame': {}}, 'a pair')
