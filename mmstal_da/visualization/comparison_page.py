"""A page that shows two results side by side on the videos where they differ most.

The page is one HTML file. Videos, styles and scripts are in it, and it loads nothing else.
"""

import base64
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mmstal_da.errors import VideoError
from mmstal_da.evaluation.functional import box_iou
from mmstal_da.evaluation.functional.differences import VideoDifference
from mmstal_da.tubes.annotation import Annotation, Tube

from .detections_file import NamedDetections
from .overlays import FrameOverlays, detection_overlays, ground_truth_overlays
from .render import render_video
from .writing import write_mp4

TEMPLATE = Path(__file__).with_name('comparison_page.html')
IOU = 0.5
NOTHING, RIGHT, EXTRA, MISSED = 'nothing', 'right', 'extra', 'missed'
STATES = {
    RIGHT: 'every actor found, nothing else',
    EXTRA: 'a box on no actor, or of another class',
    MISSED: 'an actor missed',
    NOTHING: 'no actor and no box, or not evaluated',
}
"""What a frame can be for a run, and what the page calls it."""
MEANS = ('frame_mAP@0.5', 'video_mAP@0.2', 'video_mAP@0.5', 'video_mAP@0.5:0.95')
FPS = 25.0
CRF = 27  # boxes and labels stay sharp, grain does not


@dataclass
class Shown:
    """What the page shows of the runs.

    Attributes:
        annotation: With tubes.
        data_prefix: Folder that its videos' paths are relative to.
        runs: Name -> detections, of two runs.
        class_map: Class of the annotation -> class of the runs.
        background_frames: Whether frames without ground truth are evaluated.
        score_thr: Least score of a shown detection.
        max_frames: Longest part of a video that is shown.
        height: Of a frame, in pixels; lower videos are enlarged.
    """

    annotation: Annotation
    data_prefix: str | os.PathLike[str]
    runs: Mapping[str, NamedDetections]
    class_map: Mapping[str, str]
    background_frames: bool = True
    score_thr: float = 0.3
    max_frames: int = 300
    height: int = 288

    def truth(self, name: str) -> list[Tube]:
        """Tubes of the runs' classes."""
        classes = next(iter(self.runs.values())).classes
        tubes = self.annotation.tubes.get(name, [])
        return [tube for tube in tubes if self.class_map.get(tube.label, tube.label) in classes]

    def predictions(self, name: str) -> list[FrameOverlays]:
        """Shown boxes of both runs; a run without detections of the video has none."""
        return [
            detection_overlays(run.dets, run.videos.index(name), run.classes, self.score_thr)
            if name in run.videos
            else {}
            for run in self.runs.values()
        ]


def comparison_page(
    shown: Shown,
    results: Sequence[Mapping[str, Any]],
    differences: Sequence[VideoDifference],
    videos: Sequence[str],
    total: int,
) -> str:
    """The page.

    Args:
        shown: What to show.
        results: Of both runs, by :func:`~mmstal_da.evaluation.functional.evaluate_detections`.
        differences: Of the videos to show, in their order.
        videos: Names that their ``video`` refers to.
        total: Number of videos that were compared.

    Raises:
        FileNotFoundError: A video is missing.
        VideoError: A video cannot be read.
    """
    names = [videos[item.video] for item in differences]
    missing = [name for name in names if not os.path.exists(_path(shown, name))]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(names)} videos are not there, such as'
            f' {_path(shown, missing[0])}: --data-prefix names the folder of the videos'
        )
    entries, rows = [], []
    for number, (name, item) in enumerate(zip(names, differences, strict=True), 1):
        truth = ground_truth_overlays(shown.truth(name), shown.class_map)
        predictions = shown.predictions(name)
        num_frames = shown.annotation.videos[name].num_frames
        states = [
            frame_states(found, truth, num_frames, shown.background_frames) for found in predictions
        ]
        window = differing_window(states[0], states[1], shown.max_frames)
        entries.append(_entry(shown, number, name, item, truth, predictions, states, window))
        rows.append(_row(number, name, item, truth, states))
    first, second = map(escape, shown.runs)
    values = {
        'TITLE': f'{first} and {second}',
        'INTRODUCTION': _introduction(shown, len(names), total, results[0]),
        'MEANS': _means(list(shown.runs), results),
        'HEAD': ''.join(
            f'<th>{title}</th>'
            for title in (
                *('video', 'class', 'difference'),
                *(f'frame-AP<br>{first}', f'frame-AP<br>{second}'),
                *(f'video-AP<br>{first}', f'video-AP<br>{second}'),
                *(f'frames right<br>{first}', f'frames right<br>{second}'),
            )
        ),
        'ROWS': '\n'.join(rows),
        'STATES': ''.join(
            f'<span class="key {state}"></span>{meaning} ' for state, meaning in STATES.items()
        ),
        'ENTRIES': '\n'.join(entries),
    }
    page = TEMPLATE.read_text(encoding='utf-8')
    for key, value in values.items():
        page = page.replace(f'<!--{key}-->', value)
    return page


