"""Steps that every conversion shares: splits, classes, and where the videos lie."""

import os
from collections.abc import Sequence
from pathlib import Path

from ..annotation import Annotation, AnnotationError

VIDEO_SUFFIXES = ('.avi', '.mp4', '.gif', '.mkv', '.mov', '.webm', '.mpg', '.mpeg')


def add_split(annotation: Annotation, name: str, path: str | os.PathLike) -> None:
    """Add a split from a list of video names, one a line; an extension is ignored."""
    with open(path, encoding='utf-8') as file:
        names = [line.strip() for line in file if line.strip()]
    names = [os.path.splitext(n)[0] if n.endswith(VIDEO_SUFFIXES) else n for n in names]
    unknown = [video for video in names if video not in annotation.videos]
    if unknown:
        raise AnnotationError(
            f'{os.fspath(path)} lists {len(unknown)} videos that the annotation lacks:'
            f' {unknown[:3]}'
        )
    if name in annotation.splits:
        raise AnnotationError(
            f'two files for split {name!r}; name them: --splits train1=PATH train2=PATH'
        )
    annotation.splits[name] = names


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
        Annotation(annotation.dataset, order, annotation.videos, annotation.splits, tubes), kept
    )


def keep_videos(annotation: Annotation, names: Sequence[str]) -> Annotation:
    """Only these videos, in every part of the annotation."""
    kept = set(names)
    return Annotation(
        annotation.dataset,
        annotation.classes,
        {name: video for name, video in annotation.videos.items() if name in kept},
        {key: [name for name in split if name in kept] for key, split in annotation.splits.items()},
        {name: tubes for name, tubes in annotation.tubes.items() if name in kept},
    )


def locate_videos(
    annotation: Annotation, folder: str | os.PathLike, only_present: bool = False
) -> Annotation:
    """Point every video at its file under a folder, whatever its extension and subfolder.

    Args:
        annotation: Its videos are named ``<class>/<video>``; the file's name is
            ``<video>.<extension>``.
        folder: Where to look, at any depth; paths become relative to it.
        only_present: Leave out videos without a file instead of complaining.

    Raises:
        AnnotationError: A video without a file, or with several.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AnnotationError(f'no folder {str(folder)!r}')
    files: dict[str, list[Path]] = {}
    for root, _, filenames in os.walk(folder, followlinks=True):
        for filename in filenames:
            if filename.lower().endswith(VIDEO_SUFFIXES):
                path = Path(root, filename).relative_to(folder)
                files.setdefault(path.stem, []).append(path)
    missing = []
    for name, video in annotation.videos.items():
        label, stem = name.split('/')
        # a file of that name in another class's folder is another video
        found = sorted(
            path
            for path in files.get(stem, [])
            if path.parent.name == label or path.parent.name not in annotation.classes
        )
        if len(found) > 1:
            raise AnnotationError(f'{folder}: several files for video {name!r}: {found}')
        if found:
            video.path = found[0].as_posix()
        else:
            missing.append(name)
    if len(missing) == len(annotation.videos):
        raise AnnotationError(f'{folder} holds none of the videos, such as {missing[0]}.avi')
    if missing and not only_present:
        raise AnnotationError(
            f'{folder} lacks {len(missing)} of {len(annotation.videos)} videos, such as'
            f' {missing[:3]}; --only-present leaves them out'
        )
    lacking = set(missing)
    return keep_videos(annotation, [name for name in annotation.videos if name not in lacking])


def summary(annotation: Annotation) -> list[str]:
    """What an annotation holds, a line for every split."""
    lines = []
    for part, names in annotation.splits.items():
        tubes = [tube for name in names for tube in annotation.tubes.get(name, [])]
        boxes = sum(len(tube.frames) for tube in tubes)
        lines.append(f'{part}: {len(names)} videos, {len(tubes)} tubes, {boxes} boxes')
    return lines
