"""Pairs of a labelled source sample and an unlabelled target sample."""

import copy

from mmengine.dataset import BaseDataset

from mmstal_da.registry import DATASETS

from .draws import Draw, SeededDraws, as_draw
from .tube_dataset import ActionTubeDataset

SOURCE, TARGET = 0, 1

# What a target's data_info may tell its pipeline: where the pixels are, nothing about them. The
# names are ActionTubeDataset's and those of MMAction2's video, frame and AVA data sets.
TARGET_INFO_KEYS = frozenset({
    'video_name', 'filename', 'filename_tmpl', 'frame_dir', 'total_frames', 'key_frame',
    'height', 'width', 'fps', 'sample_idx', 'modality', 'start_index', 'offset',
    'img_key', 'video_id', 'timestamp', 'timestamp_start', 'shot_info',
})  # fmt: skip

# What a packed target sample may carry.
TARGET_META_KEYS = frozenset({
    'video_name', 'filename', 'key_frame', 'key_index', 'img_shape', 'ori_shape', 'scale_factor',
    'flip', 'flip_direction', 'img_key', 'video_id', 'timestamp',
})  # fmt: skip


class UnlabelledView:
    """A data set seen without its labels.

    Labels are taken out twice: of the data_info before the pipeline runs, so that no transform
    can act on them, and of the packed sample. Either way only what is on a list stays.

    Args:
        dataset: A :class:`mmengine.dataset.BaseDataset` whose pipeline packs ``inputs`` and
            ``data_samples``.
    """

    def __init__(self, dataset: BaseDataset) -> None:
        if not isinstance(dataset, BaseDataset):
            raise TypeError(
                f'the target is a {type(dataset).__name__}, whose labels cannot be taken out'
                ' before its pipeline runs: give a dataset derived from'
                ' mmengine.dataset.BaseDataset (not a wrapper)'
            )
        if isinstance(dataset, ActionTubeDataset) and dataset.labelled:
            raise ValueError(
                'the target was built with its labels, which chose its key frames: build it with'
                ' `labelled=False`, or give its config'
            )
        self.dataset = dataset

    @property
    def metainfo(self) -> dict:
        """Of the wrapped data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Load the wrapped data set's annotation, if that was put off."""
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        info = self.dataset.get_data_info(index)
        packed = self.dataset.pipeline({k: v for k, v in info.items() if k in TARGET_INFO_KEYS})
        if packed is None:
            raise RuntimeError(
                f'the target pipeline gave nothing for sample {index} ({info.get("filename")})'
            )
        sample = packed['data_samples']
        meta = {key: sample.get(key) for key in sample.metainfo_keys() if key in TARGET_META_KEYS}
        return dict(inputs=packed['inputs'], data_samples=type(sample)(metainfo=meta))


@DATASETS.register_module()
class DualDomainDataset:
    """A labelled source and an unlabelled target, drawn together.

    An item is ``dict(source=..., target=...)`` of two packed samples; ``domain`` in their
    metainfo is 0 and 1. Collated by :func:`mmengine.dataset.pseudo_collate`, a batch is
    ``{'source': {'inputs': [...], 'data_samples': [...]}, 'target': {...}}``.

    Each side is shuffled by itself and starts a new epoch when it has shown every sample once,
    so either may be the longer; the length of the pair is that of the longer. Draw n of a seed
    takes the same source sample as draw n of ``SeededDraws(source)``: a source-only run and an
    adapted one see the same source clips.

    The target's labels influence nothing. An :class:`ActionTubeDataset` given as config is
    built with ``labelled=False``, whatever the config says, and then never reads its tubes; any
    other data set is seen through :class:`UnlabelledView`.

    Args:
        source: Data set with labels, or its config.
        target: Data set, or its config.
    """

    def __init__(self, source: BaseDataset | dict, target: BaseDataset | dict) -> None:
        if isinstance(target, dict):
            target = copy.deepcopy(target)
            kind = target.get('type')
            kind = DATASETS.get(kind) if isinstance(kind, str) else kind
            if isinstance(kind, type) and issubclass(kind, ActionTubeDataset):
                target['labelled'] = False
            target = DATASETS.build(target)
        self.source = SeededDraws(source, stream=SOURCE)
        self.target = SeededDraws(UnlabelledView(target), stream=TARGET)
        names = self.source.metainfo.get('classes')
        target_names = self.target.metainfo.get('classes')
        if names and target_names and tuple(names) != tuple(target_names):
            raise ValueError(
                f'source and target name different `classes`: {tuple(names)} and'
                f' {tuple(target_names)}'
            )

    @property
    def metainfo(self) -> dict:
        """Of the source."""
        return self.source.metainfo

    def full_init(self) -> None:
        """Load both annotations, if that was put off."""
        self.source.full_init()
        self.target.full_init()

    def __len__(self) -> int:
        return max(len(self.source), len(self.target))

    def __getitem__(self, item: int | Draw) -> dict:
        draw = as_draw(item)
        source, target = self.source[draw], self.target[draw]
        source['data_samples'].set_metainfo(dict(domain=SOURCE))
        target['data_samples'].set_metainfo(dict(domain=TARGET))
        return dict(source=source, target=target)
