"""Selects the videos and classes of an annotation file that are used.

Datasets and metrics use the same functions, so they select the same samples.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np

from mmstal_da.errors import AnnotationError

from .annotation import Annotation, Tube

IGNORED = -1
"""Label of a box that is neither an example of an action nor of background."""


def refuse_pseudo_labels(annotation: Annotation, where: str) -> None:
    """Raise for a model's labels where a person's are expected.

    Args:
        annotation: The annotation.
        where: The file's name.

    Raises:
        AnnotationError: The annotation holds pseudo-labels.
    """
    if annotation.pseudo is not None:
        raise AnnotationError(
            f'{where} holds pseudo-labels, which a model found: they are no ground truth. Train on'
            " them with train_on='source_and_pseudo'; for anything else give a labelled file"
        )


def select_videos(annotation: Annotation, split: str, patterns: Sequence[str] | None) -> list[str]:
    """Videos of a split whose *name* matches one of the patterns. No labels are used.

    Args:
        annotation: The annotation.
        split: Name of the split.
        patterns: Shell patterns such as ``'Basketball/*'``; None takes every video.

    Returns:
        Video names in the order of the split.

    Raises:
        ValueError: A pattern matches nothing.
    """
    names = annotation.split(split)
    if patterns is None:
        return list(names)
    if isinstance(patterns, str):
        raise ValueError(f'`videos` is a list of patterns, not the string {patterns!r}')
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f'`videos` pattern {pattern!r} matches no video of split {split!r} of'
                f' {annotation.dataset!r}, which has names such as {names[:3]}'
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def class_labels(
    file_classes: Sequence[str],
    classes: Sequence[str] | None,
    class_map: Mapping[str, str] | None,
) -> tuple[list[str], dict[str, int]]:
    """The model's classes, and the label of each class of the file that maps to one of them.

    Args:
        file_classes: Class names of the annotation file.
        classes: Names of the model's classes in label order; None takes the file's classes,
            renamed.
        class_map: Class of the file -> class of the model. A class that is not named keeps its
            own name. Several may map to one.

    Returns:
        The model's classes, and file class -> label for the file's classes that are kept.

    Raises:
        ValueError: A name is on the wrong side of the map, or no class of the file maps to a
            class of the model.
    """
    class_map = dict(class_map or {})
    unknown = sorted(set(class_map) - set(file_classes))
    if unknown:
        raise ValueError(
            f'`class_map` renames {unknown}, which the annotation file lacks; its classes are'
            f' {list(file_classes)}{_suggestion(unknown, file_classes)}'
        )
    renamed = {name: class_map.get(name, name) for name in file_classes}
    if classes is None:
        classes = list(dict.fromkeys(renamed.values()))
    classes = list(classes)
    if not classes:
        raise ValueError('`classes` is empty; leave it out for all classes of the file')
    if len(set(classes)) != len(classes):
        raise ValueError(f'`classes` names a class twice: {classes}')
    unknown = sorted(set(class_map.values()) - set(classes))
    if unknown:
        raise ValueError(
            f'`class_map` maps to {unknown}, which `classes` {classes} lacks'
            f'{_suggestion(unknown, classes)}'
        )
    missing = [name for name in classes if name not in renamed.values()]
    if missing:
        raise ValueError(
            f'no class of the annotation file maps to {missing}; its classes are'
            f' {list(file_classes)}: add the missing ones to `class_map`'
            f'{_suggestion(missing, file_classes)}'
        )
    label = {name: number for number, name in enumerate(classes)}
    return classes, {old: label[new] for old, new in renamed.items() if new in label}


def _suggestion(names: Sequence[str], known: Sequence[str]) -> str:
    """The end of a message: what was probably meant, or nothing."""
    close = [match for name in names for match in get_close_matches(name, known, n=1)]
    return f'; was {close[0]!r} meant?' if close else ''


def merge_boxes(
    boxes: np.ndarray, labels: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of one frame with all their classes: equal boxes, of tubes of several classes, are one.

    Args:
        boxes: (n, 4) float32.
        labels: (n,) int64.
        num_classes: C.

    Returns:
        The different boxes (k, 4), in their order, and (k, C) float32: 1 for every class of a box;
        :data:`IGNORED` everywhere for a box without any other label.
    """
    _, first, index = np.unique(boxes, axis=0, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[np.ravel(index)]  # of every box among the different ones
    merged = np.zeros((len(first), num_classes), np.float32)
    known = labels != IGNORED
    merged[place[known], labels[known]] = 1
    merged[~merged.any(1)] = IGNORED
    return boxes[np.sort(first)], merged


def boxes_by_frame(
    tubes: Sequence[Tube], labels: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All boxes of the kept classes of one video, sorted by frame.

    Args:
        tubes: Tubes of the video.
        labels: Class of the file -> label; tubes of other classes are left out.

    Returns:
        frames (m,) int64, boxes (m, 4) float32 and labels (m,) int64, :data:`IGNORED` for boxes of
        tubes that are ignored.
    """
    kept = [tube for tube in tubes if tube.label in labels]
    if not kept:
        return np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    frames = np.concatenate([tube.frames for tube in kept])
    boxes = np.concatenate([tube.boxes for tube in kept])
    numbers = np.repeat(
        [IGNORED if tube.ignored else labels[tube.label] for tube in kept],
        [len(tube.frames) for tube in kept],
    ).astype(np.int64)
    order = np.argsort(frames, kind='stable')
    return frames[order], boxes[order], numbers[order]
