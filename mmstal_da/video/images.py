"""Folders of images as videos: one image, and how many there are.

OpenCV decodes; what it does without a word is an error here: it fills the rest of a JPEG that is
cut off with grey, and it turns an image that has an orientation in its EXIF data.
"""

import io
import os
import re

import cv2
import numpy as np
from PIL import Image

from mmstal_da.errors import VideoError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
ORIENTATION = 0x0112  # of EXIF
_EXIF = (b'Exif\0\0', b'eXIf', b'EXIF', b'II*\0', b'MM\0*')  # JPEG, PNG, WebP, TIFF


def read_image(folder: str, filename_tmpl: str, index: int) -> np.ndarray:
    """Image ``index`` of a folder, (H, W, 3) uint8 RGB.

    Raises:
        VideoError: It is missing, damaged or turned.
    """
    file = os.path.join(folder, filename_tmpl.format(index))
    if not os.path.isfile(file):
        raise VideoError(
            f'no image {file!r} for frame {index}: the folder holds frames 1 to '
            f'{count_images(folder, filename_tmpl)} of pattern {filename_tmpl!r}'
        )
    with open(file, 'rb') as opened:
        data = opened.read()
    where = f'{file} (frame {index})'
    refuse_image(data, where)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise VideoError(f'{where} cannot be decoded ({error})') from error
    if image is None:
        raise VideoError(f'{where} is not an image that can be decoded')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def refuse_image(data: bytes, where: str) -> None:
    """Refuse an image that is empty, cut off or turned by its EXIF data.

    Args:
        data: The file.
        where: Its name, for the message.

    Raises:
        VideoError: Says which.
    """
    if not data:
        raise VideoError(f'{where} is empty: extract the frames again')
    cut = data.startswith(b'\xff\xd8') and not data.endswith(b'\xff\xd9')
    if not cut and not any(mark in data[: 1 << 16] for mark in _EXIF):
        return
    try:
        with Image.open(io.BytesIO(data)) as image:
            turned = image.getexif().get(ORIENTATION, 1)
            if cut:  # or there is something after its end
                image.load()
    # what Pillow raises on damaged data depends on the format
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VideoError(
            f'{where} cannot be decoded ({error}): extract the frames again'
        ) from error
    if turned != 1:
        raise VideoError(
            f'{where} asks viewers to turn it (EXIF orientation {turned}); boxes cannot follow'
            ' that. Turn the pixels themselves (mogrify -auto-orient)'
        )


def count_images(folder: str, filename_tmpl: str) -> int:
    """Number of images 1, 2, 3, ... of a folder.

    Raises:
        VideoError: Images of the pattern follow after a gap.
    """
    count = 0
    while os.path.isfile(os.path.join(folder, filename_tmpl.format(count + 1))):
        count += 1
    beyond = [number for number in _numbers(folder, filename_tmpl) if number > count]
    if beyond:
        raise VideoError(
            f'{folder}: image {filename_tmpl.format(count + 1)!r} is missing, but there is'
            f' {filename_tmpl.format(min(beyond))!r}: extract the frames again'
        )
    return count


def _numbers(folder: str, filename_tmpl: str) -> set[int]:
    """Numbers of the images that are there."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise VideoError(f'{folder} is no folder of images ({error.strerror})') from error
    return {
        int(digits)
        for name in names
        for digits in re.findall(r'[0-9]+', name)
        if filename_tmpl.format(int(digits)) == name
    }
