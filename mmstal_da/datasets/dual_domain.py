"""Pairs of a labelled source sample and an unlabelled target sample."""

import copy

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.structures import InstanceData

from mmstal_da.domains import DOMAIN_OF, SOURCE, TARGET, TRAIN_ON
from mmstal_da.errors import AnnotationError
from mmstal_da.registry import DATASETS
from mmstal_da.tubes.selection import IGNORED
from mmstal_da.utils.values import check_values, whole

from .draws import Draw, SeededDraws, as_draw
from .tube_dataset import ActionTubeDataset

# The keys of a target's data_info that its pipeline may see: where the pixels are, nothing about
# their contents. The names are those of ActionTubeDataset and of MMAction2's video, frame and AVA
# data sets.
TARGET_INFO_KEYS = frozenset({
    'video_name', 'filename', 'filename_tmpl', 'frame_dir', 'total_frames', 'key_frame',
    'height', 'width', 'fps', 'sample_idx', 'modality', 'start_index', 'offset',
    'img_key', 'video_id', 'timestamp', 'timestamp_start', 'shot_info',
})  # fmt: skip

# The keys that a packed target sample may have.
TARGET_META_KEYS = frozenset({
    'video_name', 'filename', 'key_frame', 'key_index', 'img_shape', 'ori_shape', 'scale_factor',
    'flip', 'flip_direction', 'img_key', 'video_id', 'timestamp',
})  # fmt: skip


class UnlabelledView:
    """A data set seen without its labels.

    Labels are removed twice: from the data_info before the pipeline runs, so that no transform
    can act on them, and from the packed sample. Both times only the keys of a list remain.

    Args:
        dataset: A :class:`mmengine.dataset.BaseDataset` whose pipeline packs ``inputs`` and
            ``data_samples``.
    """

    def __init__(self, dataset: BaseDataset) -> None:
        if not isinstance(dataset, BaseDataset):
            raise TypeError(
                f'the target is a {type(dataset).__name__}, whose labels cannot be removed'
                ' before its pipeline runs: give a dataset derived from'
                ' mmengine.dataset.BaseDataset (not a wrapper)'
            )
        self._check(dataset)
        self.dataset = dataset

    def _check(self, dataset: BaseDataset) -> None:
        if isinstance(dataset, ActionTubeDataset) and dataset.labelled:
            raise ValueError(
                'the target was built with its labels, so its key frames depend on them: build it'
                ' with `labelled=False`, or give its config'
            )

    @property
    def metainfo(self) -> dict:
        """Of the wrapped data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Load the wrapped data set's annotation, if that was put off."""
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def _shown(self, info: dict) -> dict:
        """What the pipeline may see of a data_info."""
        return {key: value for key, value in info.items() if key in TARGET_INFO_KEYS}

    def __getitem__(self, index: int) -> dict:
        info = self.dataset.get_data_info(index)
        packed = self.dataset.pipeline(self._shown(info))
        if packed is None:
            raise RuntimeError(
                f'the target pipeline returned nothing for sample {index} ({info.get("filename")})'
            )
        sample = packed['data_samples']
        meta = {key: sample.get(key) for key in sample.metainfo_keys() if key in TARGET_META_KEYS}
        found = dict(inputs=packed['inputs'], data_samples=type(sample)(metainfo=meta))
        if 'weak_inputs' in packed:  # the same pixels before the strong augmentation
            found['weak_inputs'] = packed['weak_inputs']
        self._keep(sample, found['data_samples'])
        return found

    def _keep(self, packed, sample) -> None:
        """Keep more than metainfo of what was packed; here nothing."""


class BoxesView(UnlabelledView):
    """A data set seen with its boxes and without their classes.

    The setting of DA-AIM (Lu et al., WACV 2023): where an actor is is known in the target, and
    what it does is not. Key frames are those with a box. Before the pipeline runs every class is
    replaced by -1. A packed sample has ``proposals.bboxes`` (n, 4) in input pixels.

    Args:
        dataset: An :class:`ActionTubeDataset` with labels, one class per box.
    """

    def _check(self, dataset: BaseDataset) -> None:
        if not isinstance(dataset, ActionTubeDataset) or not dataset.labelled:
            raise ValueError(
                "train_on='source_and_target_boxes' needs the target's boxes: give the config of an"
                ' ActionTubeDataset, or one that was built with `labelled=True`'
            )
        if dataset.multi_label:
            raise ValueError(
                "train_on='source_and_target_boxes' is for one class per box: set"
                ' `multi_label=False` in the target'
            )

    def _shown(self, info: dict) -> dict:
        boxes = info['gt_bboxes']
        unknown = np.full(len(boxes), IGNORED)
        return dict(super()._shown(info), gt_bboxes=boxes, gt_labels=unknown)

    def _keep(self, packed, sample) -> None:
        # a crop may have left none
        boxes = packed.get('ignored_instances', packed.gt_instances)
        sample.proposals = InstanceData(bboxes=boxes.bboxes)


