"""Checkpoints that cannot be what they are taken for: unreadable, empty, NaN, of another model."""

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import Tensor

import mmstal_da.registry  # noqa: F401  (torch.load then reads what MMEngine saves)
from mmstal_da.engine.hooks.finite_hook import first_not_finite
from mmstal_da.errors import CheckpointError, UsageError
from mmstal_da.utils.wrapped import PREDICTORS, detector_config, predicting_part

UNREADABLE = (
    *(RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError),
    *(ImportError, MemoryError, pickle.UnpicklingError, zipfile.BadZipFile),
)
# a test does without the discriminators, whether the checkpoint or the config has them
TRAINING_ONLY = ('adaptation.', 'student.adaptation.', 'teacher.adaptation.', 'thresholds.')
SHOWN = 3


def check_checkpoint(path: str) -> str:
    """Return ``path``, a checkpoint: a local file that can be read, or a URL.

    Raises:
        UsageError: There is no such file.
        CheckpointError: It is no checkpoint, is truncated, has no weights, or some are not finite.
    """
    if '://' in path:
        return path
    if not Path(path).is_file():
        raise UsageError(
            f'checkpoint {path} does not exist; tools/train.py writes checkpoints '
            'into its --work-dir'
        )
    weights_of(read_checkpoint(path), path)
    return path


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A checkpoint file.

    Raises:
        CheckpointError: It is no checkpoint, or a truncated one.
    """
    try:
        loaded = torch.load(path, map_location='cpu', weights_only=True)
    except UNREADABLE as error:
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        raise CheckpointError(
            f'checkpoint {path} cannot be read, it is truncated or none'
            f' ({os.path.getsize(path)} bytes; {reason}); take another one'
        ) from error
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f'checkpoint {path} holds a {type(loaded).__name__}, no weights')
    return dict(loaded)


def weights_of(loaded: Mapping, path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights of a checkpoint.

    Raises:
        CheckpointError: It has none, or some are not finite.
    """
    state = loaded.get('state_dict', loaded)
    tensors = {k: v for k, v in dict(state).items() if isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(
            f'checkpoint {path} has no weights; it has the keys {sorted(map(str, loaded))}'
        )
    floats = ((k, v) for k, v in tensors.items() if v.is_floating_point())
    bad = first_not_finite(floats)
    if bad is not None:
        raise CheckpointError(
            f'checkpoint {path}: {bad}; the training that wrote it had diverged. Take an earlier'
            ' one'
        )
    return {key.removeprefix('module.'): value for key, value in tensors.items()}


def detector_of(
    model: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[Any, dict[str, Tensor]]:
    """Config and weights of the detector that predicts, without a teacher and student around it.

    Args:
        model: ``cfg.model``. That of a ``TeacherStudentDetector`` is unwrapped.
        state: Weights. Of a teacher and student, those are taken that ``model.test_cfg.predict_on``
            names, by default the teacher's.
    """
    part = predicting_part(model)
    if part is None or not _has_parts(state):
        return detector_config(model), dict(state)
    found = {k.removeprefix(f'{part}.'): v for k, v in state.items() if k.startswith(f'{part}.')}
    return detector_config(model), found


def _has_parts(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are those of a teacher and a student."""
    return any(key.startswith(f'{PREDICTORS[0]}.') for key in state)


def check_fit(
    state: Mapping[str, Tensor], model: torch.nn.Module, path: str, ignored: tuple[str, ...] = ()
) -> None:
    """Check that weights are those of a model: all names, all shapes, the same kinds of norms.

    Args:
        state: The weights.
        model: The model.
        path: Of the checkpoint, for messages.
        ignored: Beginnings of names that may be missing or unexpected.

    Raises:
        CheckpointError: They are of another model.
    """
    wanted = model.state_dict()
    names = [set(wanted) - set(state), set(state) - set(wanted)]
    missing, unexpected = (
        sorted(k for k in part if not k.startswith(ignored or ('\0',))) for part in names
    )
    missing = [key for key in missing if not key.endswith('num_batches_tracked')]
    shapes = [
        f'{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}'
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    problems = [
        f'{len(found)} {what} ({", ".join(found[:SHOWN])}{", …" if len(found) > SHOWN else ""})'
        for what, found in (
            ('are missing', missing), ('are unexpected', unexpected),
            ('have another shape', shapes),
        )
        if found
    ]  # fmt: skip
    if problems:
        raise CheckpointError(
            f'checkpoint {path} is of another model than the config: of {len(wanted)} tensors'
            f' {", ".join(problems)}.{_hint(missing, unexpected)}'
        )


def _hint(missing: list[str], unexpected: list[str]) -> str:
    """The likely reason, if statistics per domain are it."""
    if any(key.startswith('student.') for key in unexpected):
        return ' It is of a TeacherStudentDetector: give the config that it was trained with'
    if any('.target_running_' in key for key in missing):
        return ' It has no statistics per domain: test it with model.domain_norm=None'
    if any('.target_running_' in key for key in unexpected):
        return " It has statistics per domain: test it with model.domain_norm='target'"
    return ''


class LoadedWeightsHook(Hook):
    """Checks what a runner loads, before it is loaded.

    What is tested, or resumed, must be of the model. Weights that a training only begins with
    (``load_from``) may fit in part, and the log says which do; that none fits is an error.

    Args:
        testing: Whether the runner tests.
    """

    priority = 'VERY_HIGH'

    def __init__(self, testing: bool) -> None:
        self.testing = testing

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check the weights."""
        path = str(runner._load_from or runner.work_dir)
        state = weights_of(checkpoint, path)
        model = getattr(runner.model, 'module', runner.model)
        if hasattr(model, 'teacher') and not _has_parts(state):
            # of a detector alone: the teacher and the student both load it
            state = {f'{part}.{key}': state[key] for part in PREDICTORS for key in state}
        if self.testing or runner._resume:
            check_fit(state, model, path, TRAINING_ONLY if self.testing else ())
            return
        wanted = model.state_dict()
        fitting = [k for k, v in state.items() if k in wanted and v.shape == wanted[k].shape]
        if not fitting:
            raise CheckpointError(
                f'load_from: none of the {len(state)} tensors of {path} is of the model'
            )
        print_log(f'load_from: {len(fitting)} of {len(wanted)} tensors come from {path}', 'current')
