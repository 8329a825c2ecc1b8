"""The detector within a wrapper: a teacher and its student, or the processes' shared model."""

from collections.abc import Mapping
from typing import Any

KIND = 'TeacherStudentDetector'
PREDICTORS = ('teacher', 'student')


def is_wrapped(model: Mapping[str, Any] | None) -> bool:
    """Whether a model's config is that of a ``TeacherStudentDetector``."""
    kind = (model or {}).get('type', '')
    kind = kind if isinstance(kind, str) else kind.__name__
    return kind.rpartition('.')[2] == KIND


def detector_config(model: Mapping[str, Any] | None) -> Any:
    """The config of the detector: within a ``TeacherStudentDetector``'s its key ``detector``."""
    return (model or {})['detector'] if is_wrapped(model) else (model or {})


def predicting_part(model: Mapping[str, Any] | None) -> str | None:
    """Which part of a ``TeacherStudentDetector`` predicts; None of any other model's config."""
    if not is_wrapped(model):
        return None
    return ((model or {}).get('test_cfg') or {}).get('predict_on', PREDICTORS[0])


def student_of(model: Any) -> Any:
    """The detector that learns, of a runner's model: within DDP, within a teacher and student."""
    model = getattr(model, 'module', model)
    return getattr(model, 'student', model)


def predictor_of(model: Any) -> Any:
    """The detector that predicts at validation and test, of a runner's model."""
    model = getattr(model, 'module', model)
    return getattr(model, 'predictor', model)
