"""The lines of AVA's csv files, their label map, and what their timestamps mean.

MMAction2 counts AVA's timestamps in seconds from 900, where its clips of 15 minutes begin: frame
``fps * (timestamp - 900) + 1``, 1-based. Other csv files (MultiSports') count frames from 1.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmstal_da.errors import AnnotationError
from mmstal_da.utils.io import read_text

from ..plausible import FRACTION
from .numbers import whole_text

AVA_START, AVA_END = 900, 1800  # seconds of the films that AVA annotates
LONGEST = 10_000_000  # frames
FORMAT = 'mmstal_da.ava_videos'  # of the list of videos next to the csv files
# of x1, y1, x2 and y2: width or height, and 1 where a box ends, because its last pixel is inside
EDGES = ((0, 0), (1, 0), (0, 1), (1, 1))


@dataclass
class Clock:
    """How timestamps become frames.

    Attributes:
        seconds: Whether they count seconds; False: frames from 1.
        start: Second at which the video files begin.
        fps: Video -> frames per second.
        any_fps: Frames per second of all videos; goes before ``fps``.
    """

    seconds: bool = False
    start: float = 0.0
    fps: Mapping[str, float] = field(default_factory=dict)
    any_fps: float | None = None

    def frame(self, text: str, video: str) -> int:
        """The 1-based frame of a timestamp.

        Raises:
            ValueError: It is no number, or the frame rate is not known.
        """
        if not self.seconds:
            return whole_text(text, 'the frame')
        fps = self.any_fps or self.fps.get(video)
        if not fps:
            raise AnnotationError(
                f'the frame rate of video {video!r} is not known, and timestamps are seconds: give'
                ' --fps, or --frames with the videos'
            )
        seconds = float(text) - self.start
        if not math.isfinite(seconds) or seconds < 0 or seconds * fps > LONGEST:
            raise ValueError(f'second {text} is not in a video that begins at {self.start:g} s')
        return math.floor(fps * seconds + 0.5) + 1


@dataclass
class Row:
    """One line with a box.

    Attributes:
        line: Its number.
        video: First column.
        time: Second column, as text.
        box: ``x1 y1 x2 y2`` as texts; empty for a line without a box.
        label: Number of its class.
        entity: Number of its actor.
    """

    line: int
    video: str
    time: str
    box: list[str]
    label: int
    entity: int


def read_rows(path: Path, fractions: bool) -> list[Row]:
    """The lines of a csv.

    Args:
        path: The file.
        fractions: Refuse coordinates that can be no fraction of the frame.

    Raises:
        AnnotationError: A line that is no such line; names it.
    """
    rows = []
    for number, line in enumerate(read_text(path).split('\n'), 1):
        parts = [part.strip() for part in line.rstrip('\r').split(',')]
        if parts == ['']:
            continue
        where = f'{path}, line {number}'
        if len(parts) != 8:
            raise AnnotationError(
                f'{where}: {len(parts)} fields instead of video,frame,x1,y1,x2,y2,label,entity'
            )
        video, time, *box = parts[:6]
        if not any(box):  # AVA-Kinetics lists key frames without a box like this
            rows.append(Row(number, video, time, [], 0, 0))
            continue
        try:
            label, entity = whole_text(parts[6], 'label'), whole_text(parts[7], 'entity')
            values = [float(text) for text in box]
            float(time)
        except (ValueError, OverflowError) as error:
            raise AnnotationError(f'{where}: {error} in {line!r}') from error
        if not all(map(math.isfinite, values)):
            raise AnnotationError(f'{where}: a coordinate is not finite in {line!r}')
        if fractions and not all(FRACTION[0] <= value <= FRACTION[1] for value in values):
            raise AnnotationError(
                f'{where}: box {" ".join(box)} is not in fractions of the frame, as AVA has them;'
                ' divide pixels by width and height'
            )
        rows.append(Row(number, video, time, box, label, entity))
    return rows


def find_clock(
    rows: Sequence[Row], unit: str | None, start: float | None, any_fps: float | None, where: str
) -> Clock:
    """What the timestamps of a csv count.

    Args:
        rows: All lines.
        unit: ``'seconds'``, ``'frames'``, or None to find out.
        start: Second at which the videos begin; None: 900 if all timestamps lie in AVA's quarter
            of an hour, else 0.
        any_fps: Frames per second, which says that timestamps are seconds.
        where: The files, for messages.

    Raises:
        AnnotationError: They may be AVA's seconds or frames.
    """
    times = [float(row.time) for row in rows]
    of_ava = bool(times) and min(times) >= AVA_START and max(times) <= AVA_END
    # AVA writes 0902; who counts frames does not
    padded = bool(rows) and all(re.fullmatch(r'\d{4}', row.time) for row in rows)
    padded = padded and any(row.time.startswith('0') for row in rows)
    if unit is None and (any_fps is not None or start is not None or padded):
        unit = 'seconds'
    if unit is None and of_ava:
        raise AnnotationError(
            f"{where}: timestamps {min(times):g} to {max(times):g} look like AVA's seconds: give"
            ' --timestamps seconds, or --timestamps frames'
        )
    if unit != 'seconds':
        return Clock()
    if start is None:
        start = float(AVA_START if of_ava else 0)
    return Clock(True, start, any_fps=any_fps)


def read_label_map(path: str | Path) -> dict[int, str]:
    """Class names by number, from ``item { name: "..." id: N }`` (or ``label_id``), in any order.

    Raises:
        AnnotationError: An item lacks one of both, or a number or name is there twice.
    """
    text = read_text(path)
    inside = r'\{((?:[^{}"]|"[^"]*")*)\}'
    blocks = re.findall(rf'\b(?:item|label)\s*{inside}', text)
    if not blocks or len(blocks) != len(re.findall(r'\b(?:item|label)\s*\{', text)):
        raise AnnotationError(f'{path} is not a label map of items with name and id')
    found: dict[int, str] = {}
    for block in blocks:
        name = re.findall(r'\bname:\s*"([^"]*)"', block)
        number = re.findall(r'\b(?:id|label_id):\s*(\d+)', re.sub(r'"[^"]*"', '', block))
        if len(name) != 1 or len(number) != 1:
            raise AnnotationError(f'{path}: the item {block.strip()!r} has no one name and id')
        if int(number[0]) in found or name[0] in found.values():
            raise AnnotationError(
                f'{path}: the class {name[0]!r} or its number {number[0]} is there twice'
            )
        found[int(number[0])] = name[0]
    return found
