"""Splits from the lists that datasets are released with.

- A list of video names, one per line. Extensions are ignored. A class number after the name
  (UCF101's ``trainlist01.txt``) is ignored too, and so is every name of a class that the
  annotation lacks (those lists cover 101 classes).
- JHMDB's official ``<class>_test_split<k>.txt``, one file per class and split: lines
  ``video.avi 1`` (training), ``2`` (test) or ``0`` (in neither).

Split 1 is called ``train`` and ``test``, split k > 1 ``train<k>`` and ``test<k>``.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmstal_da.errors import AnnotationError
from mmstal_da.utils.io import read_text
from mmstal_da.video.reader import VIDEO_SUFFIXES

from ..annotation import Annotation
from .problems import Problem, note

OFFICIAL_JHMDB = re.compile(r'(?P<label>.+)_test_split(?P<number>\d+)\.txt')


PARTS = ('train', 'val', 'test', 'trainval', 'training', 'validation', 'testing')


def split_of_file(path: str | os.PathLike[str]) -> str:
    """The split that a list's or csv's name says.

    That are the parts of the name that name a split (``ava_train_v2.1.csv``: ``train``,
    ``test01.txt``: ``test01``), or else its last part (``..._old.txt``: ``old``).
    """
    stem = Path(path).stem
    parts = re.split(r'[_\-. ]+', stem)
    known = [part for part in parts if re.sub(r'\d+$', '', part.lower()) in PARTS]
    return '_'.join(known) or stem.split('_')[-1]


def split_name(part: str, number: int) -> str:
    """Name of part ``'train'`` or ``'test'`` of split ``number`` (1-based)."""
    return part if number == 1 else f'{part}{number}'


def read_splits(
    annotation: Annotation,
    sources: Sequence[str],
    problems: list[Problem] | None = None,
) -> None:
    """Add splits from files and folders.

    Args:
        annotation: Gets the splits.
        sources: ``[NAME=]FILE`` for a list (by default NAME is the last part of the file's name,
            as in ``..._train.txt``); official files of JHMDB, or a folder of them.
        problems: List for notes on names that the annotation lacks; None raises at the first.

    Raises:
        AnnotationError: A file is none of these, a split has two lists, or the annotation has no
            video of a list.
        OSError: A file cannot be read.
    """
    official: dict[str, list[str]] = {}
    for source in sources:
        name, _, given = str(source).rpartition('=')
        path = Path(given)
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if OFFICIAL_JHMDB.fullmatch(file.name))
            if not files:
                raise AnnotationError(
                    f'{path} holds no <class>_test_split<k>.txt; give lists of video names as files'
                )
        for file in files:
            match = OFFICIAL_JHMDB.fullmatch(file.name)
            if match:
                if name:
                    raise AnnotationError(
                        f'{file} names its split itself: remove the {name!r} before it'
                    )
                _read_official(annotation, file, match, official, problems)
            else:
                add_split(annotation, name or split_of_file(file), file, problems)
    for name in sorted(official):
        _add(annotation, name, official[name], ', '.join(map(str, sources)))


def add_split(
    annotation: Annotation,
    name: str,
    path: str | os.PathLike[str],
    problems: list[Problem] | None = None,
    every: bool = False,
) -> None:
    """Add a split from a list of video names, one per line (see the module).

    Args:
        annotation: Gets the split.
        name: Name of the split.
        path: Path of the list.
        problems: List for notes on names that the annotation lacks; None raises at the first.
        every: Require every name of the list, also those of classes that the annotation lacks.
    """
    listed = [_strip(line) for line in _lines(path)]
    listed = [v if v in annotation.videos else _strip(re.sub(r'\s+\d+$', '', v)) for v in listed]
    groups = {video.split('/')[0] for video in annotation.videos} | set(annotation.classes)
    known = [video for video in listed if video in annotation.videos]
    missing = [video for video in listed if video not in annotation.videos]
    if not listed:
        raise AnnotationError(f'{os.fspath(path)} lists no video')
    if not known or (every and missing):
        raise AnnotationError(
            f'{os.fspath(path)} lists {len(missing)} videos that the annotation lacks:'
            f' {missing[:3]}; its names look like {list(annotation.videos)[:2]}'
        )
    unknown = [video for video in missing if video.split('/')[0] in groups]
    for video in unknown:
        note(problems, _not_annotated(video, path))
    others = [video for video in missing if video.split('/')[0] not in groups]
    if others and problems is not None:
        text = f'{Path(path).name} lists {len(others)} videos of classes that the annotation lacks'
        problems.append(Problem(others[0], text, 'left out of the split'))
    _add(annotation, name, known, os.fspath(path))


def _read_official(
    annotation: Annotation,
    path: Path,
    match: re.Match[str],
    splits: dict[str, list[str]],
    problems: list[Problem] | None,
) -> None:
    """Sort the videos of one official file of JHMDB into its train and test split.

    ``match`` is that of the file's name.
    """
    for line in _lines(path):
        video, _, part = line.rpartition(' ')
        video = f'{match["label"]}/{_strip(video.strip())}'
        if part not in ('0', '1', '2'):
            raise AnnotationError(
                f'{path}: {line!r} is not "video.avi N" with N = 1 (train), 2 (test) or 0 (neither)'
            )
        if part == '0':
            continue
        if video not in annotation.videos:
            note(problems, _not_annotated(video, path))
            continue
        name = split_name('train' if part == '1' else 'test', int(match['number']))
        splits.setdefault(name, []).append(video)


def _not_annotated(video: str, path: str | os.PathLike[str]) -> Problem:
    return Problem(
        video, f'{Path(path).name} lists it, the annotation lacks it', 'left out of the split'
    )


def _add(annotation: Annotation, name: str, videos: list[str], where: str) -> None:
    if name in annotation.splits:
        raise AnnotationError(
            f'{where}: there is a split {name!r} already; name them: --splits train1=PATH'
            ' train2=PATH'
        )
    twice = [video for video, number in Counter(videos).items() if number > 1]
    if twice:
        raise AnnotationError(f'{where}: split {name!r} names videos twice: {twice[:5]}')
    annotation.splits[name] = videos


def _lines(path: str | os.PathLike[str]) -> list[str]:
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except AnnotationError as error:
        raise AnnotationError(f'{os.fspath(path)} is not a list of names ({error})') from error
    return [line for line in lines if line]


def _strip(name: str) -> str:
    return os.path.splitext(name)[0] if name.lower().endswith(VIDEO_SUFFIXES) else name
