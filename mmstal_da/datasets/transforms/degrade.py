"""Fog, low light and noise: a domain shift on real videos whose strength can be set."""

import zlib

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmstal_da.registry import TRANSFORMS
from mmstal_da.utils.values import check_values, number, whole


@TRANSFORMS.register_module()
class DegradeFrames(BaseTransform):
    """Show a video as a camera would on a foggy evening.

    The counterpart for videos of Foggy Cityscapes (Sakaridis et al., IJCV 2018). The look of a
    video is drawn from ``seed`` and its name. It is the same in every epoch, split and process, and
    constant over its frames. Only the noise changes from frame to frame, but it is the same every
    time a frame is read. In order:

    - low light: ``255 (x / 255)^gamma`` with ``gamma`` in ``1 + low_light [0.8, 1.6]``;
    - fog: ``x t + A (1 - t)``, ``t = exp(-beta d)``, with ``beta`` in ``fog [1.2, 2.4]``, a depth
      ``d`` in [0, 1] that grows smoothly and irregularly from the bottom to the top of the frame
      (no real depth is known), and an air light ``A``, dimmed like the scene;
    - noise: Gaussian, standard deviation in ``255 noise [0.08, 0.16]``.

    Required keys: ``imgs``, ``frame_inds``, ``video_name``. Changed: ``imgs``.

    Args:
        fog, low_light, noise: Strengths; 0 leaves that part out, 1 is severe.
        seed: One seed for all videos.
    """

    value_rules = dict(fog=number(0), low_light=number(0), noise=number(0), seed=whole(0))

    def __init__(
        self, fog: float = 0.0, low_light: float = 0.0, noise: float = 0.0, seed: int = 0
    ) -> None:
        check_values(self.value_rules, locals())
        self.fog = fog
        self.low_light = low_light
        self.noise = noise
        self.seed = seed

    def transform(self, results: dict) -> dict:
        """Degrade every frame of the clip."""
        rng = np.random.default_rng([self.seed, zlib.crc32(results['video_name'].encode())])
        # all numbers of a video are always drawn, so the strengths stay independent
        dark, dense, grain, air = rng.uniform(size=4)
        tint = rng.uniform(0.94, 1.0, 3)
        lumps = rng.uniform(size=(4, 5)).astype(np.float32)
        field = rng.standard_normal((1 << 16) + 4096, dtype=np.float32)

        gamma = 1 + self.low_light * (0.8 + 0.8 * dark)
        table = (255 * (np.arange(256) / 255) ** gamma).astype(np.float32)
        height, width = results['imgs'][0].shape[:2]
        thickness = self.fog * (1.2 + 1.2 * dense)
        transmission = np.exp(-thickness * depth(height, width, lumps)).repeat(3, axis=2)
        transmission = transmission.astype(np.float32)
        air_light = 255 * ((0.75 + 0.2 * air) * tint) ** gamma
        veil = ((1 - transmission) * air_light).astype(np.float32)
        sigma = 255 * self.noise * (0.08 + 0.08 * grain)

        grains = np.resize(np.float32(sigma) * field, 3 * height * width + 4096)
        imgs = []
        for index, img in zip(results['frame_inds'].tolist(), results['imgs'], strict=True):
            out = cv2.LUT(img, table)
            cv2.multiply(out, transmission, dst=out)
            cv2.add(out, veil, dst=out)
            offset = np.random.default_rng([self.seed, index]).integers(4096)
            grain = grains[offset:][: out.size].reshape(out.shape)
            imgs.append(cv2.add(out, grain, dtype=cv2.CV_8U))  # rounds and clips
        results['imgs'] = imgs
        return results


def depth(height: int, width: int, lumps: np.ndarray) -> np.ndarray:
    """A smooth map from near (0) at the bottom to far (1) at the top.

    Args:
        height, width: Size of the frame in pixels.
        lumps: (h, w) float32 in [0, 1], a coarse map of irregularities.

    Returns:
        (height, width, 1) float32 in [0, 1].
    """
    slope = np.linspace(1, 0.2, height, dtype=np.float32)[:, None]
    smooth = cv2.resize(lumps, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(0.6 * slope + 0.4 * smooth, 0, 1)[..., None]