def frame_states(
    predictions: FrameOverlays,
    truth: FrameOverlays,
    num_frames: int,
    background_frames: bool = True,
) -> list[str]:
    """What every frame is for a run, one of :data:`STATES`, by the boxes that are shown.

    The best box first, each takes the unmatched ground truth of its class that it overlaps most,
    if their IoU is at least 0.5.

    Args:
        predictions: Shown boxes, the best first.
        truth: Ground truth.
        num_frames: Of the video.
        background_frames: Whether frames without ground truth are evaluated.
    """
    states = []
    for number in range(1, num_frames + 1):
        left, extra = list(truth.get(number, ())), False
        evaluated = bool(left) or background_frames
        for box in predictions.get(number, ()) if evaluated else ():
            same = [other for other in left if other.label == box.label]
            overlap = box_iou(
                np.array([box.box]), np.array([other.box for other in same]).reshape(-1, 4)
            )[0]
            if overlap.max(initial=0) >= IOU:
                left.remove(same[int(overlap.argmax())])
            else:
                extra = True
        if left:
            states.append(MISSED)
        elif extra:
            states.append(EXTRA)
        else:
            states.append(RIGHT if truth.get(number) else NOTHING)
    return states


def differing_window(first: Sequence[str], second: Sequence[str], size: int) -> range:
    """The frames (from 1) of the part of a video that differs most; the earliest of equal ones."""
    count = len(first)
    if count <= size:
        return range(1, count + 1)
    differs = np.array([a != b for a, b in zip(first, second, strict=True)], int)
    sums = np.convolve(differs, np.ones(size, int), 'valid')
    begin = int(sums.argmax())
    return range(begin + 1, begin + size + 1)


def _path(shown: Shown, name: str) -> str:
    return os.path.join(shown.data_prefix, shown.annotation.videos[name].path)


