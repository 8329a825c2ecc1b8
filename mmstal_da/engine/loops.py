"""The training loop that resumes without replaying the data."""

from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator

from mmstal_da.datasets.samplers import DrawSampler
from mmstal_da.registry import LOOPS

SEED_KEY = 'draw_seed'


@LOOPS.register_module()
class DrawTrainLoop(IterBasedTrainLoop):
    """An iteration-based loop over the draws of a :class:`DrawSampler`.

    When MMEngine's loop resumes, it decodes every batch of the finished iterations again. This
    loop starts the sampler at position ``iter * batch_size``, where it stopped. The checkpoint's
    message hub holds the seed of the draws. So a resumed run continues with the same stream even
    if it was started without ``--seed``. Resume with the same batch size and number of GPUs.
    Otherwise some draws are repeated or left out.

    Args:
        As :class:`mmengine.runner.IterBasedTrainLoop`.

    Raises:
        TypeError: The data loader has no :class:`DrawSampler`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.sampler = self.dataloader.sampler
        if not isinstance(self.sampler, DrawSampler):
            raise TypeError(
                'DrawTrainLoop needs train_dataloader.sampler=dict(type="DrawSampler"), not'
                f' {type(self.sampler).__name__}; for other samplers use IterBasedTrainLoop'
            )

    def run(self) -> None:
        """Train to ``max_iters``."""
        if self._iter > 0:
            self.sampler.seed = self.runner.message_hub.runtime_info.get(
                SEED_KEY, self.sampler.seed
            )
            self.sampler.start = self._iter * self.dataloader.batch_size
            self.dataloader_iterator = _InfiniteDataloaderIterator(self.dataloader)
        self.runner.message_hub.update_info(SEED_KEY, self.sampler.seed)
        # the rest is as in IterBasedTrainLoop.run, except that it would advance the data loader
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            if (
                self.runner.val_loop is not None
                and self._iter >= self.val_begin
                and (self._iter % self.val_interval == 0 or self._iter == self._max_iters)
            ):
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model
