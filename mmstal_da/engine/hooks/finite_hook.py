"""Stops a training whose numbers are no numbers any more, before anything of it is saved."""

import logging
import types
from collections.abc import Iterable, Iterator, Sequence
from math import inf, isfinite

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor

from mmstal_da.errors import TrainingError
from mmstal_da.registry import HOOKS
from mmstal_da.utils.values import check_values, whole

SKIPPED_KEY = 'skipped_steps'
# a scaler that begins at 65536 and halves has reached 2^-24 by then: not the scale is at fault
MOST_SCALER_SKIPS = 40


@HOOKS.register_module()
class FiniteHook(Hook):
    """Checks losses, gradients and weights of every iteration for NaN and infinity.

    A loss that is not finite is not propagated, and a gradient that is not finite makes no step. So
    the weights stay those of the iteration before. Then the training stops with an error that names
    the iteration, what is not finite, and the clips. Nothing is saved after it: the last checkpoint
    remains, also with ``max_keep_ckpts=1``. After every step the weights and statistics are
    checked, too.

    With a loss scaler (``AmpOptimWrapper``) gradients in float16 overflow now and then. The scaler
    itself leaves such steps out and lowers its scale, so they are no error unless 40 follow on each
    other.

    All processes decide alike, so none waits for another.

    Args:
        allowed_skips: So many steps of the whole training may be left out because of a loss or
            gradient that is not finite. Each is logged. Statistics or weights that are not finite
            always stop the training.
    """

    # before anything is logged or saved
    priority = 'VERY_HIGH'
    value_rules = dict(allowed_skips=whole(0))

    def __init__(self, allowed_skips: int = 0) -> None:
        check_values(self.value_rules, locals())
        self.allowed_skips = allowed_skips
        self.skipped = False  # this iteration made no step
        self.found: list[str] = []  # why, in this process
        self.scaler_skips = 0
        self.state: list[tuple[str, Tensor]] = []

    def before_train(self, runner) -> None:
        """Look at every loss before its backward pass, and at every gradient before its step."""
        self.state = list(_state(runner.model))
        for wrapper in _wrappers(runner.optim_wrapper):
            self._guard(runner, wrapper)

    def after_train(self, runner) -> None:
        """Leave the optimizer wrapper as it was."""
        for wrapper in _wrappers(runner.optim_wrapper):
            for name in ('update_params', 'step'):
                vars(wrapper).pop(name, None)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Stop, or note that a step was left out."""
        skipped, found = self.skipped, self.found
        self.skipped, self.found = False, []
        state = first_not_finite(self.state)
        if _any_process(state is not None):
            self._stop(runner, data_batch, [*_losses(outputs or {}), state] if state else [])
        if not skipped:
            return
        hub = runner.message_hub
        count = (hub.runtime_info.get(SKIPPED_KEY) or 0) + 1
        found = _losses(outputs or {}) or found
        if count > self.allowed_skips:
            self._stop(runner, data_batch, found)
        hub.update_info(SKIPPED_KEY, count)
        print_log(
            f'iteration {runner.iter + 1} made no step, {count} of {self.allowed_skips} that may be'
            f' left out (FiniteHook.allowed_skips): {"; ".join(found) or "another process"} on'
            f' {", ".join(clips_of(data_batch))}',
            logger='current',
            level=logging.WARNING,
        )

    def _guard(self, runner, wrapper: OptimWrapper) -> None:
        update, step = wrapper.update_params, wrapper.step
        hook = self

        def update_params(self, loss: Tensor, *args, **kwargs) -> None:
            here = not bool(torch.isfinite(loss.detach()))
            if not _any_process(here):
                update(loss, *args, **kwargs)
                return
            hook.skipped = True
            hook.found += [f'the loss is {float(loss.detach())}'] if here else []
            # an iteration as any other for what counts them
            self._inner_count += 1
            if self.should_update():
                self.zero_grad()

        def guarded_step(self, **kwargs) -> None:
            scaler = getattr(self, 'loss_scaler', None)
            if scaler is not None and scaler.is_enabled():
                before = scaler.get_scale()
                step(**kwargs)
                hook._count_scaler_skips(runner, before, scaler.get_scale())
                return
            parameters = [p for group in self.optimizer.param_groups for p in group['params']]
            gradients = [(id(p), p.grad) for p in parameters if p.grad is not None]
            bad = first_not_finite(gradients)
            if bad is None:
                step(**kwargs)
                return
            number, what = bad.split(' ', 1)
            hook.skipped = True
            names = {id(p): name for name, p in runner.model.named_parameters()}
            hook.found.append(f'the gradient of {names.get(int(number), "a parameter")} {what}')

        vars(wrapper)['update_params'] = types.MethodType(update_params, wrapper)
        vars(wrapper)['step'] = types.MethodType(guarded_step, wrapper)

    def _count_scaler_skips(self, runner, before: float, after: float) -> None:
        self.scaler_skips = self.scaler_skips + 1 if after < before else 0
        if self.scaler_skips >= MOST_SCALER_SKIPS:
            raise TrainingError(
                f'training stopped at iteration {runner.iter + 1}: gradients were not finite in'
                f' {self.scaler_skips} iterations on end, whatever the loss scale (now {after:g});'
                f' {_advice(runner)}'
            )

    def _stop(self, runner, data_batch, found: Sequence[str]) -> None:
        mine = (list(found), clips_of(data_batch)) if found else ([], [])
        everyone = all_gather_object(mine) if get_world_size() > 1 else [mine]
        found = list(dict.fromkeys(what for whats, _ in everyone for what in whats))
        clips = list(dict.fromkeys(clip for _, of in everyone for clip in of))
        raise TrainingError(
            f'training stopped at iteration {runner.iter + 1}: {"; ".join(found)} on'
            f' {", ".join(clips) or "an unknown batch"}. {_advice(runner)}'
        )


def _advice(runner) -> str:
    """What is left, and what to do."""
    last = runner.message_hub.runtime_info.get('last_ckpt')
    kept = f'The last checkpoint is {last}' if last else 'No checkpoint was written before'
    return (
        f'Nothing of this iteration was saved. {kept}. Lower the learning rate or lambda, look at'
        ' these clips (tools/data/browse.py), or let default_hooks.finite.allowed_skips=N such'
        ' steps be left out'
    )


def _losses(outputs: dict) -> list[str]:
    """What of a step's outputs is a loss and not finite."""
    losses = ((k, float(torch.as_tensor(v).detach())) for k, v in outputs.items() if 'loss' in k)
    return [f'{name} is {value}' for name, value in losses if not isfinite(value)]


