"""The tubes that a teacher has found in the target's videos, as labels of single clips."""

from collections.abc import Mapping

import numpy as np
import torch
from mmengine.structures import InstanceData

FrameBoxes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of a video: frames (m,) int64, sorted; boxes (m, 4) float32; labels (m,) int64, -1: ignored."""


class TubeMemory:
    """Boxes of tubes by video and frame.

    A frame without any box is background.

    Args:
        videos: Video -> its boxes, ``x1 y1 x2 y2`` in annotation pixels, ends inclusive; see
            :func:`mmstal_da.tubes.selection.boxes_by_frame`. A video that is missing has none.
    """

    def __init__(self, videos: Mapping[str, FrameBoxes]) -> None:
        self.videos = dict(videos)

    def labels_of(self, sample) -> tuple[InstanceData, InstanceData]:
        """The labels of a clip, in the pixels of its input.

        Args:
            sample: With ``video_name``, ``key_frame``, ``scale_factor``, ``img_shape`` and ``flip``
                in its metainfo, as :class:`PackTubeInputs` packs them.

        Returns:
            The boxes to learn, ``bboxes`` (n, 4) and ``labels`` (n,), and those to leave out.
        """
        meta = sample.metainfo
        frames, boxes, labels = self.videos.get(meta['video_name'], _NONE)
        first, last = np.searchsorted(frames, [meta['key_frame'], meta['key_frame'] + 1])
        scale = np.tile(np.asarray(meta['scale_factor'], np.float32), 2)
        # in edge coordinates, in which resizing and flipping are exact, and back
        edges = (boxes[first:last] + np.array([0, 0, 1, 1], np.float32)) * scale
        if meta['flip']:
            width = meta['img_shape'][1]
            edges[:, [0, 2]] = width - edges[:, [2, 0]]
        edges[:, 2:] -= scale[2:]
        found = InstanceData(
            bboxes=torch.from_numpy(edges), labels=torch.from_numpy(labels[first:last])
        )
        learnt = found.labels >= 0
        return found[learnt], found[~learnt]

    def state_dict(self) -> dict[str, tuple[torch.Tensor, ...]]:
        """Everything, to be saved."""
        return {
            name: tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
            for name, parts in self.videos.items()
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, tuple[torch.Tensor, ...]]) -> 'TubeMemory':
        """What :meth:`state_dict` gave."""
        videos = {}
        for name, (frames, boxes, labels) in state.items():
            videos[name] = (frames.numpy(), boxes.numpy(), labels.numpy())
        return cls(videos)


_NONE: FrameBoxes = (np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
