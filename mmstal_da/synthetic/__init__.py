"""The synthetic pair of domains: rendered articulated actors, with a shift between the domains.

==============  ==================================================================
``skeleton``    joint angles to joint positions
``motions``     actions as cycles of poses; which pairs share every pose
``domains``     the shift between source and target, by parts
``appearance``  clothing, contrast, colour cast
``background``  rooms and textures
``camera``      pan, zoom, roll, shake
``actor``       draws an actor and its mask
``clip``        one clip: its contents, frames and tubes
``config``      parameters and presets
``generate``    the whole pair on disk
==============  ==================================================================
"""

from .clip import ClipSettings, render_clip, sample_clip
from .config import PRESETS, SyntheticConfig
from .domains import Shift
from .generate import OutputExistsError, annotate, generate
from .motions import ACTIONS, CONFUSABLE

__all__ = [
    'ACTIONS',
    'CONFUSABLE',
    'PRESETS',
    'ClipSettings',
    'OutputExistsError',
    'Shift',
    'SyntheticConfig',
    'annotate',
    'generate',
    'render_clip',
    'sample_clip',
]
