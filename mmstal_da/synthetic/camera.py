"""The camera: static in the source domain; pan, zoom, roll and shake in the target domain."""

import numpy as np


def sample_camera(
    rng: np.random.Generator, strength: float, num_frames: int, width: int, height: int
) -> np.ndarray:
    """A camera path.

    Args:
        rng: Source of randomness; how much is drawn does not depend on ``strength``.
        strength: Factor on every movement; 0 is a static camera.
        num_frames: T.
        width: Frame width in pixels.
        height: Frame height in pixels.

    Returns:
        (T, 2, 3) float64 affine maps from scene to frame pixels; the identity does not move the
        scene. At strength 1 the frame pans by up to 8% of its size, zooms between 0.85 and 1.2,
        rolls by up to 4 degrees and shakes by about 1% of its height.
    """
    time = np.arange(num_frames) / 25.0  # movements are per second, whatever the frame count
    amplitude = strength * rng.uniform(0.5, 1.0, 4)  # of pan x, pan y, zoom, roll
    speed, start = rng.uniform(0.25, 0.7, 4), rng.uniform(0, 2 * np.pi, 4)
    swing = amplitude[:, None] * np.sin(2 * np.pi * speed[:, None] * time + start[:, None])
    shake = np.cumsum(rng.standard_normal((2, num_frames + 8)), axis=1)
    shake = shake[:, 8:] - np.stack([np.convolve(row, np.ones(9) / 9, 'valid') for row in shake])
    shift_x = 0.08 * width * swing[0] + 0.01 * height * strength * shake[0]
    shift_y = 0.05 * height * swing[1] + 0.01 * height * strength * shake[1]
    zoom = 1 + np.where(swing[2] > 0, 0.20, 0.15) * swing[2]
    roll = np.deg2rad(4) * swing[3]
    centre = np.array([width - 1, height - 1]) / 2
    path = np.empty((num_frames, 2, 3))
    path[:, 0, 0] = path[:, 1, 1] = zoom * np.cos(roll)
    path[:, 0, 1], path[:, 1, 0] = -zoom * np.sin(roll), zoom * np.sin(roll)
    path[:, :, 2] = centre + np.stack([shift_x, shift_y], 1) - path[:, :, :2] @ centre
    return path


def apply_affine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map (N, 2) points by a (2, 3) affine matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]
