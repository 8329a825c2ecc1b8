"""Makes the inputs of both backbones from one uint8 clip."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmstal_da.domains import DOMAIN_OF
from mmstal_da.models.backbones.clip_windows import ClipWindows
from mmstal_da.registry import MODELS
from mmstal_da.utils.values import SWITCH, check_values, number, several, whole


@MODELS.register_module()
class ClipKeyFramePreprocessor(BaseDataPreprocessor):
    """Makes I3D's clip and ResNet's key frame from one uint8 clip, moved to the device once.

    Takes a plain batch or a dual-domain batch::

        {'inputs': [clip, …], 'data_samples': [sample, …]}
        {'source': {'inputs': …, 'data_samples': …}, 'target': {'inputs': …, 'data_samples': …}}

    where a clip is ``(3, T, H, W)`` uint8 RGB and a sample's metainfo has ``key_index``, the index
    of the key frame in the clip. A dual-domain batch becomes **one** joint batch: source first,
    then ``labelled_target`` if there is one (an upper bound, which counts as source), then target.
    Every sample's metainfo gets ``domain`` (0 source, 1 target), ``batch_input_shape`` (height,
    width) and ``pad_shape``, the size of the clip itself: what is beyond it is padding, of which
    the model sees nothing (:mod:`mmstal_da.models.layers.batch_layout`). If the target's pipeline
    keeps a weak view (:class:`KeepWeakView`), the target also has ``weak_inputs``, its clips
    before their strong augmentation. A target of several clips to an item (``target_clips``) has
    lists in place of each.

    Args:
        clip_mean: Subtracted from the clip, per RGB channel.
        clip_std: Divides the clip. The defaults map [0, 255] to [-1, 1], as I3D was trained.
        key_mean: Subtracted from the key frame, in the backbone's channel order.
        key_std: Divides the key frame.
        key_bgr: Whether the key frame's backbone reads BGR (caffe weights); else RGB.
        pad_size_divisor: Height and width are padded at the bottom and right, with the mean, to
            a multiple of this.
        non_blocking: Copy to the device asynchronously.
        clip_bgr: Whether the clip's backbone reads BGR; its mean and std are then in that order.
    """

    value_rules = dict(
        clip_mean=several(number(), 3),
        clip_std=several(number(above=0), 3),
        key_mean=several(number(), 3),
        key_std=several(number(above=0), 3),
        key_bgr=SWITCH,
        clip_bgr=SWITCH,
        pad_size_divisor=whole(),
        non_blocking=SWITCH,
    )

    def __init__(
        self,
        clip_mean: Sequence[float] = (127.5, 127.5, 127.5),
        clip_std: Sequence[float] = (127.5, 127.5, 127.5),
        key_mean: Sequence[float] = (123.675, 116.28, 103.53),
        key_std: Sequence[float] = (58.395, 57.12, 57.375),
        key_bgr: bool = False,
        pad_size_divisor: int = 16,
        non_blocking: bool = False,
        clip_bgr: bool = False,
    ) -> None:
        check_values(self.value_rules, locals())
        super().__init__(non_blocking=non_blocking)
        for name, values in dict(
            clip_mean=clip_mean, clip_std=clip_std, key_mean=key_mean, key_std=key_std
        ).items():
            shape = (-1, 1, 1, 1) if name.startswith('clip') else (-1, 1, 1)
            buffer = torch.tensor(values, dtype=torch.float32).view(shape)
            self.register_buffer(name, buffer, persistent=False)
        self.clip_bgr = clip_bgr
        self.key_bgr = key_bgr
        self.pad_size_divisor = pad_size_divisor

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise, pad and stack.

        Args:
            data: A plain or a dual-domain batch.
            training: False lets clips share frames.

        Returns:
            ``inputs`` = ``{'clip': (N, 3, T, H, W), 'key_frame': (N, 3, H, W)}`` in float32 and
            ``data_samples``, a list of N. At test, with samples that name the frames they share
            (:mod:`mmstal_da.datasets.shared_frames`), ``windows`` in place of ``clip``: see
            :class:`ClipWindows`. With weak views also ``weak_clip`` and ``weak_key_frame``, of the
            target's M clips alone: (M, 3, T, H, W) and (M, 3, H, W).

        Raises:
            ValueError: A batch is empty, or clips differ in length or type.
        """
        data = self.cast_data(data)
        if 'inputs' in data:
            data = {'source': data}
        clips: list[Tensor] = []
        samples: list = []
        for name, domain in DOMAIN_OF.items():
            for clip, sample in zip(*self._part(data, name), strict=True):
                sample.set_metainfo(dict(domain=domain))
                clips.append(clip)
                samples.append(sample)
        if not clips:
            raise ValueError('an empty batch reached the preprocessor')
        inputs = self._normalise(clips, samples, training)
        target = data.get('target') or data.get('boxed_target') or {}
        weak = _flat(target.get('weak_inputs') or ())
        if weak:
            targets = samples[-len(weak) :]
            size = targets[0].metainfo['batch_input_shape']
            inputs['weak_clip'] = self._clips(weak, size)
            inputs['weak_key_frame'] = self._keys(weak, targets, size)
        return dict(inputs=inputs, data_samples=samples)

    @staticmethod
    def _part(data: dict, name: str) -> tuple[list, list]:
        part = data.get(name)
        return ([], []) if part is None else (_flat(part['inputs']), _flat(part['data_samples']))

    def _normalise(
        self, clips: list[Tensor], samples: list, training: bool
    ) -> dict[str, Tensor | ClipWindows]:
        lengths = {clip.shape[1] for clip in clips}
        if len(lengths) != 1 or any(clip.dtype != torch.uint8 for clip in clips):
            raise ValueError(
                'the clips of a batch must be uint8 (3, T, H, W) of one T, got '
                f'{[(str(clip.dtype), tuple(clip.shape)) for clip in clips]}'
            )
        divisor = self.pad_size_divisor
        height, width = (
            -(-max(clip.shape[axis] for clip in clips) // divisor) * divisor for axis in (2, 3)
        )
        size = height, width
        keys = self._keys(clips, samples, size)
        for clip, sample in zip(clips, samples, strict=True):
            shape = tuple(map(int, clip.shape[2:]))
            sample.set_metainfo(dict(batch_input_shape=size, pad_shape=shape))
        ids = None if training else _shared_frames(samples)
        if ids is None:
            return dict(clip=self._clips(clips, size), key_frame=keys)
        _, first, index = np.unique(ids, return_index=True, return_inverse=True)
        length = ids.shape[1]
        frames = [clips[place // length][:, [place % length]] for place in first.tolist()]
        metas = [sample.metainfo for sample in samples]
        _, videos = np.unique([meta['video_name'] for meta in metas], return_inverse=True)
        windows = ClipWindows(
            self._clips(frames, size).squeeze(2),
            index.reshape(ids.shape),
            videos,
            np.array([meta['key_frame'] for meta in metas]),
        )
        return dict(windows=windows, key_frame=keys)

    def _keys(self, clips: list[Tensor], samples: list, size: tuple[int, int]) -> Tensor:
        """The key frames, normalised and padded to one size."""
        keys = self.key_mean.new_zeros((len(clips), 3, *size))
        for clip, sample, out in zip(clips, samples, keys, strict=True):
            h, w = map(int, clip.shape[2:])
            key = clip[:, sample.metainfo['key_index']]
            torch.sub(key.flip(0) if self.key_bgr else key, self.key_mean, out=out[:, :h, :w])
            out[:, :h, :w] /= self.key_std
        return keys

    def _clips(self, clips: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Normalised and padded to one size."""
        batch = torch.empty(
            (len(clips), *clips[0].shape[:2], *size),
            dtype=self.clip_mean.dtype,
            device=self.clip_mean.device,
            memory_format=torch.channels_last_3d,
        ).zero_()
        for clip, out in zip(clips, batch, strict=True):
            h, w = map(int, clip.shape[2:])
            # directly into the batch, without a float copy of the clip
            frames = clip.flip(0) if self.clip_bgr else clip
            torch.sub(frames, self.clip_mean, out=out[:, :, :h, :w])
            out[:, :, :h, :w] /= self.clip_std
        return batch


def _flat(values: Sequence) -> list:
    """The values, or those of lists of them: clips of a target, several to an item."""
    return [v for value in values for v in (value if isinstance(value, list | tuple) else [value])]


def _shared_frames(samples: list) -> np.ndarray | None:
    """``frame_ids`` (N, T) of samples that share frames and are of one size; else None."""
    metas = [sample.metainfo for sample in samples]
    if len({meta['img_shape'] for meta in metas}) > 1 or any('frame_ids' not in m for m in metas):
        return None
    ids = np.stack([meta['frame_ids'] for meta in metas])
    return ids if len(np.unique(ids)) < ids.size else None
