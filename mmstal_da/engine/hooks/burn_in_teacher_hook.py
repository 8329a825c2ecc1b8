"""Moves a teacher after its student."""

from mmdet.engine.hooks import MeanTeacherHook
from mmengine.model import is_model_wrapper

from mmstal_da.errors import ConfigError
from mmstal_da.registry import HOOKS


@HOOKS.register_module()
class BurnInTeacherHook(MeanTeacherHook):
    """mmdet's hook, for a :class:`TeacherStudentDetector`.

    The teacher is the moving average of the student's weights and statistics, with the model's
    ``teacher.momentum``. In the first ``teacher.burn_in`` iterations it is a copy. mmdet computes a
    copy as an average with momentum 1, which leaves integer buffers out; here they are copied, too.
    The iteration is the runner's, so a resumed run continues as it would have.
    """

    def __init__(self) -> None:
        super().__init__(skip_buffer=False)

    def before_train(self, runner) -> None:
        """Begin with a copy.

        Raises:
            ConfigError: The model has no teacher.
        """
        model = _model(runner)
        if not hasattr(model, 'settings') or not hasattr(model, 'copy_student'):
            raise ConfigError(
                f'BurnInTeacherHook: {type(model).__name__} has no teacher; set'
                " model.type='TeacherStudentDetector', or take the hook out of custom_hooks"
            )
        self.momentum = model.settings.momentum
        if runner.iter == 0:
            model.copy_student()

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Tell the model the iteration."""
        _model(runner).iteration = runner.iter

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Move the teacher."""
        model = _model(runner)
        if runner.iter < model.settings.burn_in:
            model.copy_student()
        else:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)


def _model(runner):
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
