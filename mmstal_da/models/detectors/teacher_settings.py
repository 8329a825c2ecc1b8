"""The values of a teacher, and how much its labels count at an iteration."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmstal_da.errors import ConfigError
from mmstal_da.registry import MODELS
from mmstal_da.utils.values import SHARE, check_values, number, several, whole


@MODELS.register_module()
@dataclass
class TeacherSettings:
    """Values of ``teacher=dict(...)`` of a :class:`TeacherStudentDetector`.

    Attributes:
        weight: Of the losses on the target. With 0 they are not computed.
        momentum: Share of the student in the teacher after a step:
            ``teacher = (1 - momentum) teacher + momentum student``, mmdet's convention.
        burn_in: In the first so many iterations the teacher is a copy of the student, and there is
            no loss on the target.
        ramp: In so many iterations after ``burn_in`` the weight rises linearly; 0: at once.
        thresholds: Low and high score. A box of at least the high one is a label. A box between
            them is left out. Boxes below are background.
    """

    weight: float = 1.0
    momentum: float = 0.001
    burn_in: int = 0
    ramp: int = 0
    thresholds: Sequence[float] = (0.3, 0.8)

    value_rules = dict(
        weight=number(0),
        momentum=number(above=0, below=1),
        burn_in=whole(0),
        ramp=whole(0),
        thresholds=several(SHARE, 2),
    )

    def __post_init__(self) -> None:
        try:
            check_values(self.value_rules, vars(self), 'model.teacher.')
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if self.thresholds[0] > self.thresholds[1]:
            raise ConfigError(
                f'model.teacher.thresholds are a low and a high score, not {self.thresholds}'
            )

    def weight_at(self, iteration: int) -> float:
        """Weight of the losses on the target at a 0-based iteration."""
        since = iteration - self.burn_in
        if since < 0:
            return 0.0
        return self.weight * (min(1.0, (since + 1) / self.ramp) if self.ramp else 1.0)
