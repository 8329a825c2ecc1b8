"""UCF-Sports from its ground truth: 150 videos, 9,580 boxes, one text file per box.

``<Class>/<NNN>/gt/<frame>.tif.txt`` holds ``x y w h label`` in 1-based pixels (no box begins
before 1, and with ``x2 = x + w - 1`` none ends beyond its frame). Some files are called
``<frame>.jpg.txt``. The label in the file is unreliable (golf swings are "ArmSwing", horse riding
"Running"); the folder names the class. A folder ``gt2`` next to ``gt`` has a second actor.

``<frame>`` is the name of the frame's image, from the stock footage: numbers begin anywhere,
leave gaps, and may end in a letter (``70001``, ``70001a``, ``70002``). Frame n of a video is its
n-th image in that order. Without the images, it is the n-th annotated image. The two are the same
if every image is annotated.

The source has no frame sizes, so boxes refer to the video as it decodes until a size is known.
Four boxes have no width or no height; they are left out and noted.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmstal_da.errors import AnnotationError

from ..annotation import LARGEST, Annotation, Tube, Video
from ..walk import files_below
from .archives import tar_members
from .problems import Problem, large_enough, note

TEMPLATE = '{:06d}.jpg'  # ACT's frames
SMALLEST = 2  # nobody draws a box of one pixel
_BOX_FILE = re.compile(r'(?P<stem>.+?)(\.(tiff?|jpe?g|png|bmp))?\.txt', re.IGNORECASE)
_LIMIT = 1 << 16  # bytes; a box takes 30


def from_gt_tree(
    path: str | os.PathLike[str],
    problems: list[Problem] | None = None,
    images: Mapping[str, Sequence[str]] | None = None,
) -> Annotation:
    """Read the ground truth of UCF-Sports.

    Args:
        path: A folder with ``<Class>/<NNN>/gt/*.txt`` at any depth, or a tar archive of it, which
            is read without being extracted.
        problems: List for notes on degenerate boxes, which are left out; None raises instead.
        images: Video -> names of all its images, without suffix; gives the frame numbers (see
            the module). Images with other names, such as numbered ones, are ignored.

    Returns:
        Annotation without splits and without frame sizes. Videos are named ``<Class>/<NNN>`` and
        expected as folders of images ``000001.jpg``. ``num_frames`` is the number of images;
        without images it is the number of annotated frames.

    Raises:
        AnnotationError: There are no such files, or one is not a box; names the file.
    """
    path = Path(path)
    rows: dict[str, dict[str, dict[str, tuple[float, ...]]]] = {}  # video, gt folder, frame
    root_of: dict[str, str] = {}
    for name, text in _files(path):
        parts = name.replace(os.sep, '/').split('/')
        match = _BOX_FILE.fullmatch(parts[-1])
        if len(parts) < 4 or not re.fullmatch(r'gt\d*', parts[-2], re.IGNORECASE) or not match:
            continue
        video, root = '/'.join(parts[-4:-2]), '/'.join(parts[:-4])
        if root_of.setdefault(video, root) != root:
            raise AnnotationError(
                f'{path}: video {video!r} is in {root_of[video]!r} and in {root!r}; give the folder'
                ' of one copy'
            )
        boxes = rows.setdefault(video, {}).setdefault(parts[-2], {})
        if match['stem'] in boxes:
            raise AnnotationError(f'{path}: {name}: the frame has another file of this actor')
        boxes[match['stem']] = _parse(text, f'{path}: {name}')
    if not rows:
        raise AnnotationError(f'{path} holds no <Class>/<NNN>/gt/<frame>.tif.txt')
    annotation = Annotation('ucf_sports', sorted({video.split('/')[0] for video in rows}))
    for video in sorted(rows):
        names = set().union(*rows[video].values())
        if images and names & set(images.get(video, ())):
            unknown = sorted(names - set(images[video]))
            if unknown:
                problem = Problem(
                    video, f'{len(unknown)} annotated frames without image: {unknown[:3]}',
                    'numbered with the images',
                )  # fmt: skip
                note(problems, problem)
            names |= set(images[video])
        number = {name: index for index, name in enumerate(sorted(names, key=frame_order), 1)}
        annotation.videos[video] = Video(video, len(number), filename_tmpl=TEMPLATE)
        label = video.split('/')[0]
        tubes = [
            _tube(actor, number, video, label, problems) for _, actor in sorted(rows[video].items())
        ]
        kept = [tube for tube in tubes if len(tube.frames)]
        if kept:
            annotation.tubes[video] = kept
    return annotation


def frame_order(name: str) -> tuple[str, int, str]:
    """Sort key of image names: by number, then by the letter after it (70001, 70001a, 70002)."""
    match = re.fullmatch(r'(.*?)(\d+)([a-z]?)', name)
    return (match[1], int(match[2]), match[3]) if match else (name, 0, '')


def parse_frame_sizes(raw: Any, where: str) -> dict[str, tuple[int, int]]:
    """Frame sizes from a JSON value.

    Args:
        raw: ``{video: [width, height]}``; or the public ``train_frame_sizes.json``, with
            ``vid_name_dict`` {number: ``Class-NNN``} and ``vid_size_dict`` {number: [height,
            width]}.
        where: The file's name, for messages.

    Returns:
        Video -> (width, height).

    Raises:
        AnnotationError: Neither of these.
    """
    try:
        if 'vid_size_dict' in raw:
            names = {key: '/'.join(v.rsplit('-', 1)) for key, v in raw['vid_name_dict'].items()}
            sizes = {names[key]: (w, h) for key, (h, w) in raw['vid_size_dict'].items()}
        else:
            sizes = {name: (w, h) for name, (w, h) in raw.items()}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise AnnotationError(
            f'{where}: expected {{video: [width, height]}} or vid_name_dict and vid_size_dict'
            f' ({error!r})'
        ) from error
    for name, size in sizes.items():
        if not all(type(value) is int and 0 < value <= LARGEST for value in size):
            raise AnnotationError(f'{where}: video {name!r}: {size} is not a width and height')
    return sizes


def _tube(
    actor: dict[str, tuple[float, ...]],
    number: dict[str, int],
    video: str,
    label: str,
    problems: list[Problem] | None,
) -> Tube:
    names = sorted(actor, key=number.__getitem__)
    frames = np.array([number[name] for name in names], np.int64)
    raw = np.array([actor[name] for name in names], np.float64)  # x y w h, 1-based
    x, y, w, h = raw.T
    boxes = np.stack([x - 1, y - 1, x + w - 2, y + h - 2], 1).astype(np.float32)
    keep = large_enough(raw[:, 2:], raw, frames, video, label, problems, SMALLEST)
    return Tube(label, frames[keep], boxes[keep])


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every text file of a folder or archive."""
    if not path.is_dir():
        yield from tar_members(path, '.txt', _LIMIT)
        return
    for box_file in files_below(path, ('.txt',)):
        with open(box_file, 'rb') as opened:
            yield str(box_file), opened.read(_LIMIT)


def _parse(text: bytes, where: str) -> tuple[float, ...]:
    """``x y w h`` of a box file."""
    text = text.removeprefix(b'\xef\xbb\xbf')  # a byte order mark
    lines = [line.split() for line in text.decode('latin1').splitlines() if line.strip()]
    try:
        (line,) = lines
        x, y, w, h = (float(value) for value in line[:4])
        if not np.isfinite([x, y, w, h]).all():
            raise ValueError('a number is not finite')
    except ValueError as error:
        raise AnnotationError(f'{where} is not one line "x y w h label" ({error})') from error
    return x, y, w, h
