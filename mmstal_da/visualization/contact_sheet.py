"""Many small pictures on one page."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .drawing import load_font


def contact_sheet(
    images: Sequence[np.ndarray],
    columns: int,
    captions: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    gap: int = 8,
    font_size: int = 16,
) -> np.ndarray:
    """Arrange images of one size row by row on a white page.

    Args:
        images: (H, W, 3) uint8 RGB each.
        columns: Images per row.
        captions: A line below each image.
        row_titles: A line above each row.
        gap: Pixels between images.
        font_size: Font size in pixels.

    Returns:
        The page, (H', W', 3) uint8 RGB.
    """
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise ValueError(f'the images of a contact sheet have one size, not {sorted(shapes)}')
    rows = -(-len(images) // columns)
    for name, texts, count in (
        ('captions', captions, len(images)),
        ('row_titles', row_titles, rows),
    ):
        if texts is not None and len(texts) != count:
            raise ValueError(f'{len(texts)} {name} for {count} places')
    height, width, _ = images[0].shape
    line = font_size + 8
    above = line + 4 if row_titles is not None else 0
    below = line if captions is not None else 0
    pitch = above + height + below + gap
    page = Image.new('RGB', (gap + columns * (width + gap), gap + rows * pitch), 'white')
    pen = ImageDraw.Draw(page)
    for row, title in enumerate(row_titles or ()):
        place = (gap, gap + row * pitch + line // 2)
        pen.text(place, title, font=load_font(font_size + 2, bold=True), fill='black', anchor='lm')
    for index, image in enumerate(images):
        left, top = gap + index % columns * (width + gap), gap + index // columns * pitch + above
        page.paste(Image.fromarray(image), (left, top))
        if captions is not None:
            place = (left + width // 2, top + height + line // 2)
            font = load_font(font_size)
            pen.text(place, captions[index], font=font, fill=(40, 40, 40), anchor='mm')
    return np.asarray(page)
