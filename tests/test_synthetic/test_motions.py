"""The motions of the synthetic actors."""

import numpy as np
import pytest

from mmstal_da.synthetic import (
    ACTIONS,
    CONFUSABLE,
    PRESETS,
    ClipSettings,
    Shift,
    render_clip,
    sample_clip,
)
from mmstal_da.synthetic.motions import VARIANTS, pose_at
from mmstal_da.synthetic.skeleton import Body, joint_positions
from tests.test_synthetic.cases import seed

PHASES = np.linspace(0, 2 * np.pi, 60, endpoint=False)
LOOPS = CONFUSABLE[:2]  # who climbs moves as a whole


def test_default_classes_hold_a_confusable_pair():
    for preset in PRESETS.values():
        assert any(set(pair) <= set(preset.classes) for pair in CONFUSABLE)
        assert len(preset.classes) >= 3


@pytest.mark.parametrize('pair', CONFUSABLE)
def test_confusable_actions_share_every_pose(pair):
    # with the same phases for start, one action's frames are the other's, in reverse order
    first, second = (ACTIONS[name] for name in pair)
    assert first.rate == second.rate
    assert first.stride == second.stride
    seconds = np.arange(60) / 60 / first.rate  # one cycle
    poses = [np.array([pose_at(action, 0.4, t) for t in seconds]) for action in (first, second)]
    np.testing.assert_allclose(poses[0][1:], poses[1][:0:-1], atol=1e-9)


@pytest.mark.parametrize('pair', LOOPS)
def test_loops_move_differently_everywhere(pair):
    # at equal pose, the velocities are opposite and nowhere zero: any two frames show which it is
    first, second = (ACTIONS[name] for name in pair)
    step, spread = 1e-4, []
    for phase in PHASES + 0.01:  # beside the kinks of the knees
        here, there = (
            (np.array(pose_at(a, phase, step)) - pose_at(a, phase, 0)) / step
            for a in (first, second)
        )
        assert np.abs(here + there).max() < 0.05 * np.abs(here).max()
        spread.append(np.abs(here).max())
    assert min(spread) > 0.2 * max(spread)


@pytest.mark.parametrize('pair', LOOPS)
def test_poses_of_a_loop_determine_the_phase(pair):
    # a loop, not a back-and-forth path: else forwards and backwards would be one motion
    poses = np.array([ACTIONS[pair[0]].cycle(phase) for phase in PHASES])
    distance = np.abs(poses[:, None] - poses).max(-1)
    gap = np.abs(np.subtract.outer(np.arange(60), np.arange(60)))
    assert distance[(gap > 2) & (gap < 58)].min() > 2  # degrees


def test_who_climbs_passes_the_places_of_who_descends_in_reverse():
    heights = []
    for name in ('climb', 'descend'):
        clip = sample_clip(name, seed(3), ClipSettings(second_actor=0, distractor=0), Shift())
        _, ((_, boxes),) = render_clip(clip)
        heights.append(boxes[:, [1, 3]].mean(1))  # y points down
    up, down = heights
    rises = [np.polyfit(np.arange(len(y)), y, 1)[0] for y in heights]  # pixels per frame
    assert rises[0] < -0.5 and rises[1] > 0.5
    np.testing.assert_allclose(np.sort(up)[::6], np.sort(down)[::6], atol=4)


@pytest.mark.parametrize('name', ACTIONS)
def test_cycles_close_and_stay_on_the_ground(name):
    cycle = ACTIONS[name].cycle
    np.testing.assert_allclose(cycle(0.3), cycle(0.3 + 2 * np.pi), atol=1e-9)
    for phase in PHASES:
        pose, body = cycle(phase), Body()
        joints = joint_positions(pose, body)
        lowest = max(y for _, y in joints.values())
        assert -0.2 < lowest < 0
        for a, b, length in (
            ('neck', 'pelvis', body.torso),
            ('elbow_near', 'hand_near', body.forearm),
            ('knee_far', 'pelvis', body.thigh),
        ):
            assert np.linalg.norm(joints[a] - joints[b]) == pytest.approx(length)


def test_angles_turn_the_documented_way():
    upright = (
        ACTIONS['wave']
        .cycle(0)
        ._replace(lean=90, shoulder_near=90, elbow_near=90, hip_far=90, knee_far=90)
    )
    joints, body = joint_positions(upright, Body()), Body()
    lengths = [('neck', 'pelvis', (body.torso, 0)), ('elbow_near', 'neck', (body.upper_arm, 0)),
               ('hand_near', 'elbow_near', (0, -body.forearm)),
               ('knee_far', 'pelvis', (body.thigh, 0)),
               ('ankle_far', 'knee_far', (0, body.shin))]  # fmt: skip
    for end, start, expected in lengths:
        np.testing.assert_allclose(joints[end] - joints[start], expected, atol=1e-12)


def test_variants_differ_from_their_class():
    for name, variant in VARIANTS.items():
        poses = [np.array([a.cycle(p) for p in PHASES]) for a in (ACTIONS[name], variant)]
        assert np.abs(poses[0] - poses[1]).max() > 30
