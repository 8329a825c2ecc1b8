"""Boxes in another unit than pixels of their video, and boxes that are not in it.

A box that reaches a little beyond the frame is usual. These are errors:

- all boxes of a file are fractions of the frame;
- a box lies wholly outside of its frame, or reaches beyond it by more than the frame's own size:
  percent, fractions times pixels, another video's boxes, a slip of the hand.
"""

from collections.abc import Iterable

import numpy as np

from mmstal_da.errors import AnnotationError

from .annotation import Annotation

FRACTION = (-0.5, 1.5)  # boxes within are fractions, with some beyond the frame


def look_like_fractions(boxes: np.ndarray) -> bool:
    """Whether boxes (n, 4) are fractions of a frame rather than pixels.

    Pixels within the limits would be boxes of less than three pixels, in a corner, all of them.
    """
    boxes = np.asarray(boxes)
    if not len(boxes) or boxes.min() < FRACTION[0] or boxes.max() > FRACTION[1]:
        return False
    return bool((boxes != np.rint(boxes)).any())


def off_frame(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Which boxes cannot belong to the frame.

    Args:
        boxes: (n, 4) ``x1 y1 x2 y2`` in pixels, ends inclusive.
        width: Of the frame.
        height: Of the frame.

    Returns:
        (n,) bool: the box has no pixel in the frame, or an edge is further from it than the frame
        is large.
    """
    size = np.array([width, height], np.float64)
    first, last = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    outside = (first >= size) | (last < 0)
    far = (first < -size) | (last >= 2 * size)
    return np.asarray((outside | far).any(1))


def refuse_implausible(
    annotation: Annotation, where: str, videos: Iterable[str] | None = None
) -> None:
    """Raise for boxes that cannot be pixels of their videos (see the module).

    Args:
        annotation: The annotation. Of videos without a size, only fractions are found.
        where: The file's name, for messages.
        videos: Look at these only; None looks at all.

    Raises:
        AnnotationError: Names the video, the tube, the frame and the box.
    """
    names = list(annotation.tubes if videos is None else videos)
    tubes = [(name, n, t) for name in names for n, t in enumerate(annotation.tubes.get(name, ()))]
    if tubes and all(look_like_fractions(tube.boxes) for _, _, tube in tubes):
        name, _, tube = tubes[0]
        raise AnnotationError(
            f'{where}: all boxes lie between 0 and 1, such as {_text(tube.boxes[0])} of video'
            f' {name!r}: they seem to be fractions of the frame; multiply them by width and height'
        )
    for name, number, tube in tubes:
        video = annotation.videos[name]
        if video.width is None or video.height is None:
            continue
        off = off_frame(tube.boxes, video.width, video.height)
        if off.any():
            row = int(np.argmax(off))
            raise AnnotationError(
                f'{where}: video {name!r}, tube {number}, frame {tube.frames[row]}: box'
                f' {_text(tube.boxes[row])} is not in the frame of {video.width}x{video.height}'
                f' pixels ({int(off.sum())} such boxes in this tube); correct it, or the size'
            )


def _text(box: np.ndarray) -> str:
    return ' '.join(f'{value:g}' for value in box)
