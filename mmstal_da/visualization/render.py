"""Renders the videos of an annotation file with ground truth and predictions."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from mmstal_da.tubes.annotation import Video
from mmstal_da.video.reader import read_frames

from .drawing import GROUND_TRUTH, PREDICTION, draw_overlays, text_bar
from .overlays import FrameOverlays


def render_frames(
    frames: Sequence[np.ndarray],
    numbers: Sequence[int],
    predictions: FrameOverlays,
    ground_truth: FrameOverlays,
    classes: Sequence[str],
    original: tuple[int, int],
    title: str = '',
    min_height: int = 384,
    gt_labels: bool = True,
) -> Iterator[np.ndarray]:
    """Enlarge frames and draw boxes on them.

    Args:
        frames: (H, W, 3) uint8 RGB each; any resolution.
        numbers: 1-based frame number of each.
        predictions: Boxes by frame, in pixels of ``original``.
        ground_truth: The same for ground truth.
        classes: Class names, for the colours.
        original: (height, width) of the annotation.
        title: Shown below the frame together with the frame number; empty omits the bar.
        min_height: Smaller frames are enlarged to this height.
        gt_labels: Whether to write the classes of the ground truth.

    Yields:
        (H', W', 3) uint8 RGB, H' and W' even.
    """
    legend = []
    if ground_truth:
        legend.append(('ground truth', GROUND_TRUTH, True))
    if predictions:
        legend.append(('prediction', PREDICTION, False))
    for frame, number in zip(frames, numbers, strict=True):
        height, width = frame.shape[:2]
        shown_height = max(height, min_height) // 2 * 2
        shown_width = round(width * shown_height / height / 2) * 2
        # cubic is sharp when enlarging, area has no aliasing when shrinking (an odd size loses a
        # pixel)
        method = cv2.INTER_CUBIC if shown_height > height else cv2.INTER_AREA
        image = cv2.resize(frame, (shown_width, shown_height), interpolation=method)
        image = draw_overlays(
            image,
            predictions.get(number, ()),
            ground_truth.get(number, ()),
            classes,
            original,
            gt_labels,
        )
        if title:
            bar = text_bar(shown_width, f'{title}  ·  frame {number}', legend)
            image = np.concatenate([image, bar])
        yield image


def render_video(
    video: Video,
    data_prefix: str | os.PathLike[str],
    predictions: FrameOverlays,
    ground_truth: FrameOverlays,
    classes: Sequence[str],
    title: str = '',
    numbers: Sequence[int] | None = None,
    **kwargs: Any,
) -> list[np.ndarray]:
    """Read a video and render it.

    Args:
        video: Its path and the size that its boxes refer to.
        data_prefix: Folder that ``video.path`` is relative to.
        predictions: Boxes by frame.
        ground_truth: Boxes by frame.
        classes: Class names, for the colours.
        title: See :func:`render_frames`.
        numbers: 1-based frames to render; None takes all frames of the annotation.
        **kwargs: ``min_height`` and ``gt_labels`` of :func:`render_frames`.
    """
    numbers = list(range(1, video.num_frames + 1)) if numbers is None else list(numbers)
    path = os.path.join(data_prefix, video.path)
    frames = read_frames(path, numbers, video.filename_tmpl)
    own = video.width is None  # then boxes refer to the size at which the video decodes
    original = frames[0].shape[:2] if own else (video.height, video.width)
    rendered = render_frames(
        frames, numbers, predictions, ground_truth, classes, original, title, **kwargs
    )
    return list(rendered)
