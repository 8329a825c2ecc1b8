"""UCF101-24 from ``pyannot.pkl``: 3194 untrimmed videos of 24 classes, 4458 tubes.

The pickle (the corrected annotations, ``pyannot.pkl`` of corrected-UCF101-Annots) maps
``Class/v_Class_gXX_cYY`` to ``numf`` and ``annotations``, each with ``label`` (alphabetical),
``sf`` (0-based first frame), ``ef`` (exclusive end, also 0-based) and ``boxes`` ``x y w h``. All
its integers are of the smallest type that holds them, so sums wrap around unless they are cast.
``x`` counts from 0: ``x + w`` reaches 320, the width, and never more.
"""

import os
from typing import Any

import numpy as np

from mmstal_da.errors import AnnotationError
from mmstal_da.utils.safe_pickle import load_pickle

from ..annotation import Annotation, Tube, Video
from .numbers import whole, whole_array
from .problems import Problem, large_enough

WIDTH, HEIGHT = 320, 240


def from_pyannot(
    path: str | os.PathLike[str],
    problems: list[Problem] | None = None,
    raw: dict[str, Any] | None = None,
) -> Annotation:
    """Read ``pyannot.pkl``.

    Args:
        path: The file.
        problems: List for notes on degenerate boxes, which are left out; None raises instead.
        raw: What the file holds, if it was read already.

    Returns:
        Annotation without splits. Videos are named as in the file and expected at
        ``Class/v_Class_gXX_cYY.avi``.

    Raises:
        AnnotationError: Not such a file; names the wrong video and tube.
    """
    path = os.fspath(path)
    if raw is None:
        raw = load_pickle(path)
    if not isinstance(raw, dict) or not all('/' in str(name) for name in raw):
        raise AnnotationError(f'{path} is not pyannot.pkl: a dict of videos named Class/video')
    classes = sorted({str(name).split('/')[0] for name in raw})
    annotation = Annotation('ucf101_24', classes)
    for key in sorted(raw):
        name, entry = str(key), raw[key]
        try:
            tubes = [_tube(item, classes, name, problems) for item in entry['annotations']]
            num_frames = whole(entry['numf'], 'numf')
        except AnnotationError as error:
            raise AnnotationError(f'{path}: {error}') from error
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise AnnotationError(f'{path}: video {name!r}: {error!r}') from error
        annotation.videos[name] = Video(f'{name}.avi', num_frames, WIDTH, HEIGHT)
        kept = [tube for tube in tubes if len(tube.frames)]
        if kept:
            annotation.tubes[name] = kept
    return annotation


def _tube(
    item: dict[str, Any], classes: list[str], name: str, problems: list[Problem] | None
) -> Tube:
    first, end = whole(item['sf'], 'sf'), whole(item['ef'], 'ef')
    raw = np.asarray(item['boxes'])
    if raw.ndim != 2 or raw.shape[1] != 4:
        raise ValueError(f'boxes are (n, 4), not {raw.shape}')
    raw = whole_array(raw, 'boxes')
    x, y, w, h = raw.T
    if len(x) != end - first:
        raise ValueError(f'{len(x)} boxes for frames {first + 1} to {end}')
    frames = np.arange(first + 1, end + 1)
    boxes = np.stack([x, y, x + w - 1, y + h - 1], 1).astype(np.float32)
    number = whole(item['label'], 'label')
    label = name.split('/')[0]
    if not 0 <= number < len(classes) or classes[number] != label:
        raise ValueError(
            f'label {number} is not that of {label!r} among the {len(classes)} classes of the file'
        )
    keep = large_enough(raw[:, 2:], raw, frames, name, label, problems)
    return Tube(label, frames[keep], boxes[keep])
