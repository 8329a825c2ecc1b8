"""Key frames of one batch that share frames: each is read and resized once."""

from collections.abc import Sequence

import numpy as np

from .transforms import DecodeFrames, DegradeFrames, PackTubeInputs, SampleKeyFrameClip


class SharedFrames:
    """Loads samples of a test pipeline together.

    Clips of neighbouring key frames overlap: of 16 clips of 20 frames, one after the other, 35
    frames are different, and one by one 320 are read. The samples are those of the pipeline, bit by
    bit. Besides, their metainfo has ``frame_ids`` (T,): equal numbers within a call are one frame.

    Args:
        stages: ``SampleKeyFrameClip``, ``DecodeFrames``, transforms of every frame alone,
            ``PackTubeInputs``.
    """

    def __init__(self, stages: Sequence) -> None:
        self.sample, self.decode, *self.per_frame, self.pack = stages

    @staticmethod
    def can_load(stages: Sequence) -> bool:
        """Whether these transforms are such a pipeline, as far as is known."""
        from mmaction.datasets.transforms import Resize  # imports all of MMAction2

        kinds = [type(stage) for stage in stages]
        return (
            len(kinds) > 2
            and kinds[:2] == [SampleKeyFrameClip, DecodeFrames]
            and kinds[-1] is PackTubeInputs
            and set(kinds[2:-1]) <= {Resize, DegradeFrames}
        )

    def load(self, infos: Sequence[dict]) -> list[dict]:
        """The samples of these ``get_data_info``, in their order.

        Raises:
            VideoError, AnnotationError: As :class:`DecodeFrames`.
        """
        samples = [self.sample.transform(info) for info in infos]
        members: dict[str, list[int]] = {}
        for place, sample in enumerate(samples):
            members.setdefault(sample['video_name'], []).append(place)
        packed: dict[int, dict] = {}
        count = 0
        for places in members.values():
            frames = np.unique(np.concatenate([samples[place]['frame_inds'] for place in places]))
            read, ready = self._frames(samples[places[0]], frames)
            for place in places:
                packed[place] = self._pack(samples[place], frames, read, ready, count)
            count += len(frames)
        return [packed[place] for place in range(len(samples))]

    def _frames(self, sample: dict, frames: np.ndarray) -> tuple[list, list]:
        """Frames of the sample's video as they were read, and as the model takes them."""
        unlabelled = {k: v for k, v in sample.items() if not k.startswith(('gt_', 'proposal'))}
        results = self.decode.transform(dict(unlabelled, frame_inds=frames))
        read = list(results['imgs'])
        for transform in self.per_frame:
            results = transform(results)
        return read, results['imgs']

    def _pack(self, sample: dict, frames: np.ndarray, read: list, ready: list, offset: int) -> dict:
        """A sample; its boxes are transformed together with its key frame."""
        places = np.searchsorted(frames, sample['frame_inds'])
        key = sample['key_index']
        alone = dict(sample, frame_inds=sample['frame_inds'][[key]])
        results = self.decode.take(alone, [read[places[key]]])
        for transform in self.per_frame:
            results = transform(results)
        results.update(imgs=[ready[place] for place in places], frame_inds=sample['frame_inds'])
        packed = self.pack.transform(results)
        packed['data_samples'].set_metainfo(dict(frame_ids=places + offset))
        return packed
