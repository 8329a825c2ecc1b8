"""Parts of an annotation: some of its classes, some of its videos."""

from collections.abc import Iterable, Sequence

from mmstal_da.errors import AnnotationError

from ..annotation import Annotation


def leave_out_ignored(annotation: Annotation) -> int:
    """Remove the ignored tubes of pseudo-labels, which other formats cannot mark.

    Returns:
        How many there were.
    """
    count = 0
    for name, tubes in annotation.tubes.items():
        kept = [tube for tube in tubes if not tube.ignored]
        count += len(tubes) - len(kept)
        annotation.tubes[name] = kept
    return count


def keep_classes(annotation: Annotation, classes: Sequence[str]) -> Annotation:
    """Only tubes of these classes, and only videos that have one."""
    unknown = [name for name in classes if name not in annotation.classes]
    if unknown:
        raise AnnotationError(f'no class {unknown}; the classes are {annotation.classes}')
    tubes = {
        video: [tube for tube in items if tube.label in classes]
        for video, items in annotation.tubes.items()
    }
    kept = [video for video in annotation.videos if tubes.get(video)]
    order = [name for name in annotation.classes if name in classes]
    return keep_videos(
        Annotation(
            annotation.dataset,
            order,
            annotation.videos,
            annotation.splits,
            tubes,
            annotation.pseudo,
        ),
        kept,
    )


def keep_videos(annotation: Annotation, names: Iterable[str]) -> Annotation:
    """Only these videos, in every part of the annotation."""
    kept = set(names)
    return Annotation(
        annotation.dataset,
        annotation.classes,
        {name: video for name, video in annotation.videos.items() if name in kept},
        {key: [name for name in split if name in kept] for key, split in annotation.splits.items()},
        {name: tubes for name, tubes in annotation.tubes.items() if name in kept},
        annotation.pseudo,
    )
