"""Logs during a training whether its adaptation works, and warns in words if it does not."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmstal_da.domains import TARGET
from mmstal_da.models.adaptation.gradients import MAPS, MODULES, gradient_shares
from mmstal_da.models.detectors import DomainAdaptiveDetector
from mmstal_da.registry import HOOKS
from mmstal_da.utils.values import SHARE, check_values, whole
from mmstal_da.utils.wrapped import student_of

from ..monitor.diagnosis import diagnose
from ..monitor.measures import (
    class_entropy,
    class_mass,
    diversity,
    predict_boxes,
)

GIVEN = 'adaptation_warnings'  # in the message hub, and so in checkpoints


@HOOKS.register_module()
class AdaptationMonitorHook(Hook):
    """Logs what a training of ``DomainAdaptiveDetector`` does to the domains.

    ============================== =============================================================
    ``acc_da_<d>``                 accuracy of a discriminator, mean of both domains; guessing: 0.5
    ``loss_ratio_da_<d>``          its loss over that of all logits 0, without lambda; guessing: 1
    ``grad_share_da_<d>_<map>``    norm of its reversed gradient at SF, at TF1 or at the layer that
                                   it taps, over that of the detection losses
    ``target_entropy``             entropy of the class of the target's proposals, weighted by
                                   p(action), over ln C
    ``target_diversity``           entropy of all their classes together, over ln C; 0: one class
    ``target_confident``           detections per target frame with a score of at least
                                   ``score_thr``, after NMS
    ============================== =============================================================

    ``<d>`` is ``spatial``, ``timg`` or ``tinst``. The first two are of every iteration. The others
    are measured every ``interval`` iterations, on the features of the step itself, and hold until
    the next measure, so that means over the log window are means of measures. With several
    processes these are means over the processes. Labels of the target are not read. The training is
    the same with and without the hook.

    A measure costs the backward pass of the heads alone and the RoI head's forward pass on the
    target: on the quickstart's network 29 % of a step's CPU time, so 0.6 % of the training, and
    what is done in every iteration another 0.1 %. Without adaptation (no ``adaptation`` and no
    ``domain_norm``) the hook does nothing.

    It warns, once each: a discriminator guesses since the beginning; one is perfect while its
    gradient is negligible; the target's predictions collapse to one class. See
    :func:`mmstal_da.engine.monitor.diagnosis.diagnose`.

    Args:
        interval: Iterations between two measures.
        score_thr: Least score of a confident detection.
        patience: Iterations that a state lasts before a warning.
    """

    priority = 'NORMAL'  # before LoggerHook

    value_rules = dict(interval=whole(), score_thr=SHARE, patience=whole())

    def __init__(self, interval: int = 50, score_thr: float = 0.5, patience: int = 300) -> None:
        check_values(self.value_rules, locals())
        self.interval = interval
        self.score_thr = score_thr
        self.patience = patience
        self._on: dict[str, str] = {}  # discriminator -> place of its gradient
        self._active = False
        self._handles: list[RemovableHandle] = []
        self._tap_handles: list[RemovableHandle] = []
        self._tapped: dict[str, Tensor] = {}
        self._ratios: dict[str, Tensor] = {}
        self._measured: dict[str, float] | None = None
        self._mass: Tensor | None = None
        self._masses: deque[Tensor] = deque(maxlen=max(1, patience // interval))
        self._held: dict[str, float] = {}

    def before_train(self, runner) -> None:
        """See which discriminators there are."""
        detector = _unwrap(runner.model)
        adaptation = getattr(detector, 'adaptation', None)
        self._active = adaptation is not None or getattr(detector, 'domain_norm', None) is not None
        if adaptation is None:
            return
        for name, attribute in MODULES.items():
            if getattr(adaptation, attribute) is not None:
                tap = detector.taps.get(attribute)
                self._on[name] = MAPS[name] if tap is None else tap.layer
                loss = getattr(adaptation, f'{attribute}_loss')
                hook = partial(self._compare_with_guessing, name)
                self._handles.append(loss.register_forward_hook(hook, with_kwargs=True))

    def after_train(self, runner) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Have the step measured, every so many iterations."""
        if not self._active or runner.iter % self.interval:
            return
        detector = _unwrap(runner.model)
        detector.observer = partial(self._observe, detector, _loss_scale(runner.optim_wrapper))
        for attribute, tap in detector.taps.items():
            catch = partial(self._catch, attribute)
            self._tap_handles.append(tap.module.register_forward_hook(catch))

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Give the scalars to the message hub; after a measure, look for what is wrong."""
        if not self._active:
            return
        detector = _unwrap(runner.model)
        measured = detector.observer is not None
        detector.observer = None
        for handle in self._tap_handles:
            handle.remove()
        self._tap_handles.clear()
        self._tapped.clear()
        if measured:
            self._hold(next(detector.parameters()).device)
        scalars = {**self._of_outputs(outputs or {}), **self._held}
        for key, value in scalars.items():
            runner.message_hub.update_scalar(f'train/{key}', value)
        if measured:
            self._warn(runner)

    def _compare_with_guessing(self, name: str, loss: nn.Module, args, kwargs, output) -> None:
        """Keep a discriminator's loss as a share of that of logits 0."""
        logits, *rest = args
        with torch.no_grad():
            self._ratios[name] = output / loss.forward(torch.zeros_like(logits), *rest, **kwargs)

    def _catch(self, attribute: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if torch.is_grad_enabled():
            self._tapped[attribute] = output

    def _observe(
        self,
        detector: DomainAdaptiveDetector,
        loss_scale: float,
        losses: dict,
        maps: dict[str, Tensor],
        samples: Sequence,
        proposals: Sequence[Tensor],
    ) -> None:
        """Measure a step; ``DomainAdaptiveDetector.loss`` calls it before it returns."""
        places = {
            name: (place, self._tapped.get(MODULES[name], maps[MAPS[name]]))
            for name, place in self._on.items()
        }
        shares = gradient_shares(losses, places, loss_scale) if places else {}
        self._measured = {f'grad_share_da_{key}': value for key, value in shares.items()}
        first = sum(sample.metainfo['domain'] != TARGET for sample in samples)
        most = detector.test_cfg.rpn.max_per_img
        probabilities, scores = predict_boxes(
            detector.roi_head,
            maps['TF1'][first:].detach(),
            [boxes[:most] for boxes in proposals[first:]],
            samples[first:],
        )
        confident = sum(int((score >= self.score_thr).sum()) for score in scores)
        self._measured['target_confident'] = confident / (len(samples) - first)
        self._mass = class_mass(probabilities)
        if len(probabilities) and len(self._mass) > 1:
            self._measured['target_entropy'] = class_entropy(probabilities)

    def _hold(self, device: torch.device) -> None:
        """Hold the means of a measure over all processes; what it lacks stays as it was."""
        shares = [f'grad_share_da_{name}_{place}' for name, place in self._on.items()]
        keys = [*shares, 'target_confident', 'target_entropy']
        measured, mass = self._measured or {}, self._mass
        values = torch.tensor([measured.get(key, torch.nan) for key in keys], device=device)
        there = values.isfinite().float()
        parts = [values.nan_to_num(0, 0, 0), there]
        parts += [] if mass is None else [mass.to(values)]
        packed = torch.cat(parts)
        all_reduce(packed)
        sums, counts, mass = packed.split([len(keys), len(keys), len(packed) - 2 * len(keys)])
        for key, value, count in zip(keys, sums.tolist(), counts.tolist(), strict=True):
            if count:
                self._held[key] = value / count
        if len(mass) > 1 and mass.any():
            self._masses.append(mass.cpu())
            self._held['target_diversity'] = diversity(torch.stack(tuple(self._masses)).sum(0))
        self._measured = self._mass = None

    def _of_outputs(self, outputs: dict) -> dict[str, float]:
        """Scalars of every iteration; without those that a batch without proposals lacks."""
        scalars = {}
        for name in self._on:
            source, target = (outputs.get(f'acc_da_{name}_{d}') for d in ('source', 'target'))
            if source is not None and target is not None:
                scalars[f'acc_da_{name}'] = (float(source) + float(target)) / 2
            ratio = float(self._ratios.pop(name, torch.nan))
            if ratio == ratio:  # not 0 / 0
                scalars[f'loss_ratio_da_{name}'] = ratio
        return scalars

    def _warn(self, runner) -> None:
        """Say what is wrong, unless it was said before."""
        hub = runner.message_hub
        curves = {
            key.removeprefix('train/'): buffer.data[0]
            for key, buffer in hub.log_scalars.items()
            if key.startswith('train/')
        }
        given = list(hub.runtime_info.get(GIVEN, ()))
        for key, message in diagnose(curves, self.patience, self._on, self._top(runner)).items():
            if key not in given:
                runner.logger.warning(f'adaptation: {message}')
                given.append(key)
                hub.update_info(GIVEN, given)

    def _top(self, runner) -> str:
        """Name of the class that most of the target is predicted as."""
        if not self._masses:
            return ''
        classes = runner.train_dataloader.dataset.metainfo.get('classes') or ()
        index = int(torch.stack(tuple(self._masses)).sum(0).argmax())
        return classes[index] if index < len(classes) else str(index)


def _unwrap(model: nn.Module) -> DomainAdaptiveDetector:
    """The detector; of another model only what it may lack is asked."""
    return cast(DomainAdaptiveDetector, student_of(model))


def _loss_scale(wrapper: object) -> float:
    """The factor of an ``AmpOptimWrapper`` on its losses; 1 of others."""
    get_scale: Callable[[], float] | None = getattr(
        getattr(wrapper, 'loss_scaler', None), 'get_scale', None
    )
    return 1.0 if get_scale is None else get_scale()
