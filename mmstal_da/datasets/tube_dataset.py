"""Key frames of annotated or unlabelled videos, as an MMEngine dataset."""

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from mmengine.dataset import BaseDataset

from mmstal_da.registry import DATASETS, TRANSFORMS
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.tubes.plausible import refuse_implausible
from mmstal_da.tubes.selection import (
    IGNORED,
    boxes_by_frame,
    class_labels,
    merge_boxes,
    select_videos,
)
from mmstal_da.utils.values import (
    NAME_MAP,
    NAMES,
    SWITCH,
    Rule,
    check_values,
    is_name,
    number,
    optional,
    whole,
)

from .draws import seeded
from .proposals import GROUND_TRUTH, PARTS, ProposalFile
from .shared_frames import SharedFrames


@DATASETS.register_module()
class ActionTubeDataset(BaseDataset):
    """One sample per key frame of the videos of one split.

    Which frames are key frames:

    ========== ==================== ==========================================================
    labelled   training             frames with a box of the kept classes; with
                                    ``background_share`` also some without, as negatives
    labelled   test                 the same, or with ``background_frames`` every frame of
                                    every video that has such a box
    unlabelled training and test    every frame of every video
    ========== ==================== ==========================================================

    The pipeline receives a dict with

    - ``video_name``; ``filename``, the path of the video or of the folder of images;
      ``filename_tmpl`` (None for a video file); ``total_frames``; ``key_frame`` (1-based);
      ``height`` and ``width`` to which boxes refer (None: the video's own); ``fps`` (or None);
    - if labelled: ``gt_bboxes`` (n, 4) float32 ``x1 y1 x2 y2`` in annotation pixels, ends
      inclusive, and ``gt_labels`` (n,) int64, -1 for boxes that are ignored: of a file of
      pseudo-labels. A frame with such boxes alone is no key frame, nor is it background;
      with ``multi_label``, every box once and ``gt_labels`` (n, C) float32, 1 for its classes;
    - with ``proposals``: ``proposals`` (k, 4) float32 in the same convention, by descending score;
      ``proposal_scores`` (k,) float32 in [0, 1]; ``num_classes``. MMAction2's transforms handle
      proposals only together with ``gt_bboxes``, so unlabelled samples have empty ``gt_bboxes``.

    Args:
        ann_file: Annotation file, relative to ``data_root``
            (see :mod:`mmstal_da.tubes.annotation`).
        split: Name of a split in the file.
        pipeline: Transforms.
        data_root: Folder that ``ann_file`` and ``data_prefix`` are relative to.
        data_prefix: Folder that the videos' paths are relative to.
        classes: The model's classes in label order; other tubes are left out. None takes all
            classes of the file.
        class_map: Class of the file -> class of the model; other names stay unchanged.
        labelled: False never reads the tubes. ``classes`` is then only a list of names and
            ``class_map`` is not used.
        videos: Shell patterns on video names; this selection needs no labels.
        background_frames: At test, also frames without a box.
        background_share: In training, the share in [0, 1) that frames without a box have among the
            key frames. They are taken evenly from all videos with a box. If there are too few, all
            are taken.
        multi_label: A box may have several classes, as in AVA: equal boxes of a frame are one box
            with the classes of all of them. For :class:`MultiLabelBBoxHead` and MMAction2's
            multi-label heads.
        key_frame_stride: n keeps every n-th key frame of each video.
        proposals: For detectors without an RPN, such as MMAction2's AVA-style ones: a file of
            ``tools/data/dump_proposals.py`` (:mod:`mmstal_da.datasets.proposals`), relative to
            the working directory; or ``'ground_truth'``, the labelled boxes with score 1, an
            upper bound.
        proposals_part: Part of the file; None takes ``'test'`` in test mode, else ``'train'``.
        max_proposals: n keeps the n best of a key frame; None keeps all.
        test_mode: Test instead of training.
        **kwargs: ``indices``, ``serialize_data``, ``lazy_init``, ``max_refetch`` and ``metainfo``
            of :class:`mmengine.dataset.BaseDataset`.

    Raises:
        ValueError: Classes or patterns match nothing, there is no key frame, labelled boxes are
            not in pixels of their video, or the proposals do not fit the other arguments.
        ProposalError: Says what is missing in the file of proposals, and how to make it.
    """

    METAINFO = dict(classes=())
    value_rules = dict(
        split=Rule('the name of a split', is_name),
        classes=optional(NAMES),
        class_map=optional(NAME_MAP),
        labelled=SWITCH,
        videos=optional(NAMES),
        background_frames=SWITCH,
        background_share=number(0, below=1),
        multi_label=SWITCH,
        key_frame_stride=whole(),
        max_proposals=optional(whole()),
        test_mode=SWITCH,
    )

    def __init__(
        self,
        ann_file: str,
        split: str,
        pipeline: Sequence[dict | Callable] = (),
        data_root: str = '',
        data_prefix: str = '',
        classes: Sequence[str] | None = None,
        class_map: Mapping[str, str] | None = None,
        labelled: bool = True,
        videos: Sequence[str] | None = None,
        background_frames: bool = False,
        background_share: float = 0.0,
        key_frame_stride: int = 1,
        proposals: str | None = None,
        proposals_part: str | None = None,
        max_proposals: int | None = None,
        test_mode: bool = False,
        multi_label: bool = False,
        **kwargs,
    ) -> None:
        if background_frames and labelled and not test_mode:
            raise ValueError(
                f'{ann_file}: `background_frames` is for `test_mode`; to train on frames without a'
                ' box, set `background_share`'
            )
        check_values(self.value_rules, locals())
        if background_share and (test_mode or not labelled):
            raise ValueError(f'{ann_file}: `background_share` is for training with labels')
        if proposals == GROUND_TRUTH and not labelled:
            raise ValueError(f"{ann_file}: proposals='ground_truth' needs `labelled=True`")
        if proposals_part is not None and proposals_part not in PARTS:
            raise ValueError(f'`proposals_part` is one of {PARTS}, not {proposals_part!r}')
        self.split = split
        self.classes = None if classes is None else tuple(classes)
        self.class_map = class_map
        self.labelled = labelled
        self.videos = videos
        self.background_frames = background_frames
        self.background_share = background_share
        self.key_frame_stride = key_frame_stride
        self.proposals = proposals
        self.proposals_part = proposals_part or ('test' if test_mode else 'train')
        self.max_proposals = max_proposals
        self.multi_label = multi_label
        self._proposal_file: ProposalFile | None = None
        # MMAction2's ColorJitter draws the order of its operations when it is built. A separate
        # random state makes equal configs give equal samples.
        with seeded(0):
            stages = [TRANSFORMS.build(s) if isinstance(s, dict) else s for s in pipeline]
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=dict(video=data_prefix),
            pipeline=stages,
            test_mode=test_mode,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read the annotation file; one small dict per key frame."""
        annotation = load_annotation(self.ann_file, with_tubes=self.labelled)
        self.pseudo = self.labelled and annotation.pseudo is not None
        names = select_videos(annotation, self.split, self.videos)
        if self.labelled:
            refuse_implausible(annotation, os.fspath(self.ann_file), names)
            classes, labels = class_labels(annotation.classes, self.classes, self.class_map)
            self._metainfo['classes'] = tuple(classes)
        else:
            labels = {}
            self._metainfo['classes'] = self.classes or ()
        if self.proposals is not None and len(self._metainfo['classes']) < 2:
            # MMAction2 asserts it too, but far from the cause
            raise ValueError(
                f'{self.ann_file}: AVA-style heads, which take proposals, have at least 2 classes,'
                f' not {len(self._metainfo["classes"])}; name them in `classes`'
            )
        if self.proposals not in (None, GROUND_TRUTH):
            self._proposal_file = ProposalFile(self.proposals, self.proposals_part)
        self._videos = {name: annotation.videos[name] for name in names}
        self._boxes = {}
        data_list = []
        for name in names:
            frames = np.arange(1, annotation.videos[name].num_frames + 1)
            if self.labelled:
                found = boxes_by_frame(annotation.tubes.get(name, []), labels)
                self._boxes[name] = found
                annotated = np.unique(found[0][found[2] != IGNORED])
                if not (self.background_frames and len(annotated)):
                    frames = annotated
            data_list += [
                dict(video_name=name, key_frame=frame)
                for frame in frames[:: self.key_frame_stride].tolist()
            ]
        data_list += self._background(data_list)
        if not data_list:
            raise ValueError(
                f'{self.ann_file}: split {self.split!r} gives no key frame'
                + (f' with a box of {sorted(labels)}' if self.labelled else '')
                + f' ({len(names)} videos selected); check `split`, `videos` and `classes`'
            )
        return data_list

    def _background(self, annotated: list[dict]) -> list[dict]:
        """Key frames without a box for training, spread evenly."""
        count = round(len(annotated) * self.background_share / (1 - self.background_share))
        if not count:
            return []
        free = []
        for name, (with_box, _, _) in self._boxes.items():
            if len(with_box):
                frames = np.arange(1, self._videos[name].num_frames + 1)
                frames = np.setdiff1d(frames, with_box)
                free += [dict(video_name=name, key_frame=frame) for frame in frames.tolist()]
        if not free:
            raise ValueError(
                f'{self.ann_file}: every frame of split {self.split!r} has a box, so there is no'
                ' background to train on; set `background_share=0`'
            )
        places = np.unique(np.linspace(0, len(free) - 1, min(count, len(free))).round().astype(int))
        return [free[place] for place in places.tolist()]

    def get_data_info(self, idx: int) -> dict:
        """Everything about a sample that the pipeline needs (see the class)."""
        info = super().get_data_info(idx)
        video = self._videos[info['video_name']]
        info.update(
            filename=os.path.join(self.data_prefix['video'], video.path),
            filename_tmpl=video.filename_tmpl,
            total_frames=video.num_frames,
            height=video.height,
            width=video.width,
            fps=video.fps,
        )
        if self.labelled:
            frames, boxes, labels = self._boxes[info['video_name']]
            first, last = np.searchsorted(frames, [info['key_frame'], info['key_frame'] + 1])
            found = boxes[first:last].copy(), labels[first:last].copy()
            if self.multi_label:
                found = merge_boxes(*found, len(self._metainfo['classes']))
            info['gt_bboxes'], info['gt_labels'] = found
        if self.proposals is not None:
            self._add_proposals(info)
        return info

    def __getitems__(self, indices: Sequence[int]) -> list:
        """The samples of a batch; PyTorch's data loader asks for them at once.

        At test they are loaded together, so that frames which several clips have in common are
        read once. They are what ``self[index]`` gives.
        """
        stages = getattr(self.pipeline, 'transforms', ())
        if not self.test_mode or not SharedFrames.can_load(stages):
            return [self[index] for index in indices]
        if not self._fully_initialized:
            self.full_init()
        return SharedFrames(stages).load([self.get_data_info(index) for index in indices])

    def _add_proposals(self, info: dict) -> None:
        info.setdefault('gt_bboxes', np.zeros((0, 4), np.float32))
        info.setdefault('gt_labels', np.zeros(0, np.int64))
        if self._proposal_file is None:
            boxes, scores = info['gt_bboxes'].copy(), np.ones(len(info['gt_bboxes']), np.float32)
        else:
            boxes, scores = self._proposal_file.of_frame(
                info['video_name'], info['key_frame'], info['total_frames']
            )
        info['proposals'] = boxes[: self.max_proposals]
        info['proposal_scores'] = scores[: self.max_proposals]
        info['num_classes'] = len(self._metainfo['classes'])
