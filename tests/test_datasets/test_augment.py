"""Strong augmentation against its formulas in NumPy."""

import colorsys

import cv2
import numpy as np
import pytest

from mmstal_da.datasets.draws import seeded
from mmstal_da.datasets.transforms import AugmentClip
from mmstal_da.datasets.transforms.augment import add_noise, colour_map, rectangle

OFF = dict(brightness=0, contrast=0, saturation=0, hue=0, grey=0, blur=0, noise=0, erase=0)


def clip(frames=3, size=(24, 32)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    smooth = rng.integers(60, 190, (frames, 6, 8, 3), dtype=np.uint8)
    return [cv2.resize(frame, size[::-1], interpolation=cv2.INTER_CUBIC) for frame in smooth]


def augmented(imgs, seed=0, **options) -> np.ndarray:
    with seeded(seed):
        transform = AugmentClip(prob=1.0, **{**OFF, **options})
        return np.stack(transform(dict(imgs=[img.copy() for img in imgs]))['imgs'])


def test_nothing_switched_on_changes_nothing():
    imgs = clip()
    np.testing.assert_array_equal(augmented(imgs), imgs)
    with seeded(1):
        results = AugmentClip(prob=0.0)(dict(imgs=imgs))
    assert all(a is b for a, b in zip(results['imgs'], imgs, strict=True))


def test_brightness_contrast_and_saturation_are_torchvisions_formulas():
    """A blend with black, with the mean, with the pixel's grey, one after the other."""
    rgb = np.random.default_rng(0).uniform(80, 170, (50, 3))
    matrix, offset = colour_map(1.2, 0.7, 0.5, 0.0, rgb.mean())
    grey = rgb @ [0.299, 0.587, 0.114]
    expected = 0.5 * rgb + 0.5 * grey[:, None]
    expected = 0.7 * expected + 0.3 * rgb.mean()
    np.testing.assert_allclose(rgb @ matrix.T + offset, 1.2 * expected, rtol=1e-12)


def test_hue_turns_colours_and_leaves_grey_alone():
    for turn in (-0.2, 0.3):
        matrix, offset = colour_map(1, 1, 1, 2 * np.pi * turn, 100)
        np.testing.assert_allclose(matrix @ [90, 90, 90] + offset, [90, 90, 90], atol=0.01)
        rgb = np.array([150.0, 110.0, 100.0])
        turned = matrix @ rgb
        np.testing.assert_allclose(turned @ [0.299, 0.587, 0.114], rgb @ [0.299, 0.587, 0.114])
        before, after = (colorsys.rgb_to_hsv(*colour)[0] for colour in (rgb, turned))
        assert abs((after - before - turn + 0.5) % 1 - 0.5) < 0.06 or (
            abs((before - after - turn + 0.5) % 1 - 0.5) < 0.06
        )


@pytest.mark.parametrize(
    'options', [dict(brightness=0.5), dict(contrast=0.5), dict(saturation=0.8), dict(hue=0.3),
                dict(grey=1.0)],
)  # fmt: skip
def test_all_frames_get_the_same_colours(options):
    """One affine map fits all frames to the rounding."""
    imgs = clip()
    out = augmented(imgs, **options)
    pixels = np.concatenate([img.reshape(-1, 3) for img in imgs]).astype(float)
    design = np.column_stack((pixels, np.ones(len(pixels))))
    inside = ((out > 0) & (out < 255)).all(-1).ravel()
    fit, *_ = np.linalg.lstsq(design[inside], out.reshape(-1, 3)[inside], rcond=None)
    assert np.abs(design[inside] @ fit - out.reshape(-1, 3)[inside]).max() < 1.1
    assert not np.array_equal(out, imgs)
    if 'grey' in options:
        assert np.ptp(out, axis=-1).max() <= 1


def test_blur_is_gaussian_and_alike():
    imgs = clip()
    out = augmented(imgs, blur=1.0, sigma=(1.5, 1.5))
    for img, frame in zip(imgs, out, strict=True):
        np.testing.assert_array_equal(frame, cv2.GaussianBlur(img, (0, 0), 1.5))


def test_noise_has_its_deviation_and_differs_between_frames():
    grey = np.full((4, 64, 64, 3), 128, np.uint8)
    noise = add_noise(grey, 6.0, np.random.default_rng(0)).astype(float) - 128
    assert abs(noise.std() - 6) < 0.1 and abs(noise.mean()) < 0.2
    correlation = np.corrcoef(noise.reshape(4, -1)) - np.eye(4)
    assert np.abs(correlation).max() < 0.05


def test_one_rectangle_is_erased():
    imgs = clip(size=(48, 64))
    out = augmented(imgs, erase=1.0, erase_area=(0.1, 0.1))
    changed = (out != np.stack(imgs)).any(-1)
    rows, columns = (np.flatnonzero(changed.any(axis)) for axis in ((0, 2), (0, 1)))
    area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert abs(area / (48 * 64) - 0.1) < 0.02
    assert all(
        changed[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].mean((1, 2))
        > 0.97
    )
    inside = out[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (inside == inside[0]).all()  # the same pixels on every frame
    for share, ratio, top, left in ((1.0, 0.5, 1, 1), (1e-6, 0, 0, 1), (0.3, 1, 0.5, 0)):
        y, x = rectangle((48, 64), share, ratio, top, left)
        assert 0 <= y.start < y.stop <= 48 and 0 <= x.start < x.stop <= 64


def test_a_seed_gives_the_same_clip():
    imgs = clip()
    full = dict(brightness=0.4, blur=0.5, noise=8, erase=0.5, grey=0.2)
    np.testing.assert_array_equal(augmented(imgs, 3, **full), augmented(imgs, 3, **full))
    assert not np.array_equal(augmented(imgs, 3, **full), augmented(imgs, 4, **full))


def test_out_of_range_values_are_refused():
    for wrong in (dict(prob=1.1), dict(hue=0.6), dict(sigma=(0, 1)), dict(erase_area=(0.1, 2)),
                  dict(contrast=-1), dict(noise=-1)):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AugmentClip(**wrong)
