"""Parameters of a synthetic pair of domains, and presets."""

from dataclasses import asdict, dataclass, field
from typing import Any

from .clip import ClipSettings
from .domains import Shift
from .motions import ACTIONS

GENERATOR = 'mmstal_da.synthetic'
DOMAINS = ('source', 'target')
VERSION = 1
"""Increased whenever the same parameters would give other pixels or boxes."""


@dataclass(frozen=True)
class SyntheticConfig:
    """Parameters of a pair; the same parameters give the same bytes.

    Attributes:
        seed: Seed of everything random.
        classes: Class names, keys of :data:`~.motions.ACTIONS`; their order is the label order.
        source_train, source_test, target_train, target_test: Clips per split, given to the
            classes in turn.
        clip: What all clips have in common.
        untrimmed: Domains whose clips have frames without the action, ``'source'``, ``'target'``.
        shift: The shift from source to target.
        vary_shift: Every clip of the target draws a share of the shift, uniformly in [0, 1].
        crf: x264's constant rate factor.
    """

    seed: int = 0
    classes: tuple[str, ...] = ('pull', 'push', 'squat', 'wave')
    source_train: int = 60
    source_test: int = 20
    target_train: int = 60
    target_test: int = 24
    clip: ClipSettings = field(default_factory=ClipSettings)
    untrimmed: tuple[str, ...] = ()
    shift: Shift = field(
        default_factory=lambda: Shift(appearance=0.8, background=0.8, camera=0.8, tempo=0.8)
    )
    vary_shift: bool = False
    crf: int = 14

    def __post_init__(self) -> None:
        if not {*self.untrimmed} <= {*DOMAINS}:
            raise ValueError(f'untrimmed names domains of {DOMAINS}, not {self.untrimmed}')
        unknown = [name for name in self.classes if name not in ACTIONS]
        if unknown or not self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f'classes must be different names of {sorted(ACTIONS)}, not {list(self.classes)}'
            )
        for name in ('source_train', 'source_test', 'target_train', 'target_test'):
            if getattr(self, name) < 0:
                raise ValueError(f'{name} is a number of clips, not {getattr(self, name)}')
        if self.seed < 0:
            raise ValueError(f'seed must not be negative, but is {self.seed}')

    def to_dict(self) -> dict[str, Any]:
        """The parameters as JSON knows them, with the generator's name and version."""
        lists = {'classes': list(self.classes), 'untrimmed': list(self.untrimmed)}
        parameters = asdict(self) | lists
        return {'generator': GENERATOR, 'version': VERSION, 'parameters': parameters}


PRESETS = {
    # a few minutes of training on a CPU
    'default': SyntheticConfig(),
    # for tests; every class is in every split
    'tiny': SyntheticConfig(
        source_train=4,
        source_test=4,
        target_train=4,
        target_test=4,
        clip=ClipSettings(width=64, height=48, min_frames=16, max_frames=20),
    ),
    # benchmark A. Mirrors UCF-Sports -> UCF-101: untrimmed, background frames count. Seed 0 of A
    # and B is for tuning: what is reported comes from data that no hyper-parameter has seen
    'untrimmed': SyntheticConfig(
        seed=1,
        classes=('climb', 'descend', 'squat', 'wave'),
        source_train=120,
        source_test=40,
        target_train=120,
        target_test=60,
        untrimmed=DOMAINS,
        shift=Shift(0.7, 0.7, 0.7, 0.7, size=0.25, camouflage=0.25),
    ),
    # benchmark B. Mirrors JHMDB -> UCF-101: trimmed, one class performed differently
    'semantic': SyntheticConfig(
        seed=1,
        classes=('climb', 'descend', 'wave'),
        source_train=120,
        source_test=40,
        target_train=40,
        target_test=60,
        shift=Shift(appearance=0.7, background=0.7, camera=0.7, tempo=0.7, semantic=1.0),
    ),
    # what the narrow networks start from, as Kinetics: none of the benchmarks' classes, many looks
    'broad': SyntheticConfig(
        classes=('bow', 'jumping_jack', 'kick', 'pull', 'push', 'walk', 'walk_backward'),
        source_train=399,
        source_test=28,
        target_train=238,
        target_test=28,
        shift=Shift(appearance=1.0, background=1.0, camera=1.0, tempo=1.0),
        vary_shift=True,
    ),
}
"""Named parameter sets."""
