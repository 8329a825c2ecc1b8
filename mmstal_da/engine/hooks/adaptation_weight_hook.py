"""Ramps lambda, the weight of the adversarial losses."""

from mmengine.hooks import Hook

from mmstal_da.models.adaptation.schedules import Schedule, build_schedule, weight_at
from mmstal_da.registry import HOOKS
from mmstal_da.utils.values import check_values, number, optional, whole
from mmstal_da.utils.wrapped import student_of


@HOOKS.register_module()
class AdaptationWeightHook(Hook):
    """Sets ``model.adaptation.weight`` before every training iteration.

    Lambda is a function of the iteration alone, so a resumed run continues with the same values.
    Whether lambda weighs the losses or the reversed gradients is the model's key
    ``adaptation.lambda_mode``. On a model whose adaptation is off the hook does nothing.

    Args:
        schedule: ``'constant'``, ``'dann'``, ``'linear'``, ``'cosine'``, or a function or class of
            one's own; see :func:`mmstal_da.models.adaptation.schedules.build_schedule`.
        max_weight: Lambda where the schedule is 1.
        gamma: Steepness of ``'dann'``.
        begin: First iteration of the ramp; lambda is 0 before it.
        end: Iteration at which the ramp ends; ``None`` is the end of training.
    """

    priority = 'NORMAL'
    value_rules = dict(
        max_weight=number(0),
        gamma=number(above=0),
        begin=whole(0),
        end=optional(whole()),
    )

    def __init__(
        self,
        schedule: str | dict | Schedule = 'dann',
        max_weight: float = 0.1,
        gamma: float = 10.0,
        begin: int = 0,
        end: int | None = None,
    ) -> None:
        check_values(self.value_rules, locals())
        if end is not None and end <= begin:
            raise ValueError(f'the ramp needs 0 <= begin < end, got {begin} and {end}')
        self.schedule = build_schedule(schedule, gamma)
        self.max_weight = max_weight
        self.begin = begin
        self.end = end

    def weight_at(self, iteration: int, max_iters: int) -> float:
        """Lambda at a 0-based iteration of a training of ``max_iters``."""
        if iteration < self.begin:
            return 0.0
        end = max_iters if self.end is None else self.end
        return weight_at(self.schedule, iteration - self.begin, end - self.begin, self.max_weight)

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Set lambda for this iteration."""
        adaptation = getattr(student_of(runner.model), 'adaptation', None)
        if adaptation is not None:
            adaptation.weight = self.weight_at(runner.iter, runner.max_iters)
