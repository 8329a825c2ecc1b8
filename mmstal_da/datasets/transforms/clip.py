"""Choosing and decoding the frames around a key frame."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmstal_da.errors import AnnotationError, VideoError
from mmstal_da.registry import TRANSFORMS
from mmstal_da.tubes.plausible import off_frame
from mmstal_da.utils.values import check_values, whole
from mmstal_da.video.frame_cache import limit_in_bytes
from mmstal_da.video.reader import read_frames


@TRANSFORMS.register_module()
class SampleKeyFrameClip(BaseTransform):
    """Choose ``clip_len`` frames with the key frame at index ``clip_len // 2``.

    Before the first frame and after the last, the nearest frame is repeated (edge clamping).

    Required keys: ``key_frame`` (1-based), ``total_frames``. Added: ``frame_inds`` (T,) int64,
    1-based, and ``key_index``.

    Args:
        clip_len: Frames of the clip, T.
        frame_interval: Step between them.
    """

    value_rules = dict(clip_len=whole(), frame_interval=whole())

    def __init__(self, clip_len: int = 20, frame_interval: int = 1) -> None:
        check_values(self.value_rules, locals())
        self.clip_len = clip_len
        self.frame_interval = frame_interval

    def transform(self, results: dict) -> dict:
        """Choose the frames."""
        key_index = self.clip_len // 2
        offsets = (np.arange(self.clip_len) - key_index) * self.frame_interval
        frames = results['key_frame'] + offsets
        results['frame_inds'] = np.clip(frames, 1, results['total_frames'])
        results['key_index'] = key_index
        return results


@TRANSFORMS.register_module()
class DecodeFrames(BaseTransform):
    """Read the frames and scale the boxes to their resolution.

    From here to :class:`PackTubeInputs` boxes are in edge coordinates: the inclusive last pixel
    becomes its outer edge. In these coordinates resizing and flipping (``x -> width - x``) are
    exact.

    Required keys: ``filename``, ``filename_tmpl``, ``frame_inds``, ``height`` and ``width`` of
    the annotation (None: those of the decoded frames), and optionally ``gt_bboxes`` (n, 4) and
    ``proposals`` (k, 4) in annotation pixels.

    A frame without any proposal gets one of the whole frame with score 0, because MMAction2's heads
    need at least one (its AVA data set also adds a whole frame, but with score 1). ``TubeMetric``
    multiplies class scores by the 0, so this proposal has no effect.

    Added or changed keys

    - ``imgs``: list of T (H, W, 3) uint8 RGB arrays;
    - ``img_shape``: (H, W) as decoded; ``original_shape``: (h, w) of the annotation;
    - ``scale_factor``: (2,) float32, decoded width and height by the annotation's;
    - ``gt_bboxes``: (n, 4) float32, in edge coordinates of the decoded frames;
    - ``gt_areas``: (n,) float32, the boxes' areas in annotation pixels;
    - ``proposals``: (k, 4) float32, k >= 1, also in edge coordinates; ``proposal_scores`` (k,);
    - ``modality``: ``'RGB'``, which MMAction2's transforms need.

    Raises:
        AnnotationError: A labelled box is not in the frame.
        ConfigError: ``MMSTAL_DA_FRAME_CACHE`` is no number (:mod:`mmstal_da.video.frame_cache`).
        VideoError: A frame cannot be read, or frames differ in size.
    """

    def __init__(self) -> None:
        limit_in_bytes()  # a wrong limit is an error before any worker begins

    def transform(self, results: dict) -> dict:
        """Read the frames."""
        indices = results['frame_inds'].tolist()
        imgs = read_frames(results['filename'], indices, results['filename_tmpl'])
        return self.take(results, imgs)

    @staticmethod
    def take(results: dict, imgs: list[np.ndarray]) -> dict:
        """What follows reading, with frames ``frame_inds`` that are read already."""
        indices = results['frame_inds'].tolist()
        height, width = imgs[0].shape[:2]
        for index, img in zip(indices, imgs, strict=True):
            if img.shape[:2] != (height, width):
                raise VideoError(
                    f'{results["filename"]}: frame {index} is {img.shape[1]}x{img.shape[0]},'
                    f' frame {indices[0]} {width}x{height}; all must have one size'
                )
        original = (results['height'], results['width'])
        if None in original:
            original = (height, width)
        scale = np.array([width / original[1], height / original[0]], np.float32)
        results['imgs'] = imgs
        results['img_shape'] = (height, width)
        results['original_shape'] = original
        results['scale_factor'] = scale
        results['modality'] = 'RGB'
        if 'gt_bboxes' in results:
            off = off_frame(results['gt_bboxes'], original[1], original[0])
            if off.any():
                box = ' '.join(f'{value:g}' for value in results['gt_bboxes'][off][0])
                raise AnnotationError(
                    f'{results["filename"]}, frame {results["key_frame"]}: box {box} is not in the'
                    f' frame of {original[1]}x{original[0]} pixels; correct the annotation'
                )
            edges = results['gt_bboxes'] + np.array([0, 0, 1, 1], np.float32)
            results['gt_areas'] = (edges[:, 2:] - edges[:, :2]).prod(1)
            results['gt_bboxes'] = edges * np.tile(scale, 2)
        if 'proposals' in results:
            edges = results['proposals'] + np.array([0, 0, 1, 1], np.float32)
            results['proposals'] = edges * np.tile(scale, 2)
            if not len(edges):
                results['proposals'] = np.array([[0, 0, width, height]], np.float32)
                results['proposal_scores'] = np.zeros(1, np.float32)
        return results
