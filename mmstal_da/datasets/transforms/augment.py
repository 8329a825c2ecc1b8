"""Strong augmentation of a clip: colour, grey, blur, noise and erasing, alike on all frames."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmstal_da.registry import TRANSFORMS
from mmstal_da.utils.values import SHARE, check_values, number, several

GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
YIQ = np.array([GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


@TRANSFORMS.register_module()
class AugmentClip(BaseTransform):
    """The strong view of domain-adaptive detectors (as in ALDI, Kay et al. 2024), for clips.

    What is drawn holds for the whole clip: a frame looks as its neighbours do. Only the noise
    differs from frame to frame. Brightness, contrast, saturation and hue are one affine map of
    colours, so a pixel is touched once. Boxes stay as they are.

    Required keys: ``imgs``, a list of (H, W, 3) uint8 RGB. Changed: ``imgs``.

    Args:
        prob: Probability that a clip is changed at all.
        brightness, contrast, saturation: Factors are drawn from ``[1 - x, 1 + x]``.
        hue: Share of a turn, drawn from ``[-hue, hue]``. It turns colours around the grey axis of
            YIQ, a linear approximation of the turn in HSV.
        grey: Probability of a clip without colour.
        blur: Probability of a Gaussian blur.
        sigma: Range of the blur's standard deviation, in pixels.
        noise: Largest standard deviation of Gaussian noise, in grey levels; a clip draws its own.
        erase: Probability of a rectangle of noise in place of the picture.
        erase_area: Range of its area, as a share of the frame.

    Raises:
        ValueError: A probability or strength is out of range.
    """

    value_rules = dict(
        prob=SHARE, brightness=SHARE, contrast=SHARE, saturation=SHARE, grey=SHARE, blur=SHARE,
        erase=SHARE, hue=number(0, 0.5), noise=number(0), sigma=several(number(above=0), 2),
        erase_area=several(number(above=0, most=1), 2),
    )  # fmt: skip

    def __init__(
        self,
        prob: float = 0.8,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        grey: float = 0.2,
        blur: float = 0.5,
        sigma: Sequence[float] = (0.1, 2.0),
        noise: float = 8.0,
        erase: float = 0.3,
        erase_area: Sequence[float] = (0.02, 0.1),
    ) -> None:
        check_values(self.value_rules, locals())
        for name, (low, high) in dict(sigma=sigma, erase_area=erase_area).items():
            if low > high:
                raise ValueError(f'AugmentClip: low <= high in `{name}`, not {low} and {high}')
        self.prob = prob
        self.strengths = dict(brightness=brightness, contrast=contrast, saturation=saturation)
        self.hue = hue
        self.grey = grey
        self.blur = blur
        self.sigma = (sigma[0], sigma[1])
        self.noise = noise
        self.erase = erase
        self.erase_area = (erase_area[0], erase_area[1])

    def transform(self, results: dict) -> dict:
        """Change every frame of the clip in the same way."""
        # as many numbers are drawn whatever happens, so that strengths stay independent
        rng = np.random.default_rng(np.random.randint(0, 2**31))  # seeded for every draw
        gate, grey, blur, erase = rng.random(4)
        factors = [1 + x * rng.uniform(-1, 1) for x in self.strengths.values()]
        turn = 2 * np.pi * self.hue * rng.uniform(-1, 1)
        sigma, deviation = rng.uniform(*self.sigma), self.noise * rng.random()
        area, ratio, left, top = rng.random(4)
        if gate >= self.prob:
            return results
        clip = np.stack(results['imgs'])
        brightness, contrast, saturation = factors
        matrix, offset = colour_map(
            brightness, contrast, 0.0 if grey < self.grey else saturation, turn, float(clip.mean())
        )
        affine = np.column_stack((matrix, np.full(3, offset)))
        shape = clip.shape
        clip = cv2.transform(clip.reshape(-1, shape[2], 3), affine).reshape(shape)
        if blur < self.blur:
            for frame in clip:
                cv2.GaussianBlur(frame, (0, 0), sigma, dst=frame)
        if deviation:
            clip = add_noise(clip, deviation, rng)
        if erase < self.erase:
            low, high = self.erase_area
            y, x = rectangle(shape[1:3], low + (high - low) * area, ratio, top, left)
            clip[:, y, x] = rng.integers(0, 256, clip[0, y, x].shape, np.uint8)
        results['imgs'] = list(clip)
        return results


def colour_map(
    brightness: float, contrast: float, saturation: float, turn: float, mean: float
) -> tuple[np.ndarray, float]:
    """Brightness, contrast, saturation and hue as one affine map of RGB.

    Args:
        brightness: Factor on the pixel.
        contrast: Factor on the distance from the clip's mean.
        saturation: Factor on the distance from the pixel's own grey.
        turn: Angle around the grey axis of YIQ, in radians.
        mean: Mean of the clip, in [0, 255].

    Returns:
        (3, 3) float64 and a number: RGB becomes ``matrix @ rgb + number``.
    """
    grey = np.tile(GREY, (3, 1))
    saturate = saturation * np.eye(3) + (1 - saturation) * grey
    turned = np.eye(3)
    turned[1:, 1:] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    hue = np.linalg.solve(YIQ, turned @ YIQ)
    return brightness * contrast * hue @ saturate, brightness * (1 - contrast) * mean


def add_noise(clip: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, another cut of one field for every frame.

    Args:
        clip: (T, H, W, 3) uint8.
        deviation: Standard deviation in grey levels.
        rng: Source of randomness.
    """
    size = clip[0].size
    field = np.rint(deviation * rng.standard_normal(size + 4096, np.float32)).astype(np.int16)
    starts = rng.integers(0, 4096, len(clip)).tolist()
    noisy = [
        cv2.add(frame, field[start : start + size].reshape(frame.shape), dtype=cv2.CV_8U)
        for frame, start in zip(clip, starts, strict=True)
    ]
    return np.stack(noisy)


def rectangle(
    shape: tuple[int, int], share: float, ratio: float, top: float, left: float
) -> tuple[slice, slice]:
    """Rows and columns of a rectangle within a frame.

    Args:
        shape: (H, W) in pixels.
        share: Area as a share of the frame's.
        ratio: In [0, 1]: from twice as wide as high to twice as high as wide.
        top, left: Where it lies, in [0, 1].
    """
    height, width = shape
    stretch = 2 ** (2 * ratio - 1)
    tall = min(max(round(np.sqrt(share * height * width * stretch)), 1), height)
    wide = min(max(round(np.sqrt(share * height * width / stretch)), 1), width)
    y, x = round(top * (height - tall)), round(left * (width - wide))
    return slice(y, y + tall), slice(x, x + wide)
