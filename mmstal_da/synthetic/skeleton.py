"""A planar articulated body: joint angles in, joint positions out.

Local coordinates: unit = standing body height, x grows in the direction the actor faces, y grows
downwards, the origin lies on the ground below the pelvis. "Near" limbs are on the viewer's side.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Pose(NamedTuple):
    """Joint angles of one instant, in degrees.

    Arm and leg angles are measured from straight down, positive towards the facing direction;
    ``elbow`` bends the forearm forwards and ``knee`` bends the shin backwards, each relative to
    the segment above it. ``lean`` tilts the torso forwards. ``lift`` raises the whole body off
    the ground, in body heights.
    """

    lean: float
    shoulder_near: float
    elbow_near: float
    shoulder_far: float
    elbow_far: float
    hip_near: float
    knee_near: float
    hip_far: float
    knee_far: float
    lift: float


@dataclass(frozen=True)
class Body:
    """Segment lengths in body heights."""

    torso: float = 0.30
    neck: float = 0.035
    head: float = 0.085  # radius
    upper_arm: float = 0.17
    forearm: float = 0.16
    thigh: float = 0.235
    shin: float = 0.235
    foot: float = 0.075


def sample_body(rng: np.random.Generator) -> Body:
    """A body whose segments deviate up to 8% from the standard proportions."""
    return Body(**{part: length * rng.uniform(0.92, 1.08) for part, length in vars(Body()).items()})


def joint_positions(pose: Pose, body: Body) -> dict[str, np.ndarray]:
    """Forward kinematics; the lower foot stands on the ground.

    Args:
        pose: Joint angles.
        body: Segment lengths.

    Returns:
        Joint name to (2,) float64 local coordinates: ``pelvis neck head`` and, with the suffixes
        ``_near`` and ``_far``, ``elbow hand knee ankle toe``.
    """
    pelvis = np.zeros(2)
    neck = pelvis + body.torso * _down(180.0 - pose.lean)
    joints = {
        'pelvis': pelvis,
        'neck': neck,
        'head': neck + (body.neck + body.head) * _down(180.0 - 0.7 * pose.lean),
    }
    for side in ('near', 'far'):
        shoulder = getattr(pose, f'shoulder_{side}')
        joints[f'elbow_{side}'] = neck + body.upper_arm * _down(shoulder)
        forearm = shoulder + getattr(pose, f'elbow_{side}')
        joints[f'hand_{side}'] = joints[f'elbow_{side}'] + body.forearm * _down(forearm)
        hip = getattr(pose, f'hip_{side}')
        shin = hip - getattr(pose, f'knee_{side}')
        joints[f'knee_{side}'] = pelvis + body.thigh * _down(hip)
        ankle = joints[f'knee_{side}'] + body.shin * _down(shin)
        joints[f'ankle_{side}'] = ankle
        joints[f'toe_{side}'] = ankle + body.foot * _down(90.0 + min(shin, 0.0) * 0.5)
    lowest = max(joints[f'{part}_{side}'][1] for part in ('ankle', 'toe') for side in _SIDES)
    rise = np.array([0.0, lowest + pose.lift + _SOLE])
    return {name: position - rise for name, position in joints.items()}


_SIDES = ('near', 'far')
_SOLE = 0.02  # half the height of a shoe: the ankle's distance from the ground


def _down(angle: float) -> np.ndarray:
    """Unit vector at ``angle`` degrees from straight down, positive forwards."""
    radians = np.deg2rad(angle)
    return np.array([np.sin(radians), np.cos(radians)])
