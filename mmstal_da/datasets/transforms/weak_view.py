"""Keeps a clip as it is before its strong augmentation: what a mean teacher sees."""

from typing import Any

from mmcv.transforms import BaseTransform

from mmstal_da.registry import TRANSFORMS

GEOMETRY = ('img_shape', 'scale_factor', 'flip', 'flip_direction', 'crop_bbox', 'crop_quadruple')


@TRANSFORMS.register_module()
class KeepWeakView(BaseTransform):
    """Keep the frames of the weak view, for :class:`TeacherStudentDetector`.

    It stands in the target's pipeline after the geometry (resize, flip, crop) and before
    :class:`AugmentClip`. :class:`PackTubeInputs` packs the frames as ``weak_inputs``. Boxes of one
    view are then boxes of the other.

    Required keys: ``imgs``. Added: ``weak_imgs``, copies of the frames, and ``weak_geometry``.
    """

    def transform(self, results: dict) -> dict:
        """Copy the frames."""
        results['weak_imgs'] = [img.copy() for img in results['imgs']]
        results['weak_geometry'] = geometry(results)
        return results


def geometry(results: dict) -> dict[str, Any]:
    """Where the pixels of a frame come from, as the transforms note it."""
    found = {key: results[key] for key in GEOMETRY if key in results}
    # arrays become tuples, which compare as a whole
    return {k: tuple(v.tolist()) if hasattr(v, 'tolist') else v for k, v in found.items()}


def check_geometry(results: dict) -> None:
    """See that nothing moved the frames after the weak view was kept.

    Raises:
        ValueError: A transform that moves pixels stands after :class:`KeepWeakView`.
    """
    kept, now = results['weak_geometry'], geometry(results)
    changed = sorted(key for key in kept.keys() | now.keys() if kept.get(key) != now.get(key))
    shapes = {img.shape for img in (*results['weak_imgs'], *results['imgs'])}
    if changed or len(shapes) > 1 or len(results['weak_imgs']) != len(results['imgs']):
        what = ', '.join(changed) or 'imgs'
        raise ValueError(
            f'{results["video_name"]!r} frame {results["key_frame"]}: {what}'
            ' changed after KeepWeakView, so boxes of the weak view are no boxes of the strong'
            ' one; put resize, flip and crop before KeepWeakView'
        )
