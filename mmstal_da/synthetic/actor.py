"""Draws an articulated actor, anti-aliased, together with the exact mask of its pixels."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from .appearance import Colour, Outfit, shade
from .camera import apply_affine

SUPERSAMPLING = 2
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
_ARC = np.linspace(-np.pi / 2, np.pi / 2, 9)
_BOTH_ARCS = np.tile(_ARC, 2)
_Capsule = tuple[np.ndarray, np.ndarray, tuple[float, float], Colour]  # of Layer.capsule


class Layer:
    """A transparent image for painting shapes at a multiple of the frame's resolution.

    Coordinates are frame pixels; the centre of the top left pixel is (0, 0).
    """

    def __init__(self, width: int, height: int):
        size = (height * SUPERSAMPLING, width * SUPERSAMPLING)
        self._paint = np.zeros((*size, 3), np.uint8)
        self._alpha = np.zeros(size, np.uint8)

    def polygon(self, points: np.ndarray, colour: Colour) -> None:
        """Fill a convex polygon, (N, 2)."""
        scaled = (np.asarray(points) + 0.5) * SUPERSAMPLING - 0.5
        fixed = np.rint(scaled * 2**_SHIFT).astype(np.int32)
        cv2.fillConvexPoly(self._paint, fixed, colour, cv2.LINE_AA, _SHIFT)
        cv2.fillConvexPoly(self._alpha, fixed, 255, cv2.LINE_AA, _SHIFT)

    def capsule(
        self, start: np.ndarray, end: np.ndarray, radii: tuple[float, float], colour: Colour
    ) -> None:
        """Fill a limb: two circles of the given radii and everything between them."""
        angle = math.atan2(end[1] - start[1], end[0] - start[0])
        angles = np.repeat((angle, angle + np.pi), len(_ARC)) + _BOTH_ARCS
        centres = np.repeat((end, start), len(_ARC), axis=0)
        self.polygon(centres + np.repeat(radii[::-1], len(_ARC))[:, None] * _unit(angles), colour)

    def disc(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        self.capsule(centre, centre, (radius, radius), colour)

    def flatten(self) -> tuple[np.ndarray, np.ndarray]:
        """The layer at frame resolution.

        Returns:
            (H, W, 3) float32 RGB in [0, 255], already multiplied by the coverage, and the
            coverage, (H, W, 1) float32 in [0, 1].
        """
        size = (self._alpha.shape[1] // SUPERSAMPLING, self._alpha.shape[0] // SUPERSAMPLING)
        paint = cv2.resize(self._paint, size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(self._alpha, size, interpolation=cv2.INTER_AREA)
        return paint.astype(np.float32), alpha.astype(np.float32)[..., None] / 255


def place_joints(
    joints: dict[str, np.ndarray],
    ground: tuple[float, float],
    height: float,
    facing: int,
    camera: np.ndarray,
) -> dict[str, np.ndarray]:
    """Convert local joint coordinates to frame pixels.

    Args:
        joints: Result of :func:`~.skeleton.joint_positions`.
        ground: Scene coordinates of the point below the pelvis.
        height: Body height in scene pixels.
        facing: +1 faces right, -1 left.
        camera: (2, 3) map from scene to frame pixels.
    """
    scale = np.array([facing * height, height])
    local = np.stack(list(joints.values()))
    placed = apply_affine(camera, np.asarray(ground) + local * scale)
    return dict(zip(joints, placed, strict=True))


def draw_actor(
    layer: Layer, joints: dict[str, np.ndarray], outfit: Outfit, unit: float, facing: int
) -> None:
    """Paint an actor.

    Args:
        layer: The layer to paint on.
        joints: Joint name to frame pixels.
        outfit: Colours and build.
        unit: Body height in frame pixels.
        facing: +1 faces right, -1 left.
    """
    limb = outfit.thickness * unit
    for side, light in (('far', 0.72), ('near', 1.0)):
        if side == 'near':
            _draw_torso_and_head(layer, joints, outfit, unit, facing)
        shoulder = 0.93 * joints['neck'] + 0.07 * joints['pelvis']
        knee, ankle, toe = (joints[f'{part}_{side}'] for part in ('knee', 'ankle', 'toe'))
        elbow, hand = joints[f'elbow_{side}'], joints[f'hand_{side}']
        trousers, shirt = shade(outfit.trousers, light), shade(outfit.shirt, light)
        skin, shoes = shade(outfit.skin, light), shade(outfit.shoes, light)
        leg = [
            (joints['pelvis'], knee, (0.052 * limb, 0.042 * limb), trousers),
            (knee, ankle, (0.042 * limb, 0.030 * limb), trousers),
            (ankle, toe, (0.028 * limb, 0.022 * limb), shoes),
        ]
        arm = [
            (elbow, hand, (0.027 * limb, 0.022 * limb), skin),
            (hand, hand, (0.030 * limb, 0.030 * limb), skin),
            (shoulder, elbow, (0.040 * limb, 0.033 * limb), shirt),
        ]
        _draw_limb(layer, leg, unit)
        _draw_limb(layer, arm, unit)


def _draw_torso_and_head(
    layer: Layer, joints: dict[str, np.ndarray], outfit: Outfit, unit: float, facing: int
) -> None:
    limb, head, neck = outfit.thickness * unit, joints['head'], joints['neck']
    torso = [(neck, joints['pelvis'], (0.072 * limb, 0.058 * limb), outfit.shirt)]
    _draw_limb(layer, [(neck, head, (0.03 * limb, 0.03 * limb), outfit.skin)], unit)
    _draw_limb(layer, torso, unit)
    if outfit.stripes > 0:
        _draw_stripes(layer, neck, joints['pelvis'], limb, outfit)
    up = (head - neck) / np.linalg.norm(head - neck)
    ahead = facing * np.array([-up[1], up[0]])
    radius = 0.078 * unit
    _draw_limb(
        layer,
        [
            (head, head, (radius, radius), outfit.skin),
            (head + 0.9 * radius * ahead, head + 1.2 * radius * ahead,
             (0.3 * radius, 0.15 * radius), outfit.skin),
        ],
        unit,
    )  # fmt: skip
    crown = np.arctan2(up[1], up[0]) - facing * 0.35
    layer.polygon(head + radius * _unit(crown + 1.12 * _ARC), outfit.hair)
    layer.disc(head + radius * (0.45 * ahead + 0.05 * up), 0.16 * radius, (25, 25, 25))


def _draw_stripes(
    layer: Layer, neck: np.ndarray, pelvis: np.ndarray, limb: float, outfit: Outfit
) -> None:
    """Three stripes across the shirt, with the outfit's strength."""
    axis = (pelvis - neck) / np.linalg.norm(pelvis - neck)
    across = np.array([-axis[1], axis[0]])
    colour = shade(outfit.shirt, 1 - 0.6 * outfit.stripes)
    for position in (0.2, 0.5, 0.8):
        centre = neck + position * (pelvis - neck)
        half = (0.066 - 0.010 * position) * limb * across
        layer.capsule(centre - half, centre + half, (0.014 * limb, 0.014 * limb), colour)


def _draw_limb(layer: Layer, parts: Sequence[_Capsule], unit: float) -> None:
    """Paint capsules with one dark outline around all of them."""
    outline = 0.009 * unit
    for start, end, radii, colour in parts:
        wide = (radii[0] + outline, radii[1] + outline)
        layer.capsule(start, end, wide, shade(colour, 0.45))
    for start, end, radii, colour in parts:
        layer.capsule(start, end, radii, colour)


def _unit(angles: np.ndarray) -> np.ndarray:
    """Unit vectors of angles in radians, (N, 2)."""
    units = np.empty((len(angles), 2))
    np.cos(angles, out=units[:, 0])
    np.sin(angles, out=units[:, 1])
    return units
