"""Counts of a conversion: what the source held, and what was written."""

from typing import Any

from ..annotation import Annotation
from .problems import Conversion


def statistics(conversion: Conversion) -> dict[str, Any]:
    """Count videos, tubes and boxes.

    Returns:
        ``dataset``; ``source``, its kind in words; ``videos`` and ``tubes`` written; ``boxes``
        of the source; ``boxes_written``, without those left out; ``problems``, a list of
        dicts (:class:`.problems.Problem`); ``classes`` {name: the same counts}; ``splits`` {name:
        the same counts and ``classes``}.
    """
    annotation = conversion.annotation
    everything = _counts(conversion, list(annotation.videos))
    return {
        'dataset': annotation.dataset,
        'source': conversion.kind,
        **{key: everything[key] for key in ('videos', 'tubes', 'boxes', 'boxes_written')},
        'problems': [problem.to_json() for problem in conversion.problems],
        'classes': everything['classes'],
        'splits': {name: _counts(conversion, names) for name, names in annotation.splits.items()},
    }


def summary(annotation: Annotation) -> list[str]:
    """What an annotation holds, a line for every split."""
    lines = []
    for part, names in annotation.splits.items():
        tubes = [tube for name in names for tube in annotation.tubes.get(name, [])]
        boxes = sum(len(tube.frames) for tube in tubes)
        lines.append(f'{part}: {len(names)} videos, {len(tubes)} tubes, {boxes} boxes')
    return lines


def _counts(conversion: Conversion, names: list[str]) -> dict[str, Any]:
    """Counts over some videos, and the same per class."""
    annotation, chosen = conversion.annotation, set(names)
    classes = {
        label: dict(videos=0, tubes=0, boxes=0, boxes_written=0) for label in annotation.classes
    }
    left_out = 0
    for name in names:
        tubes = annotation.tubes.get(name, [])
        for label in {tube.label for tube in tubes}:
            classes[label]['videos'] += 1
        for tube in tubes:
            classes[tube.label]['tubes'] += 1
            classes[tube.label]['boxes'] += len(tube.frames)
            classes[tube.label]['boxes_written'] += len(tube.frames)
    for problem in conversion.problems:
        if problem.video in chosen and problem.boxes:
            left_out += problem.boxes
            if problem.label in classes:
                classes[problem.label]['boxes'] += problem.boxes
    written = sum(count['boxes_written'] for count in classes.values())
    return dict(
        videos=len(names),
        tubes=sum(count['tubes'] for count in classes.values()),
        boxes=written + left_out,
        boxes_written=written,
        classes=classes,
    )
