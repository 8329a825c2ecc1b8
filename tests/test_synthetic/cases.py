"""What the tests of the synthetic pair share."""

import numpy as np

from mmstal_da.synthetic import ClipSettings, Shift

SMALL = ClipSettings(width=64, height=48, min_frames=6, max_frames=8)
FULL_SHIFT = Shift(appearance=1, background=1, camera=1, tempo=1)


def seed(*numbers: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(numbers)
