"""Makes two domains from JHMDB; no film has clips in both.

A clip of JHMDB is named after HMDB51's labels::

    <film>_<class>_<body f|u|l|h>_<camera nm static|cm moving>_np<N>_<view>_<quality>_<i>

Many clips come from one film and look alike, whatever happens in them. So a film's clips stay
together in every split.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmstal_da.errors import AnnotationError

from .annotation import Annotation
from .converters.common import keep_classes, keep_videos

SOURCE_TRAIN, TARGET_TRAIN, TARGET_TEST = 'source_train', 'target_train', 'target_test'


@dataclass(frozen=True)
class ClipName:
    """What a clip's name says.

    Attributes:
        film: The video it was cut from.
        label: Its class.
        moving: Whether the camera moves.
    """

    film: str
    label: str
    moving: bool


def parse_name(video: str) -> ClipName:
    """Read ``<class>/<clip>``.

    Raises:
        AnnotationError: The name has another form.
    """
    label, _, stem = video.partition('/')
    match = re.fullmatch(rf'(.+)_{re.escape(label)}_[fulh]_(nm|cm)_np\d+_[a-z]+_[a-z]+_\d+', stem)
    if not match:
        raise AnnotationError(
            f'video {video!r} is not named <class>/<film>_<class>_<body>_<nm|cm>_np<N>_…: the'
            ' pairs need the file names of the released JHMDB'
        )
    return ClipName(match[1], label, match[2] == 'cm')


def deal(
    videos: Sequence[str], shares: Mapping[str, float], rng: np.random.Generator
) -> dict[str, list[str]]:
    """Distribute whole films to parts so that every class comes near its shares.

    Films are taken largest first; films of equal size come in random order. Each goes to the part
    that lacks most clips of the film's classes.

    Args:
        videos: Names.
        shares: Part -> share of every class; they add up to one.
        rng: Breaks ties between films.

    Returns:
        Part -> its videos, sorted.
    """
    names = {video: parse_name(video) for video in videos}
    totals = Counter(name.label for name in names.values())
    films = defaultdict(list)
    for video, name in names.items():
        films[name.film].append(video)
    order = [sorted(films)[i] for i in rng.permutation(len(films))]
    order.sort(key=lambda film: -len(films[film]))  # stable
    have: dict[str, Counter[str]] = {part: Counter() for part in shares}
    parts: dict[str, list[str]] = {part: [] for part in shares}
    for film in order:
        count = Counter(names[video].label for video in films[film])

        def lack(part: str, count: Counter[str] = count) -> float:
            return sum(
                n
                * (shares[part] * totals[label] - have[part][label])
                / (shares[part] * totals[label])
                for label, n in count.items()
            )

        part = max(shares, key=lack)
        have[part] += count
        parts[part] += films[film]
    return {part: sorted(found) for part, found in parts.items()}


def foggy(annotation: Annotation, seed: int = 0) -> dict[str, list[str]]:
    """Splits of the pair clean -> foggy: films distributed at random, all classes.

    Two fifths of the clips are the source. Half of all clips are the target's for training.
    """
    shares = {SOURCE_TRAIN: 0.4, TARGET_TRAIN: 0.5, TARGET_TEST: 0.1}
    return deal(list(annotation.videos), shares, np.random.default_rng(seed))


def static_to_moving(
    annotation: Annotation, seed: int = 0, least: int = 10
) -> dict[str, list[str]]:
    """Splits of the pair static camera -> moving camera.

    If a film's clips of one class have both kinds of camera, the film is left out of that class.
    Classes with fewer than ``least`` clips on a side are left out. A film that is static in one
    class and moving in another is then kept on the side whose class has fewer clips there. Three
    fifths of the target are for training.

    Args:
        annotation: JHMDB.
        seed: Seed for the distribution of the target's films.
        least: Clips that a class needs on each side.
    """
    names = {video: parse_name(video) for video in annotation.videos}
    cameras = defaultdict(set)
    for name in names.values():
        cameras[name.film, name.label].add(name.moving)
    names = {v: n for v, n in names.items() if len(cameras[n.film, n.label]) == 1}
    count = Counter((n.label, n.moving) for n in names.values())
    labels = {n.label for n in names.values()}
    labels = {c for c in labels if min(count[c, False], count[c, True]) >= least}
    names = {v: n for v, n in names.items() if n.label in labels}
    films = defaultdict(set)
    for name in names.values():
        films[name.film].add((name.label, name.moving))
    for film, kinds in films.items():
        if len({moving for _, moving in kinds}) == 2:
            _, scarce = min(kinds, key=lambda kind: (count[kind], kind))
            names = {v: n for v, n in names.items() if n.film != film or n.moving == scarce}
    source = sorted(video for video, name in names.items() if not name.moving)
    moving = sorted(video for video, name in names.items() if name.moving)
    shares = {TARGET_TRAIN: 0.6, TARGET_TEST: 0.4}
    return {SOURCE_TRAIN: source} | deal(moving, shares, np.random.default_rng(seed))


def with_splits(annotation: Annotation, splits: Mapping[str, Sequence[str]]) -> Annotation:
    """The annotation of the videos and classes of these splits, with no other split.

    Raises:
        AnnotationError: The annotation lacks a video, or a film is in two domains or in both
            parts of the target.
    """
    unknown = [v for names in splits.values() for v in names if v not in annotation.videos]
    if unknown:
        raise AnnotationError(f'the splits name videos the annotation lacks: {unknown[:3]}')
    where: dict[str, str] = {}
    for part, names in splits.items():
        for video in names:
            film = parse_name(video).film
            if where.setdefault(film, part) != part:
                raise AnnotationError(f'film {film!r} is in {where[film]} and in {part}')
    chosen = [video for names in splits.values() for video in names]
    labels = {parse_name(video).label for video in chosen}
    kept = keep_videos(annotation, chosen)
    kept = keep_classes(kept, [name for name in annotation.classes if name in labels])
    kept.splits.clear()
    kept.splits.update({part: list(names) for part, names in splits.items()})
    return kept
