"""UCF101-24 from ``pyannot.pkl``: 3194 untrimmed videos of 24 classes, 4458 tubes.

The pickle maps ``Class/v_Class_gXX_cYY`` to ``numf`` and ``annotations``, each with ``label``
(alphabetical), ``sf`` (0-based first frame), ``ef`` (exclusive end, also 0-based) and ``boxes``
``x y w h``. All its integers are of the smallest type that holds them, so sums wrap around
unless they are cast.
"""

import os

import numpy as np

from mmstal_da.utils.safe_pickle import load_pickle

from ..annotation import Annotation, AnnotationError, Tube, Video

WIDTH, HEIGHT = 320, 240


def from_pyannot(path: str | os.PathLike) -> Annotation:
    """Read ``pyannot.pkl``.

    Args:
        path: The file.

    Returns:
        Annotation without splits. Videos are named as in the file and expected at
        ``Class/v_Class_gXX_cYY.avi``.

    Raises:
        AnnotationError: Not such a file, naming the video and tube at fault.
    """
    path = os.fspath(path)
    raw = load_pickle(path)
    if not isinstance(raw, dict) or not all('/' in str(name) for name in raw):
        raise AnnotationError(f'{path} is no pyannot.pkl: a dict of videos named Class/video')
    classes = sorted({str(name).split('/')[0] for name in raw})
    annotation = Annotation('ucf101_24', classes)
    for key in sorted(raw):
        name, entry = str(key), raw[key]
        try:
            tubes = [_tube(item, classes) for item in entry['annotations']]
            num_frames = int(entry['numf'])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise AnnotationError(f'{path}: video {name!r}: {error!r}') from error
        annotation.videos[name] = Video(f'{name}.avi', num_frames, WIDTH, HEIGHT)
        annotation.tubes[name] = tubes
    return annotation


def _tube(item: dict, classes: list[str]) -> Tube:
    first, end = int(item['sf']), int(item['ef'])
    x, y, w, h = np.asarray(item['boxes']).astype(np.int64).T
    if len(x) != end - first:
        raise ValueError(f'{len(x)} boxes for frames {first + 1} to {end}')
    boxes = np.stack([x, y, x + w - 1, y + h - 1], 1).astype(np.float32)
    return Tube(classes[int(item['label'])], np.arange(first + 1, end + 1), boxes)
