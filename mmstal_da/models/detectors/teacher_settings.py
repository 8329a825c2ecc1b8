"""The values of a teacher, and how much its labels count at an iteration."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmstal_da.errors import ConfigError
from mmstal_da.registry import MODELS
from mmstal_da.utils.values import SHARE, SWITCH, check_values, number, optional, several, whole


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
        adaptive: Off with None. Else the high threshold is one per class and follows the teacher's
            scores, see :class:`AdaptiveThresholds`; the value is the share of the past in a step,
            such as 0.99. ``thresholds`` are then the low one and where the high ones begin.
        soft: Learn the teacher's scores instead of its boxes' classes, see :func:`soft_losses`.
        mask: Share of the strong view that is masked, see :func:`masked`; 0: nothing.
        mask_block: Side of a masked block in pixels.
        mix: Probability that an action of the source is pasted into a target clip, see
            :func:`mixed`; 0: never.
        tubes: Label by the tubes that :class:`TubeMemoryHook` has found with the teacher in the
            whole videos, in place of the teacher's boxes on a single clip. Frames without a tube
            are then background, and no weak view is needed.
        given_boxes: The target's boxes are known, and the teacher labels them; see
            :class:`~mmstal_da.datasets.BoxesView`. The score of a box is its best class's share of
            all classes but the background.
        source_free: Batches have no source: the data set has ``train_on='target'``, and weights
            come from ``load_from``. With a ``burn_in`` batches do have one; it is learnt in the
            burn-in and not afterwards, which is the same in one training.
    """

    weight: float = 1.0
    momentum: float = 0.001
    burn_in: int = 0
    ramp: int = 0
    thresholds: Sequence[float] = (0.3, 0.8)
    adaptive: float | None = None
    soft: bool = False
    mask: float = 0.0
    mask_block: int = 32
    mix: float = 0.0
    tubes: bool = False
    given_boxes: bool = False
    source_free: bool = False

    value_rules = dict(
        weight=number(0),
        momentum=number(above=0, below=1),
        burn_in=whole(0),
        ramp=whole(0),
        thresholds=several(SHARE, 2),
        adaptive=optional(number(above=0, below=1)),
        soft=SWITCH,
        mask=number(0, below=1),
        mask_block=whole(),
        mix=SHARE,
        tubes=SWITCH,
        given_boxes=SWITCH,
        source_free=SWITCH,
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
        if self.soft and self.mix:
            raise ConfigError(
                'model.teacher: with soft=True the teacher has no scores of what mix pastes; set'
                ' mix=0'
            )
        if self.tubes and (self.soft or self.adaptive is not None):
            raise ConfigError(
                'model.teacher: tubes=True has no scores of single boxes to learn or to follow; set'
                ' soft=False and adaptive=None'
            )
        if self.given_boxes and (self.tubes or self.soft or self.source_free):
            raise ConfigError(
                'model.teacher: given_boxes=True is for labels of single boxes, beside a source;'
                ' set tubes=False, soft=False and source_free=False'
            )
        if self.source_free and (self.mix or not self.weight):
            raise ConfigError(
                'model.teacher: with source_free=True nothing is learnt but from the teacher, and'
                ' there is no source to mix in; set mix=0 and a weight above 0'
            )

    def weight_at(self, iteration: int) -> float:
        """Weight of the losses on the target at a 0-based iteration."""
        since = iteration - self.burn_in
        if since < 0:
            return 0.0
        return self.weight * (min(1.0, (since + 1) / self.ramp) if self.ramp else 1.0)
