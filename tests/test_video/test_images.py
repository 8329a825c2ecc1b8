"""Images that are damaged, turned or missing are errors that name them."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mmstal_da.errors import VideoError
from mmstal_da.video.images import count_images, read_image
from mmstal_da.video.reader import count_frames, frame_size, iter_frames, read_frames
from tests.clips import number_shown, numbered_frames

TEMPLATE = '{:05d}.jpg'


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(0).integers(0, 60, (48, 64, 3), np.uint8)
    for number, image in enumerate(numbered_frames(6), 1):
        Image.fromarray(image // 2 + noise).save(tmp_path / TEMPLATE.format(number), quality=95)
    return tmp_path


def test_the_pixels_are_those_of_opencv(folder):
    for number in range(1, 7):
        expected = cv2.imread(str(folder / TEMPLATE.format(number)))[..., ::-1]
        assert np.array_equal(read_image(str(folder), TEMPLATE, number), expected)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'bmp', 'tif'])
@pytest.mark.parametrize('share', [0.3, 0.9])
def test_an_image_that_is_cut_off(folder, suffix, share):
    template = f'{{:05d}}.{suffix}'
    file = folder / template.format(9)
    Image.open(folder / TEMPLATE.format(1)).save(file)
    assert read_image(str(folder), template, 9).shape == (48, 64, 3)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(VideoError, match=rf'00009\.{suffix} \(frame 9\)'):
        read_image(str(folder), template, 9)
    file.write_bytes(b'')
    with pytest.raises(VideoError, match=rf'00009\.{suffix} \(frame 9\) is empty'):
        read_image(str(folder), template, 9)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(folder):
    file = folder / TEMPLATE.format(2)
    before = read_frames(folder, [2], TEMPLATE)[0]
    file.write_bytes(file.read_bytes() + b'a camera wrote this\0\0')
    assert np.array_equal(read_frames(folder, [2], TEMPLATE)[0], before)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif'])
def test_an_orientation_is_refused(folder, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    template = f't{{:d}}.{suffix}'
    Image.open(folder / TEMPLATE.format(1)).save(folder / template.format(1), exif=exif)
    for read in (read_frames, frame_size):
        arguments = (folder, [1], template) if read is read_frames else (folder, template)
        with pytest.raises(VideoError, match=rf't1\.{suffix} .*EXIF orientation 6'):
            read(*arguments)
    exif[0x0112] = 1
    Image.open(folder / TEMPLATE.format(1)).save(folder / template.format(1), exif=exif)
    assert frame_size(folder, template) == (64, 48)


def test_a_number_that_is_missing_is_no_end(folder):
    assert count_frames(folder, TEMPLATE) == count_images(str(folder), TEMPLATE) == 6
    (folder / '7.jpg').touch()  # not of the pattern
    (folder / '000008.jpg').touch()
    assert count_images(str(folder), TEMPLATE) == 6
    (folder / TEMPLATE.format(3)).unlink()
    for read in (count_frames, lambda *args: list(iter_frames(*args))):
        with pytest.raises(VideoError, match=r"'00003.jpg' is missing, but there is '00004.jpg'"):
            read(folder, TEMPLATE)


def test_deep_images_read_as_eight_bits(folder):
    deep = numbered_frames(5)[4][..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / 'd1.png')
    assert number_shown(read_frames(folder, [1], 'd{}.png')[0]) == 5


def test_a_thumbnail_in_a_cut_off_jpeg_is_not_its_end(folder):
    """The bytes of the end of image also occur in the thumbnail within EXIF."""
    thumbnail = io.BytesIO()
    Image.new('RGB', (8, 8)).save(thumbnail, 'JPEG')
    file = folder / TEMPLATE.format(1)
    whole = file.read_bytes()
    extra = b'\xff\xe2' + (len(thumbnail.getvalue()) + 2).to_bytes(2, 'big') + thumbnail.getvalue()
    file.write_bytes(whole[:2] + extra + whole[2:])
    assert read_image(str(folder), TEMPLATE, 1).shape == (48, 64, 3)
    file.write_bytes((whole[:2] + extra + whole[2:])[:-40])
    with pytest.raises(VideoError, match=r'00001\.jpg'):
        read_image(str(folder), TEMPLATE, 1)
