"""Actions: closed cycles in pose space, traversed forwards or backwards.

A cycle maps a phase in radians to a :class:`~.skeleton.Pose`. Some cycles are loops or move the
actor. Running such a cycle forwards and backwards gives two actions that share every pose and
differ in motion only. :data:`CONFUSABLE` lists these pairs. Clips start at a uniformly drawn phase
and run at a constant rate. So the poses of both actions have the same distribution, and no single
frame can show which it is. For push and pull, and for walk and walk_backward, a detector must see
the motion and which way the actor faces. Climb and descend differ only in up and down.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin

from .skeleton import Pose


@dataclass(frozen=True)
class Action:
    """How an action runs through its cycle.

    Attributes:
        cycle: Phase in radians to pose, periodic in 2 pi.
        direction: +1 runs the cycle forwards, -1 backwards.
        rate: Cycles per second at the source domain's middle tempo.
        stride: Body heights the actor advances per cycle run forwards.
        rise: Body heights the actor goes up per cycle run forwards.
    """

    cycle: Callable[[float], Pose]
    direction: int = 1
    rate: float = 1.25
    stride: float = 0.0
    rise: float = 0.0


def reach_cycle(phase: float) -> Pose:
    """Both hands travel out high and come back low (forwards: push, backwards: pull)."""
    reach, height = (1 - cos(phase)) / 2, sin(phase)
    shoulder = -25 + 110 * reach + 32 * height
    elbow = 105 * (1 - reach)
    return Pose(
        lean=-14 + 34 * reach,
        shoulder_near=shoulder,
        elbow_near=elbow,
        shoulder_far=shoulder + 8,
        elbow_far=elbow,
        hip_near=22 + 14 * reach,
        knee_near=8 + 22 * reach,
        hip_far=-24 + 8 * (1 - reach),
        knee_far=6 + 22 * (1 - reach),
        lift=0,
    )


def climb_cycle(phase: float) -> Pose:
    """Hand over hand, the legs in turn."""
    swing = sin(phase)
    return Pose(
        lean=6,
        shoulder_near=135 + 35 * swing,
        elbow_near=30 - 25 * swing,
        shoulder_far=135 - 35 * swing,
        elbow_far=30 + 25 * swing,
        hip_near=45 - 35 * swing,
        knee_near=60 - 45 * swing,
        hip_far=45 + 35 * swing,
        knee_far=60 + 45 * swing,
        lift=0,
    )


def walk_cycle(phase: float) -> Pose:
    """A walking step of both legs."""
    swing, pace = sin(phase), cos(phase)
    return Pose(
        lean=5,
        shoulder_near=-26 * swing,
        elbow_near=18,
        shoulder_far=26 * swing,
        elbow_far=18,
        hip_near=6 + 27 * swing,
        knee_near=8 + 42 * max(0.0, pace),
        hip_far=6 - 27 * swing,
        knee_far=8 + 42 * max(0.0, -pace),
        lift=0,
    )


def wave_cycle(phase: float) -> Pose:
    """One arm waves overhead."""
    return _standing(shoulder_near=150 + 6 * sin(phase), elbow_near=12 + 48 * sin(phase))


def wave_both_cycle(phase: float) -> Pose:
    """Both arms wave overhead, in opposite phase."""
    elbow = 48 * sin(phase)
    return _standing(
        shoulder_near=150, elbow_near=12 + elbow, shoulder_far=-150, elbow_far=-12 + elbow
    )


def squat_cycle(phase: float) -> Pose:
    """Down into a deep squat with the arms forward, and up."""
    depth = (1 - cos(phase)) / 2
    return Pose(
        lean=4 + 30 * depth,
        shoulder_near=10 + 78 * depth,
        elbow_near=8,
        shoulder_far=4 + 78 * depth,
        elbow_far=8,
        hip_near=4 + 96 * depth,
        knee_near=6 + 118 * depth,
        hip_far=-4 + 96 * depth,
        knee_far=4 + 118 * depth,
        lift=0,
    )


def lunge_cycle(phase: float) -> Pose:
    """Down into a lunge, one leg forward, and up."""
    depth = (1 - cos(phase)) / 2
    return Pose(
        lean=3 + 6 * depth,
        shoulder_near=-6 + 40 * depth,
        elbow_near=70 * depth,
        shoulder_far=6 - 40 * depth,
        elbow_far=20 * depth,
        hip_near=6 + 74 * depth,
        knee_near=6 + 78 * depth,
        hip_far=-6 - 22 * depth,
        knee_far=4 + 66 * depth,
        lift=0,
    )


def jumping_jack_cycle(phase: float) -> Pose:
    """Arms and legs apart in a jump, and together."""
    spread = (1 - cos(phase)) / 2
    return Pose(
        lean=0,
        shoulder_near=14 + 140 * spread,
        elbow_near=6,
        shoulder_far=-14 - 140 * spread,
        elbow_far=-6,
        hip_near=4 + 26 * spread,
        knee_near=3,
        hip_far=-4 - 26 * spread,
        knee_far=3,
        lift=0.36 * spread * (1 - spread),
    )


def kick_cycle(phase: float) -> Pose:
    """One leg swings from behind to the front."""
    swing = (1 - cos(phase)) / 2
    return Pose(
        lean=6 - 18 * swing,
        shoulder_near=40 - 70 * swing,
        elbow_near=20,
        shoulder_far=-30 + 80 * swing,
        elbow_far=20,
        hip_near=-26 + 112 * swing,
        knee_near=6 + 74 * (1 - swing),
        hip_far=-2,
        knee_far=8,
        lift=0,
    )


def bow_cycle(phase: float) -> Pose:
    """A deep bow with hanging arms."""
    depth = (1 - cos(phase)) / 2
    return _standing(lean=82 * depth, shoulder_near=8, shoulder_far=2)


def idle_cycle(phase: float) -> Pose:
    """Standing, swaying a little: what actors do outside their action."""
    return _standing(lean=1 + 2 * sin(phase), shoulder_near=4 + 4 * sin(phase))


def _standing(**changes: float) -> Pose:
    """An upright pose with hanging arms, with the given changes."""
    upright = Pose(2, 4, 8, -6, 8, 6, 4, -6, 4, 0)
    return upright._replace(**changes)


ACTIONS = {
    'push': Action(reach_cycle, direction=1),
    'pull': Action(reach_cycle, direction=-1),
    'climb': Action(climb_cycle, direction=1, rate=1.25, rise=0.4),
    'descend': Action(climb_cycle, direction=-1, rate=1.25, rise=0.4),
    'wave': Action(wave_cycle, rate=1.6),
    'squat': Action(squat_cycle, rate=1.0),
    'jumping_jack': Action(jumping_jack_cycle, rate=1.25),
    'kick': Action(kick_cycle, rate=1.1),
    'bow': Action(bow_cycle, rate=0.9),
    'walk': Action(walk_cycle, direction=1, rate=1.1, stride=0.85),
    'walk_backward': Action(walk_cycle, direction=-1, rate=1.1, stride=0.85),
}
"""Every action a clip can show, by class name."""

VARIANTS = {
    'wave': Action(wave_both_cycle, rate=1.6),
    'squat': Action(lunge_cycle, rate=1.0),
}
"""The same class performed in another way: a semantic shift replaces the action by this."""

CONFUSABLE = (('push', 'pull'), ('walk', 'walk_backward'), ('climb', 'descend'))
"""Pairs of actions that share every pose and differ in motion only."""

IDLE = Action(idle_cycle, rate=0.5)


def pose_at(action: Action, start: float, seconds: float, tempo: float = 1.0) -> Pose:
    """The pose of an action at a moment.

    Args:
        action: What is performed.
        start: Phase at time 0, in radians.
        seconds: Time.
        tempo: Factor on the action's rate.
    """
    return action.cycle(start + 2 * pi * action.direction * action.rate * tempo * seconds)


def blend_poses(first: Pose, second: Pose, weight: float) -> Pose:
    """``(1 - weight) * first + weight * second``, angle by angle."""
    return Pose(*((1 - weight) * a + weight * b for a, b in zip(first, second, strict=True)))