@DATASETS.register_module()
class DualDomainDataset:
    """A source and a target, drawn together: labelled source and unlabelled target by default.

    ================================ ========================================= ===============
    ``train_on``                     an item                                   rows
    ================================ ========================================= ===============
    ``'both'`` (default)             ``dict(source=..., target=...)``          adapted ones
    ``'source'``                     a packed sample of the source             ``source_only``
    ``'labelled_target'``            a packed sample of the target             ``oracle``
    ``'source_and_labelled_target'`` ``dict(source=..., labelled_target=...)`` ``oracle_st``
    ``'source_and_pseudo'``          ``dict(source=..., pseudo_target=...)``   ``pseudo``
    ``'target'``                     ``dict(target=...)``                      source-free ones
    ``'source_and_target_boxes'``    ``dict(source=..., boxed_target=...)``    ``da_aim_gt_aug``
    ================================ ========================================= ===============

    After :func:`mmengine.dataset.pseudo_collate` a batch of two parts is
    ``{'source': {'inputs': [...], 'data_samples': [...]}, 'target': {...}}``. A part that
    ``train_on`` leaves out is not built.

    Each side is shuffled separately and starts a new epoch when it has shown every sample once.
    The sides may differ in length; the length of the pair is that of the longer side. Draw n of a
    seed takes the same source sample for every ``train_on``, so a source-only run and an adapted
    run see the same source clips.

    With ``'both'`` and ``'target'`` the target's labels influence nothing. An
    :class:`ActionTubeDataset` given as config is built with ``labelled=False``, whatever the config
    says, and never reads its tubes. Any other data set is read through :class:`UnlabelledView`. The
    two values that name the target as labelled are for upper bounds: there it is built with
    ``labelled=True``. With ``'source_and_pseudo'`` the target's ``ann_file`` is one of
    ``tools/data/pseudo_tubes.py``: a model found its tubes. A file that a person labelled or
    corrected is refused there, and a file of pseudo-labels is refused as an upper bound. With
    ``'source_and_target_boxes'`` the target is read through :class:`BoxesView`.

    Args:
        source: Data set with labels, or its config.
        target: Data set, or its config.
        train_on: The parts to draw, see above.
        target_clips: Clips of an unlabelled target beside every clip of the source. With n, that
            part of an item has lists of n, and its draws are n times as many.

    Raises:
        ValueError: A value is none of its key's, the classes of the two differ, or the target was
            built without labels although it is trained on with labels.
        AnnotationError: The labels are a person's where a model's are expected, or the other way
            round.
    """

    value_rules = dict(target_clips=whole())

    def __init__(
        self,
        source: BaseDataset | dict,
        target: BaseDataset | dict,
        train_on: str = 'both',
        target_clips: int = 1,
    ) -> None:
        check_values(self.value_rules, locals())
        if train_on not in TRAIN_ON:
            raise ValueError(f'train_on is one of {", ".join(TRAIN_ON)}, not {train_on!r}')
        self.train_on = train_on
        self.target_clips = target_clips
        self.parts: dict[str, SeededDraws] = {}
        for name in TRAIN_ON[train_on]:
            if name == 'source':
                dataset = source
            elif name == 'target':
                dataset = UnlabelledView(_build_target(target, labelled=False))
            else:
                dataset = _build_target(target, labelled=True)
                _check_origin(dataset, name == 'pseudo_target', train_on)
                dataset = BoxesView(dataset) if name == 'boxed_target' else dataset
            # the first part is shuffled as if it were alone; an unlabelled target as with a source
            side = TARGET if self.parts or name == 'target' else SOURCE
            self.parts[name] = SeededDraws(dataset, side=side)
        names = [tuple(part.metainfo.get('classes') or ()) for part in self.parts.values()]
        if len({classes for classes in names if classes}) > 1:
            raise ValueError(
                f'source and target name different `classes`: {" and ".join(map(str, names))}'
            )

    @property
    def metainfo(self) -> dict:
        """The metainfo of the first part."""
        return next(iter(self.parts.values())).metainfo

    def full_init(self) -> None:
        """Load the annotations, if they were not loaded yet."""
        for part in self.parts.values():
            part.full_init()

    def __len__(self) -> int:
        return max(map(len, self.parts.values()))

    def __getitem__(self, item: int | Draw) -> dict:
        draw = as_draw(item)
        items = {name: self._drawn(name, draw) for name in self.parts}
        # a target keeps its name, by which the preprocessor knows its domain
        alone = len(items) == 1 and 'target' not in items
        return next(iter(items.values())) if alone else items

    def _drawn(self, name: str, draw: Draw) -> dict:
        """A part of an item."""
        count = self.target_clips if DOMAIN_OF[name] == TARGET else 1
        first = draw.number * count
        found = [self.parts[name][Draw(draw.seed, first + i)] for i in range(count)]
        for packed in found:
            packed['data_samples'].set_metainfo(dict(domain=DOMAIN_OF[name]))
        return found[0] if count == 1 else {key: [f[key] for f in found] for key in found[0]}


def _check_origin(dataset: BaseDataset, pseudo: bool, train_on: str) -> None:
    """See that a labelled target has the labels of a person, or of a model."""
    if not isinstance(dataset, ActionTubeDataset):
        return
    dataset.full_init()
    if dataset.pseudo == pseudo:
        return
    raise AnnotationError(
        f'{dataset.ann_file}: train_on={train_on!r} '
        + (
            'needs a file of tools/data/pseudo_tubes.py, and a person labelled or corrected this'
            " one: give that file, or set train_on='source_and_labelled_target' and report the"
            ' result as one with labels of the target'
            if pseudo
            else "is for a person's labels, and a model found these: set"
            " train_on='source_and_pseudo'"
        )
    )


def _build_target(target: BaseDataset | dict, labelled: bool) -> BaseDataset:
    """The target with or without its labels, whatever its config says."""
    if not isinstance(target, dict):
        if labelled and isinstance(target, ActionTubeDataset) and not target.labelled:
            raise ValueError(
                'train_on asks for a labelled target, and the target was built with'
                ' `labelled=False`: build it with `labelled=True`, or give its config'
            )
        return target
    target = copy.deepcopy(target)
    kind = target.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if isinstance(kind, type) and issubclass(kind, ActionTubeDataset):
        target['labelled'] = labelled
    return DATASETS.build(target)
