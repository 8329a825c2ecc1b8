"""Draws boxes with class names and scores on a frame. Images are (H, W, 3) uint8 RGB."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .overlays import Overlay

Colour = tuple[int, int, int]
"""RGB."""

GROUND_TRUTH: Colour = (80, 255, 80)
"""Ground truth is drawn in this green, which no class has."""

PREDICTION: Colour = (235, 235, 235)
"""Stands for predictions of any class in a legend."""

CLASS_COLOURS: tuple[Colour, ...] = (
    (255, 133, 27),
    (64, 156, 255),
    (255, 77, 109),
    (255, 214, 10),
    (190, 110, 255),
    (0, 210, 211),
    (255, 140, 220),
    (205, 160, 110),
)


def class_colour(classes: Sequence[str], label: str) -> Colour:
    """The colour of a class, by its position in the list; grey for others."""
    if label not in classes:
        return (200, 200, 200)
    return CLASS_COLOURS[list(classes).index(label) % len(CLASS_COLOURS)]


@lru_cache(maxsize=32)
def load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with Matplotlib, ``size`` pixels high."""
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(Path(matplotlib.get_data_path(), 'fonts', 'ttf', name), size)


def scale_box(
    box: Sequence[float], original: tuple[int, int], shown: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Scale a box with inclusive ends to another resolution.

    Args:
        box: ``x1 y1 x2 y2`` in pixels of ``original``, ends inclusive.
        original: (height, width) that the box refers to.
        shown: (height, width) of the image on which the box is drawn.

    Returns:
        ``x1 y1 x2 y2`` in pixels of ``shown``, ends inclusive. When a box is enlarged, its last
        pixel becomes several pixels; the new box ends with the last of these.
    """
    scale_y, scale_x = shown[0] / original[0], shown[1] / original[1]
    x1, y1, x2, y2 = box
    return (x1 * scale_x, y1 * scale_y, (x2 + 1) * scale_x - 1, (y2 + 1) * scale_y - 1)


def draw_overlays(
    image: np.ndarray,
    predictions: Sequence[Overlay],
    ground_truth: Sequence[Overlay],
    classes: Sequence[str],
    original: tuple[int, int],
    gt_labels: bool = True,
) -> np.ndarray:
    """Draw predictions (solid, class and score above) over ground truth (dashed, class below).

    Args:
        image: (H, W, 3) uint8 RGB, not changed.
        predictions: Boxes in pixels of ``original``; the first is drawn on top.
        ground_truth: The same for ground truth.
        classes: Class names, for the colours.
        original: (height, width) that the boxes refer to.
        gt_labels: Whether to write the classes of the ground truth.
    """
    image = image.copy()
    size = image.shape[:2]
    line = max(1, round(min(size) / 190))
    chips = []
    for overlay in ground_truth:
        box = scale_box(overlay.box, original, size)
        draw_dashed_box(image, box, GROUND_TRUTH, line)
        if gt_labels:
            chips.append((overlay.label, box, (20, 70, 20), GROUND_TRUTH, 'below'))
    for overlay in reversed(predictions):
        box = scale_box(overlay.box, original, size)
        colour = class_colour(classes, overlay.label)
        draw_box(image, box, colour, line + 1)
        text = overlay.label if overlay.score is None else f'{overlay.label} {overlay.score:.2f}'
        chips.append((text, box, colour, (0, 0, 0), 'above'))
    return draw_chips(image, chips)


def draw_box(image: np.ndarray, box: Sequence[float], colour: Colour, thickness: int) -> None:
    """Draw a rectangle into ``image``, around the pixels ``x1 y1 x2 y2``."""
    x1, y1, x2, y2 = (round(value) for value in box)
    # a dark rim keeps the line visible on any background
    rim = (thickness + 2 * max(1, thickness // 2), tuple(channel // 4 for channel in colour))
    for width, shade in (rim, (thickness, colour)):
        cv2.rectangle(image, (x1, y1), (x2, y2), shade, width, cv2.LINE_8)


def draw_dashed_box(
    image: np.ndarray, box: Sequence[float], colour: Colour, thickness: int
) -> None:
    """Draw a dashed rectangle into ``image``."""
    x1, y1, x2, y2 = (round(value) for value in box)
    dash = max(4, 5 * thickness)
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
    for start, end in pairwise(corners):
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
        for begin in range(0, length + 1, 2 * dash):
            stop = min(begin + dash, length)
            along = np.array([[begin], [stop]]) / max(length, 1)
            first, last = np.rint(start + along * np.subtract(end, start)).astype(int).tolist()
            rim = tuple(channel // 5 for channel in colour)
            cv2.line(image, first, last, rim, thickness + 2)
            cv2.line(image, first, last, colour, thickness)


def draw_chips(
    image: np.ndarray,
    chips: Sequence[tuple[str, Sequence[float], Colour, Colour, str]],
) -> np.ndarray:
    """Write labels on a coloured background at boxes; they stay in the image and off each other.

    Args:
        image: (H, W, 3) uint8 RGB.
        chips: Text, box, background colour, text colour and ``'above'`` or ``'below'`` the box.
    """
    if not chips:
        return image
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    font = load_font(max(10, round(min(image.shape[:2]) / 24)), bold=True)
    ascent, descent = font.getmetrics()
    pad, height = 3, ascent + descent + 2
    placed: list[tuple[int, int, int]] = []  # left, right, top
    for text, (x1, y1, _, y2), ground, ink, side in chips:
        width = round(pen.textlength(text, font=font)) + 2 * pad
        left = min(max(0, round(x1) - 1), max(0, image.shape[1] - width))
        top = round(y1) - height - 1 if side == 'above' else round(y2) + 3
        if side == 'above' and top < 0:
            top = max(0, round(y1) + 2)  # inside, at the upper edge
        if side == 'below' and top + height > image.shape[0]:
            top = min(round(y2) - height - 1, image.shape[0] - height)
        top = _free_place(placed, left, left + width, top, height, image.shape[0])
        placed.append((left, left + width, top))
        pen.rectangle((left, top, left + width - 1, top + height - 1), fill=ground)
        pen.text((left + pad, top + 1), text, font=font, fill=ink)
    return np.asarray(canvas)


def _free_place(
    placed: list[tuple[int, int, int]], left: int, right: int, top: int, height: int, limit: int
) -> int:
    """The nearest place above or below where a label covers no other, or ``top`` if none is."""
    taken = [t for a, b, t in placed if a < right and left < b]
    edges = [edge for t in taken for edge in (t - height - 1, t + height + 1)]
    free = [
        place
        for place in (top, *edges)
        if 0 <= place <= limit - height and all(abs(place - t) >= height for t in taken)
    ]
    return min(free, key=lambda place: abs(place - top), default=top)


def text_bar(
    width: int,
    left: str,
    legend: Sequence[tuple[str, Colour, bool]] = (),
    size: int = 14,
) -> np.ndarray:
    """A dark bar with text on the left and a legend on the right.

    Args:
        width: Width in pixels.
        left: Text; shortened if it would reach the legend.
        legend: Name, colour and whether its line is dashed.
        size: Size of the font in pixels.

    Returns:
        (size + 12 rounded up to even, width, 3) uint8 RGB.
    """
    height = size + 12 + size % 2
    canvas = Image.new('RGB', (width, height), (24, 24, 28))
    pen, font = ImageDraw.Draw(canvas), load_font(size)
    right, middle = width - 10, height // 2
    for name, colour, dashed in reversed(legend):
        right -= round(pen.textlength(name, font=font))
        pen.text((right, middle), name, font=font, fill=(235, 235, 235), anchor='lm')
        right -= 30
        for begin in range(0, 24, 8):
            end = begin + (4 if dashed else 8)
            pen.rectangle((right + begin, middle - 1, right + end - 1, middle + 1), fill=colour)
        right -= 14
    while left and pen.textlength(left, font=font) > right - 10:
        left = left[:-2].rstrip('…') + '…' if len(left) > 2 else ''
    pen.text((10, middle), left, font=font, fill=(235, 235, 235), anchor='lm')
    return np.asarray(canvas)
