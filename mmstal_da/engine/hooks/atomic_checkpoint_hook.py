"""Checkpoints that remain usable if a run is interrupted at any moment."""

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmstal_da.engine.atomic_backend import AtomicLocalBackend
from mmstal_da.errors import TrainingError
from mmstal_da.registry import HOOKS


class _RemovesLater(AtomicLocalBackend):
    """Notes the files to remove instead of removing them."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def remove(self, filepath: str) -> None:
        self.noted.append(filepath)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, changed so that a killed run can always be resumed.

    MMEngine's hook truncates the file that it is about to write. It also removes the outdated
    checkpoint before it has written the new one. So a run that is killed meanwhile may leave
    nothing to resume from. Here:

    1. The checkpoint is written to a temporary file in the same folder and moved into place when
       it is complete.
    2. The file ``last_checkpoint`` is written in the same way.
    3. The checkpoints beyond ``max_keep_ckpts``, or the former best one, are removed.

    Temporary files of a killed run (``.iter_2000.pth.*.tmp``) are removed when training starts.

    Args:
        kwargs: As for ``CheckpointHook``, without ``backend_args`` and ``file_client_args``:
            the checkpoints are local files.
    """

    file_backend: AtomicLocalBackend

    def __init__(self, **kwargs) -> None:
        for name in ('backend_args', 'file_client_args'):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f'AtomicCheckpointHook writes local files and takes no {name}; '
                    "use type='CheckpointHook' for other storage"
                )
        super().__init__(**{**kwargs, 'backend_args': dict(backend='atomic_local')})

    def before_train(self, runner: Runner) -> None:
        """Find the folder to write to and remove incomplete files of a killed run."""
        super().before_train(runner)
        if is_main_process():
            leftovers = [
                *Path(self.out_dir).glob('.*.pth.*.tmp'),
                *Path(runner.work_dir).glob('.last_checkpoint.*.tmp'),
            ]
            for leftover in leftovers:
                leftover.unlink()

    def _save_checkpoint(self, runner: Runner) -> None:
        """Save.

        Raises:
            TrainingError: The file system refuses, because it is full or may not be written.
        """
        try:
            super()._save_checkpoint(runner)
        except OSError as error:
            self._refused(runner, error)

    def _refused(self, runner: Runner, error: OSError) -> None:
        pointer = Path(runner.work_dir) / 'last_checkpoint'
        last = pointer.read_text().strip() if pointer.is_file() else None
        kept = f'The last checkpoint is {last}' if last else 'There is no checkpoint yet'
        raise TrainingError(
            f'training stopped at iteration {runner.iter + 1}: the checkpoint could not be written'
            f' to {self.out_dir} ({error.strerror or error}). {kept}. Make room or let it be'
            ' written, and go on with --resume'
        ) from error

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save, then name the checkpoint as the last one, then remove the outdated one."""
        outdated = None
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        self.file_backend.put_text(self.last_ckpt, str(Path(runner.work_dir) / 'last_checkpoint'))
        if outdated is not None and outdated != filename:
            Path(self.out_dir, outdated).unlink(missing_ok=True)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Save the best checkpoint, then remove the former best.

        Raises:
            TrainingError: As :meth:`_save_checkpoint`.
        """
        backend, later = self.file_backend, _RemovesLater()
        self.file_backend = later
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            self._refused(runner, error)
        finally:
            self.file_backend = backend
        if not self.save_best:
            return
        if len(self.key_indicators) == 1:
            current = {self.best_ckpt_path}
        else:
            current = set(self.best_ckpt_path_dict.values())
        for path in set(later.noted) - current:  # a repeated iteration overwrites the same name
            Path(path).unlink(missing_ok=True)
