"""Tests in float32 if bfloat16 is not native, and records the precision of a run."""

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook

from mmstal_da.registry import HOOKS

from ..precision import bfloat16_or_float32

TRAIN_KEY = 'train_precision'
TEST_KEY = 'test_precision'


@HOOKS.register_module()
class PrecisionHook(Hook):
    """Switches ``val_cfg.fp16`` and ``test_cfg.fp16`` off on CPUs without bfloat16.

    MMEngine's loops compute in bfloat16 on a CPU if their key ``fp16`` is set, and in float16 on a
    GPU. The hook also records the precision. The checkpoint holds that of the training
    (``message_hub``, key ``train_precision``; ``'bfloat16+float32'`` if it was resumed on another
    kind of machine). The metrics of a test hold it together with ``test_precision``.
    """

    # before LoggerHook writes the metrics
    priority = 'NORMAL'

    def __init__(self) -> None:
        self.trained_in: str | None = None

    def before_run(self, runner) -> None:
        """Switch ``fp16`` off if the CPU would emulate it. The loops exist at this point."""
        for loop in (runner._val_loop, runner._test_loop):
            wants = getattr(loop, 'fp16', False)
            if wants and get_device() == 'cpu' and bfloat16_or_float32() == torch.float32:
                loop.fp16 = False

    def before_train(self, runner) -> None:
        """Add this machine's precision to that of the earlier iterations."""
        now = training_precision(runner.optim_wrapper)
        before = runner.message_hub.runtime_info.get(TRAIN_KEY)
        parts = {now} | (set(before.split('+')) if before and runner.iter > 0 else set())
        runner.message_hub.update_info(TRAIN_KEY, '+'.join(sorted(parts)))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Read how the checkpoint was trained."""
        info = checkpoint.get('message_hub', {}).get('runtime_info', {})
        self.trained_in = info.get(TRAIN_KEY)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """Add both precisions to the metrics."""
        runner.message_hub.update_info(f'test/{TEST_KEY}', loop_precision(runner.test_loop))
        runner.message_hub.update_info(f'test/{TRAIN_KEY}', self.trained_in)


def training_precision(wrapper: object) -> str:
    """The precision of an optimizer wrapper's forward pass, for example ``'float32'``."""
    dtype = getattr(wrapper, 'dtype', None) or getattr(wrapper, 'cast_dtype', None)
    if dtype is None and hasattr(wrapper, 'loss_scaler'):  # AmpOptimWrapper without a type
        dtype = torch.get_autocast_dtype('cuda')
    return str(dtype or torch.float32).removeprefix('torch.')


def loop_precision(loop: object) -> str:
    """The precision of a test loop."""
    if not getattr(loop, 'fp16', False):
        return 'float32'
    return 'bfloat16' if get_device() == 'cpu' else 'float16'
