"""The domain shift: what separates target from source, each part with a strength in [0, 1].

The source domain has strength 0 in every part. A shifted quantity is drawn once as a position
within a range. With the strength, the range moves from the source's to the target's. At strength 0
source and target are one distribution, and one seed gives exactly the same clip in both.
"""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Shift:
    """Strengths of the parts of a domain shift.

    Attributes:
        appearance: Clothing colours and stripes, limb thickness, contrast, colour cast, grain.
        background: Texture and colour of the scene.
        camera: Pan, zoom, roll and shake; strength 0 is a static camera.
        tempo: Speed of the actions.
        size: Height of the actors, down to half of the source's.
        camouflage: Clothes take on the colour of the scene behind the actor.
        semantic: Share of the clips of the classes in :data:`~.motions.VARIANTS` in which actors
            perform the class's other variant.
    """

    appearance: float = 0.0
    background: float = 0.0
    camera: float = 0.0
    tempo: float = 0.0
    size: float = 0.0
    camouflage: float = 0.0
    semantic: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 <= value <= 1:
                raise ValueError(f'strength of the shift in {item.name} is in [0, 1], not {value}')

    def scaled(self, share: float) -> 'Shift':
        """Every strength times ``share``."""
        return Shift(**{item.name: share * getattr(self, item.name) for item in fields(self)})


def draw(
    rng: np.random.Generator,
    source: tuple[float, float],
    target: tuple[float, float],
    strength: float,
) -> float:
    """A uniform number from the range between ``source`` (0) and ``target`` (1)."""
    low = (1 - strength) * source[0] + strength * target[0]
    high = (1 - strength) * source[1] + strength * target[1]
    return float(low + rng.random() * (high - low))
