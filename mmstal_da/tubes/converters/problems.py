"""Notes on everything in a source that cannot be kept: nothing is dropped silently."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mmstal_da.errors import AnnotationError

from ..annotation import Annotation, Tube
from ..plausible import look_like_fractions, off_frame


@dataclass(frozen=True)
class Problem:
    """One thing in a source that is wrong, and what was done about it.

    Attributes:
        video: Name of the video.
        problem: What is wrong.
        done: What the conversion did.
        label: Class of the tube, if the problem concerns one.
        frame: 1-based frame, if the problem concerns one.
        box: The four numbers of a box as the source has them, if it is about one.
        boxes: Number of the source's boxes that are left out because of this.
    """

    video: str
    problem: str
    done: str
    label: str | None = None
    frame: int | None = None
    box: tuple[float, ...] | None = None
    boxes: int = 0

    def __str__(self) -> str:
        frame = '' if self.frame is None else f', frame {self.frame}'
        return f'video {self.video!r}{frame}: {self.problem}; {self.done}'

    def to_json(self) -> dict[str, Any]:
        """The attributes that are set."""
        return {key: value for key, value in asdict(self).items() if value not in (None, 0)}


@dataclass
class Conversion:
    """The result of reading a source.

    Attributes:
        annotation: Its contents.
        kind: The kind of file, in words.
        problems: What was left out or changed.
        counted: Videos whose ``num_frames`` is only the last annotated frame, because the source
            does not give their length.
    """

    annotation: Annotation
    kind: str
    problems: list[Problem] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)


def note(problems: list[Problem] | None, problem: Problem) -> None:
    """Append a problem; without a list, raise it as :class:`AnnotationError`."""
    if problems is None:
        raise AnnotationError(str(problem))
    problems.append(problem)


def leave_out_off_frame(conversion: Conversion, where: str) -> None:
    """Leave out boxes that are not in the frame of their video, and note them.

    Args:
        conversion: Gets the notes. Videos without a size are left as they are.
        where: The source, for the message.

    Raises:
        AnnotationError: All boxes are fractions of the frame, or more than a tenth are not in it:
            they are in another unit.
    """
    annotation = conversion.annotation
    boxes = [tube.boxes for tubes in annotation.tubes.values() for tube in tubes]
    total, off_total = sum(map(len, boxes)), 0
    for name, tubes in list(annotation.tubes.items()):
        video, kept = annotation.videos[name], []
        for number, tube in enumerate(tubes):
            off = np.zeros(len(tube.frames), bool)
            if video.width is not None and video.height is not None:
                off = off_frame(tube.boxes, video.width, video.height)
            if off.any():
                off_total += int(off.sum())
                frame, box = int(tube.frames[off][0]), tube.boxes[off][0].tolist()
                text = (
                    f'tube {number}: {off.sum()} boxes are not in the frame of'
                    f' {video.width}x{video.height} pixels'
                )
                conversion.problems.append(
                    Problem(name, text, 'left out', tube.label, frame, tuple(box), int(off.sum()))
                )
                tube = Tube(tube.label, tube.frames[~off], tube.boxes[~off])
            if len(tube.frames):
                kept.append(tube)
        if kept:
            annotation.tubes[name] = kept
        else:
            del annotation.tubes[name]
    if off_total > total / 10:
        raise AnnotationError(
            f'{where}: {off_total} of {total} boxes are not in the frames of their videos, such as'
            f' {conversion.problems[-1]}; are they in pixels of the right size?'
        )
    if boxes and all(look_like_fractions(items) for items in boxes):
        raise AnnotationError(
            f'{where}: all boxes lie between 0 and 1: they seem to be fractions of the frame;'
            ' multiply them by width and height'
        )


def large_enough(
    sizes: np.ndarray,
    raw: np.ndarray,
    frames: np.ndarray,
    video: str,
    label: str,
    problems: list[Problem] | None,
    smallest: float = 1,
) -> np.ndarray:
    """Which boxes are large enough; the others are noted as degenerate.

    Args:
        sizes: (n, 2) width and height in pixels, not wrapped around.
        raw: (n, 4) the boxes as the source has them, for the note.
        frames: (n,) 1-based.
        video: Name of the video.
        label: Class of the tube.
        problems: List for the notes; None raises at the first.
        smallest: Least width and height of a box in pixels.

    Returns:
        (n,) bool.
    """
    keep = (sizes >= smallest).all(1) & np.isfinite(raw).all(1)
    for row in np.flatnonzero(~keep):
        box = tuple(float(value) for value in raw[row])
        text = ' '.join(f'{value:g}' for value in box)
        note(
            problems,
            Problem(
                video,
                f'box {text} is degenerate: {sizes[row][0]:g} x {sizes[row][1]:g} pixels',
                'left out',
                label,
                int(frames[row]),
                box,
                1,
            ),
        )
    return keep
