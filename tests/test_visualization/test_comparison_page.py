"""What the page says of a frame, and which part of a long video it shows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstal_da.visualization.comparison_page import (
    EXTRA,
    MISSED,
    NOTHING,
    RIGHT,
    STATES,
    differing_window,
    frame_states,
)
from mmstal_da.visualization.overlays import Overlay

BOX, NEAR, FAR = (10, 10, 29, 29), (10, 10, 29, 24), (50, 10, 69, 29)


@pytest.mark.parametrize(
    ('boxes', 'truth', 'state'),
    [
        ([], [], NOTHING),
        ([], [(BOX, 'a')], MISSED),
        ([(NEAR, 'a')], [(BOX, 'a')], RIGHT),
        ([(NEAR, 'b')], [(BOX, 'a')], MISSED),  # of another class
        ([(FAR, 'a')], [(BOX, 'a')], MISSED),
        ([(FAR, 'a')], [], EXTRA),
        ([(NEAR, 'a'), (FAR, 'a')], [(BOX, 'a')], EXTRA),
        ([(NEAR, 'a'), (NEAR, 'a')], [(BOX, 'a')], EXTRA),  # a second box on one actor
        ([(NEAR, 'a'), (BOX, 'a')], [(BOX, 'a'), (BOX, 'a')], RIGHT),
        ([(NEAR, 'a'), (FAR, 'b')], [(FAR, 'b'), (BOX, 'a')], RIGHT),
        ([(NEAR, 'a')], [(BOX, 'a'), (FAR, 'a')], MISSED),
        ([(BOX, 'a'), (FAR, 'a')], [(FAR, 'a'), (BOX, 'a')], RIGHT),
    ],
)
def test_states_of_a_frame(boxes, truth, state):
    shown = {2: [Overlay(box, label, 0.5) for box, label in boxes]}
    actors = {2: [Overlay(box, label) for box, label in truth]}
    assert frame_states(shown, actors, 3) == [NOTHING, state, NOTHING]
    assert state in STATES


def test_frames_that_do_not_count_are_not_judged():
    shown = {1: [Overlay(FAR, 'a', 0.5)], 2: [Overlay(FAR, 'a', 0.5)]}
    actors = {2: [Overlay(BOX, 'a')]}
    assert frame_states(shown, actors, 2, background_frames=False) == [NOTHING, MISSED]


@given(st.lists(st.tuples(st.sampled_from('ab'), st.sampled_from('ab')), min_size=1), st.data())
def test_the_window_differs_most(pairs, data):
    size = data.draw(st.integers(1, len(pairs) + 3))
    window = differing_window(*zip(*pairs, strict=True), size)
    differs = np.array([a != b for a, b in pairs])
    assert len(window) == min(size, len(pairs)) and window[0] >= 1 and window[-1] <= len(pairs)
    sums = [
        differs[begin : begin + len(window)].sum() for begin in range(len(pairs) - len(window) + 1)
    ]
    assert window[0] - 1 == int(np.argmax(sums))
