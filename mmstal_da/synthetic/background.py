"""Scenes: plain rooms in the source domain, colourful textures in the target domain."""

import colorsys

import cv2
import numpy as np


def sample_background(
    rng: np.random.Generator, strength: float, width: int, height: int, margin: int
) -> np.ndarray:
    """A scene that extends ``margin`` pixels beyond the frame on every side.

    A room and a texture are always drawn, and mixed according to the strength.

    Args:
        rng: Source of randomness; how much is drawn does not depend on ``strength``.
        strength: 0 gives the room, 1 the texture.
        width: Frame width in pixels.
        height: Frame height in pixels.
        margin: Pixels around the frame, for a moving camera.

    Returns:
        (height + 2 margin, width + 2 margin, 3) float32 RGB in [0, 255].
    """
    room_rng, texture_rng = rng.spawn(2)
    room = _room(room_rng, width, height, margin)
    texture = _texture(texture_rng, width, height, margin)
    return (1 - np.float32(strength)) * room + np.float32(strength) * texture


def value_noise(rng: np.random.Generator, size: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth noise in [0, 1] whose features are about ``cell`` pixels wide, (H, W) float32."""
    height, width = size
    total = np.zeros(size, np.float32)
    weight = 0.0
    for octave in range(3):
        step = max(1.0, cell / 2**octave)
        shape = (int(np.ceil(height / step)) + 2, int(np.ceil(width / step)) + 2)
        grid = rng.random(shape, dtype=np.float32)
        noise = cv2.resize(
            grid, None, fx=float(step), fy=float(step), interpolation=cv2.INTER_CUBIC
        )
        total += noise[:height, :width] * 0.5**octave
        weight += 0.5**octave
    return np.clip(total / weight, 0, 1)


def _room(rng: np.random.Generator, width: int, height: int, margin: int) -> np.ndarray:
    """A wall with a gradient, a floor and a picture or window on the wall."""
    size = (height + 2 * margin, width + 2 * margin)
    wall = _colour(rng, (0, 360), (0.03, 0.16), (0.66, 0.88))
    floor = _colour(rng, (20, 45), (0.12, 0.35), (0.42, 0.62))
    rows = np.linspace(0, 1, size[0], dtype=np.float32)[:, None, None]
    scene = np.broadcast_to(wall * (1.06 - 0.14 * rows), (*size, 3)).copy()
    horizon = margin + int(height * rng.uniform(0.70, 0.78))
    scene[horizon:] = floor * (0.85 + 0.25 * rows[horizon:])
    skirting = max(1, height // 48)
    scene[horizon - skirting : horizon] = wall * 0.6
    for _ in range(2):
        box_w, box_h = (int(value * height) for value in rng.uniform(0.15, 0.42, 2))
        x = int(rng.uniform(0, size[1] - box_w))
        y = int(rng.uniform(margin * 0.6, max(margin, horizon - 1.15 * box_h)))
        inside = _colour(rng, (0, 360), (0.05, 0.35), (0.45, 0.95))
        frame = max(1, height // 60)
        cv2.rectangle(scene, (x, y), (x + box_w, y + box_h), (wall * 0.55).tolist(), -1)
        cv2.rectangle(
            scene,
            (x + frame, y + frame),
            (x + box_w - frame, y + box_h - frame),
            inside.tolist(),
            -1,
        )
    scene += (value_noise(rng, size, height / 6)[..., None] - 0.5) * 14
    return np.clip(cv2.GaussianBlur(scene, (0, 0), 0.6), 0, 255)


def _texture(rng: np.random.Generator, width: int, height: int, margin: int) -> np.ndarray:
    """Coloured clouds, overlaid with blotches, stripes or tiles, darker on the ground."""
    size = (height + 2 * margin, width + 2 * margin)
    first, second, third = (_colour(rng, (0, 360), (0.25, 0.75), (0.35, 0.95)) for _ in range(3))
    clouds = _stretch(value_noise(rng, size, height / rng.uniform(3, 7)))[..., None]
    scene = first * clouds + second * (1 - clouds)
    overlay = (_blotches, _stripes, _tiles)[rng.integers(3)](rng, size, height)[..., None]
    scene = scene * (1 - 0.65 * overlay) + third * (0.65 * overlay)
    horizon = margin + int(height * rng.uniform(0.70, 0.78))
    scene[horizon:] *= np.float32(0.78)
    scene += (rng.random((*size, 1), dtype=np.float32) - 0.5) * 18
    return np.clip(cv2.GaussianBlur(scene, (0, 0), 0.6), 0, 255)


def _blotches(rng: np.random.Generator, size: tuple[int, int], height: int) -> np.ndarray:
    """Random ellipses, (H, W) float32 in [0, 1]."""
    mask = np.zeros(size, np.float32)
    for _ in range(26):
        centre = (int(rng.uniform(0, size[1])), int(rng.uniform(0, size[0])))
        axes = tuple(int(value) for value in rng.uniform(0.03, 0.14, 2) * height + 1)
        cv2.ellipse(
            mask,
            centre,
            axes,
            rng.uniform(0, 180),
            0,
            360,
            rng.uniform(0.4, 1.0),
            -1,
            cv2.LINE_AA,
        )
    return mask


def _stripes(rng: np.random.Generator, size: tuple[int, int], height: int) -> np.ndarray:
    """Wavy stripes of any direction, (H, W) float32 in [0, 1]."""
    angle, period = rng.uniform(0, np.pi), height * rng.uniform(0.08, 0.22)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    bend = value_noise(rng, size, height / 2) * period
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle) + bend) * 2 * np.pi / period)
    return np.clip(0.5 + 1.5 * wave, 0, 1).astype(np.float32)


def _tiles(rng: np.random.Generator, size: tuple[int, int], height: int) -> np.ndarray:
    """Tiles of random brightness, (H, W) float32 in [0, 1]."""
    tile = max(2, int(height * rng.uniform(0.08, 0.2)))
    shape = (size[0] // tile + 2, size[1] // tile + 2)
    grid = rng.random(shape, dtype=np.float32)
    return np.kron(grid, np.ones((tile, tile), np.float32))[: size[0], : size[1]]


def _stretch(noise: np.ndarray) -> np.ndarray:
    """Noise stretched to fill [0, 1]."""
    low, high = np.percentile(noise, (5, 95))
    return np.clip((noise - low) / (high - low), 0, 1).astype(np.float32)


def _colour(
    rng: np.random.Generator,
    hue: tuple[float, float],
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> np.ndarray:
    """A colour from ranges of hue in degrees, saturation and value, (3,) float32 RGB."""
    rgb = colorsys.hsv_to_rgb(
        rng.uniform(*hue) % 360 / 360, rng.uniform(*saturation), rng.uniform(*value)
    )
    return np.array(rgb, np.float32) * 255