def _wrappers(wrapper: OptimWrapper) -> list[OptimWrapper]:
    """One optimizer wrapper, or those of an ``OptimWrapperDict``."""
    several = getattr(wrapper, 'optim_wrappers', None)
    return [wrapper] if several is None else list(several.values())


def _state(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights and statistics, with names for messages."""
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.is_floating_point():
            yield name.removeprefix('module.'), value


def first_not_finite(tensors: Iterable[tuple[object, Tensor]]) -> str | None:
    """``'NAME is nan'`` or ``'NAME is inf'`` of the first such tensor; None if all are finite.

    The largest magnitude of a tensor is computed, which is NaN if one element is. Unlike a sum, it
    does not overflow.
    """
    named = [(name, value.detach()) for name, value in tensors if value.numel()]
    if not named:
        return None
    largest = torch._foreach_norm([value for _, value in named], inf)
    # one transfer for all
    values = torch.stack([value.float().to(largest[0].device) for value in largest]).tolist()
    for (name, _), value in zip(named, values, strict=True):
        if not isfinite(value):
            return f'{name} is {value}'
    return None


def _any_process(here: bool) -> bool:
    """Whether it is so in any process."""
    if get_world_size() == 1:
        return here
    flag = torch.tensor([float(here)])
    all_reduce(flag, 'max')
    return bool(flag)


def clips_of(batch: object) -> list[str]:
    """The clips of a batch, whatever holds them: ``"'push/3' frame 17"`` each."""
    meta = getattr(batch, 'metainfo', None)
    if isinstance(meta, dict):
        name = meta.get('video_name') or meta.get('filename') or meta.get('img_path')
        frame = meta.get('key_frame')
        return [] if name is None else [f'{name!r}' + (f' frame {frame}' if frame else '')]
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, list | tuple):
        return [clip for part in batch for clip in clips_of(part)]
    return []