def _video(
    shown: Shown, name: str, truth: FrameOverlays, predictions: list[FrameOverlays], window: range
) -> str:
    """Both results in one video, so that they cannot get out of step, as a data URL."""
    video = shown.annotation.videos[name]
    sides = []
    for run, found in zip(shown.runs.values(), predictions, strict=True):
        try:
            frames = render_video(
                video, shown.data_prefix, found, truth, run.classes, numbers=list(window),
                min_height=shown.height,
            )  # fmt: skip
        except VideoError as error:
            raise VideoError(f'{name}: {error}') from error
        sides.append(frames)
    gap = np.zeros((sides[0][0].shape[0], 4, 3), np.uint8)
    both = [np.concatenate((left, gap, right), 1) for left, right in zip(*sides, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'both.mp4'
        write_mp4(path, both, video.fps or FPS, CRF)
        content = base64.b64encode(path.read_bytes()).decode('ascii')
    return f'data:video/mp4;base64,{content}'


def _entry(
    shown: Shown,
    number: int,
    name: str,
    item: VideoDifference,
    truth: FrameOverlays,
    predictions: list[FrameOverlays],
    states: list[list[str]],
    window: range,
) -> str:
    """A video with its player and the timelines of both runs."""
    source = _video(shown, name, truth, predictions, window)
    video = shown.annotation.videos[name]
    part = ''
    if len(window) < video.num_frames:
        part = (
            f' · frames {window[0]} to {window[-1]} of {video.num_frames}, where they differ most'
        )
    bars = ''.join(
        f'<div class="name">{escape(run)}</div>{_timeline(of_run[window[0] - 1 : window[-1]])}'
        for run, of_run in zip(shown.runs, states, strict=True)
    )
    heads = ''.join(
        f'<div><b>{escape(run)}</b> frame-AP {frame:.1f}, video-AP {tube:.1f}</div>'
        for run, frame, tube in zip(shown.runs, item.frame_ap, item.video_ap, strict=True)
    )
    return f"""<section class="entry" id="entry{number}" tabindex="0">
<h2>{number}. {escape(name)} <small>{escape(', '.join(_classes(truth)))}{part}</small></h2>
<div class="heads">{heads}</div>
<video src="{source}" data-fps="{video.fps or FPS:g}" data-first="{window[0]}"
 data-count="{len(window)}" muted playsinline preload="auto"></video>
<div class="controls"><button class="back" title="one frame back (left arrow)">◀</button><button
 class="play" title="play and pause (space)">play</button><button class="next"
 title="one frame on (right arrow)">▶</button><select class="speed" title="speed"><option
 value="0.25">¼</option><option value="0.5">½</option><option value="1" selected>1</option><option
 value="2">2</option></select><output></output></div>
<div class="time"><div class="name"></div><input class="slider" type="range" min="0"
 max="{len(window) - 1}" value="0" aria-label="frame">{bars}</div>
<a href="#top">to the table</a>
</section>"""


def _timeline(states: Sequence[str]) -> str:
    """A bar with the state of every frame."""
    parts, begin = [], 0
    for state, run in groupby(states):
        length = len(list(run))
        parts.append(f'<rect class="{state}" x="{begin}" width="{length}" height="1"></rect>')
        begin += length
    size = f'viewBox="0 0 {len(states)} 1" preserveAspectRatio="none"'
    return f'<div class="bar"><svg {size}>{"".join(parts)}</svg></div>'


def _row(
    number: int,
    name: str,
    item: VideoDifference,
    truth: FrameOverlays,
    states: list[list[str]],
) -> str:
    """A line of the table."""
    cells = [
        f'<a href="#entry{number}">{escape(name)}</a>',
        escape(', '.join(_classes(truth))),
        f'{item.frames:+.1f}',
        *(f'{value:.1f}' for value in (*item.frame_ap, *item.video_ap)),
        *(str(of_run.count(RIGHT)) for of_run in states),
    ]
    return f'<tr>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _classes(truth: FrameOverlays) -> list[str]:
    return sorted({box.label for boxes in truth.values() for box in boxes})


def _introduction(shown: Shown, count: int, total: int, result: Mapping[str, Any]) -> str:
    """What the page shows, and by which measure the videos were chosen."""
    frames = 'all frames' if shown.background_frames else 'frames with ground truth'
    return (
        f'{escape(shown.annotation.dataset)}, split {escape(result["split"])}: the {count} of'
        f' {total} videos where the two differ most in frame-AP. Frame-AP of a video is the'
        ' mean over the classes that it shows, computed on this video alone; difference is the'
        f' second minus the first. Protocol {escape(result["protocol"])}, {frames}. Boxes: ground'
        f' truth dashed; detections of a score of at least {shown.score_thr:g} solid, of those'
        ' that overlap the best.'
    )


def _means(names: list[str], results: Sequence[Mapping[str, Any]]) -> str:
    """The whole test set's scores as a table."""
    head = ''.join(f'<th>{key.replace("_", "-")}</th>' for key in MEANS)
    rows = ''
    for name, result in zip(names, results, strict=True):
        values = (result.get(key) for key in MEANS)
        cells = ''.join(f'<td>{"-" if v is None else f"{v:.1f}"}</td>' for v in values)
        rows += f'<tr><td>{escape(name)}</td>{cells}</tr>'
    return f'<table><tr><th>whole split</th>{head}</tr>{rows}</table>'
