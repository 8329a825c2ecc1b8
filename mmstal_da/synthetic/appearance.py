"""How actors are dressed, and how the camera renders colours."""

import colorsys
from dataclasses import dataclass, replace

import numpy as np

from .domains import draw

Colour = tuple[float, float, float]
"""RGB in [0, 255]."""


@dataclass(frozen=True)
class Outfit:
    """Colours and build of one actor.

    Attributes:
        thickness: Factor on the width of torso and limbs.
        stripes: Contrast of the shirt's stripes in [0, 1]; 0 is a plain shirt.
    """

    shirt: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    shoes: Colour
    thickness: float
    stripes: float


@dataclass(frozen=True)
class Look:
    """The changes to the colours of a whole clip.

    Attributes:
        contrast: Factor on the distance from mid-grey.
        gains: Factor per RGB channel, the colour cast.
        grain: Standard deviation of the sensor noise, in grey levels.
    """

    contrast: float
    gains: Colour
    grain: float


def sample_outfit(rng: np.random.Generator, strength: float) -> Outfit:
    """An actor's outfit under a shift in appearance of the given strength."""
    shirt = _hsv(
        draw(rng, (-20, 55), (150, 285), strength),
        draw(rng, (0.65, 0.95), (0.25, 0.65), strength),
        draw(rng, (0.70, 0.95), (0.55, 0.95), strength),
    )
    trousers = _hsv(
        draw(rng, (205, 245), (20, 110), strength),
        draw(rng, (0.35, 0.70), (0.15, 0.50), strength),
        draw(rng, (0.25, 0.45), (0.45, 0.75), strength),
    )
    skin = _hsv(rng.uniform(18, 30), rng.uniform(0.30, 0.55), rng.uniform(0.55, 0.95))
    hair = _hsv(rng.uniform(15, 40), rng.uniform(0.2, 0.7), rng.uniform(0.10, 0.45))
    shoes = _hsv(rng.uniform(0, 360), 0.2, draw(rng, (0.10, 0.25), (0.6, 0.9), strength))
    thickness = draw(rng, (0.95, 1.15), (0.72, 0.92), strength)
    stripes = strength * rng.random()
    return Outfit(shirt, trousers, skin, hair, shoes, thickness, stripes)


def camouflage(outfit: Outfit, scene: Colour, strength: float) -> Outfit:
    """The outfit with shirt, trousers and shoes mixed with the scene's colour.

    Args:
        outfit: Before.
        scene: Mean colour of the scene behind the actor.
        strength: 0 changes nothing, 1 leaves a fifth of the outfit's own colours.
    """
    if strength == 0:
        return outfit
    share = 0.8 * strength

    def mix(own: Colour) -> Colour:
        red, green, blue = ((1 - share) * a + share * b for a, b in zip(own, scene, strict=True))
        return red, green, blue

    return replace(
        outfit, shirt=mix(outfit.shirt), trousers=mix(outfit.trousers), shoes=mix(outfit.shoes)
    )


def sample_look(rng: np.random.Generator, strength: float) -> Look:
    """A clip's contrast, colour cast and grain under a shift in appearance."""
    contrast = draw(rng, (0.95, 1.05), (0.60, 0.85), strength)
    gains = (
        draw(rng, (0.97, 1.03), (0.72, 1.00), strength),
        draw(rng, (0.97, 1.03), (0.90, 1.10), strength),
        draw(rng, (0.97, 1.03), (0.95, 1.30), strength),
    )
    return Look(contrast, gains, draw(rng, (0.5, 2.0), (3.0, 7.0), strength))


def apply_look(image: np.ndarray, look: Look, grain: np.ndarray) -> np.ndarray:
    """Apply contrast, colour cast and grain.

    Args:
        image: (H, W, 3) float32 RGB in [0, 255].
        look: What to apply.
        grain: (H, W, 1) float32 standard normal noise.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    gains = np.asarray(look.gains, np.float32)
    toned = ((image - 128) * np.float32(look.contrast) + 128) * gains
    toned += grain * np.float32(look.grain)
    return np.clip(np.rint(toned), 0, 255).astype(np.uint8)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (< 1) or lighter (> 1)."""
    red, green, blue = (min(255.0, channel * factor) for channel in colour)
    return red, green, blue


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB in [0, 255] from a hue in degrees and saturation and value in [0, 1]."""
    red, green, blue = colorsys.hsv_to_rgb((hue % 360) / 360, saturation, value)
    return 255 * red, 255 * green, 255 * blue
