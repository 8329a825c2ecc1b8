"""Refreshes the tubes from which a teacher labels the target."""

import copy
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch.utils.data import DataLoader, Subset

from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.errors import ConfigError
from mmstal_da.evaluation.functional import Detections, TubeSet
from mmstal_da.evaluation.functional.pseudo_labels import PseudoTubeRule, pseudo_tubes
from mmstal_da.models.detectors.tube_memory import FrameBoxes, TubeMemory
from mmstal_da.registry import HOOKS
from mmstal_da.tubes.selection import IGNORED
from mmstal_da.utils.values import check_values, whole

from ..target_videos import detect, target_config, unlabelled_target, video_names

# transforms after which the metainfo of a clip says where a box of its video is
KNOWN = {
    *('SampleKeyFrameClip', 'DecodeFrames', 'DegradeFrames', 'Resize', 'Flip', 'KeepWeakView'),
    *('AugmentClip', 'ColorJitter', 'PackTubeInputs'),
}


@HOOKS.register_module()
class TubeMemoryHook(Hook):
    """Looks through the target's training videos with the teacher, and remembers its tubes.

    For a :class:`TeacherStudentDetector` with ``teacher.tubes=True``, from the end of its burn-in
    on. The videos' labels are never read. Processes share the videos. The tubes are saved in every
    checkpoint, so that a resumed training has the same labels, and random numbers are left as they
    were.

    Args:
        interval: Iterations between two looks.
        key_frame_stride: n looks at every n-th frame; between, boxes are interpolated.
        batch_size: Key frames at a time.
        workers: Processes that decode; 0: none.
        **rule: Which tubes become labels, see
            :class:`~mmstal_da.evaluation.functional.pseudo_labels.PseudoTubeRule`.

    Raises:
        ValueError: A value is out of range.
    """

    priority = 'NORMAL'
    value_rules = dict(
        interval=whole(), key_frame_stride=whole(), batch_size=whole(), workers=whole(0)
    )
    config_keys = tuple(field.name for field in fields(PseudoTubeRule))

    def __init__(
        self,
        interval: int = 300,
        key_frame_stride: int = 4,
        batch_size: int = 16,
        workers: int = 0,
        **rule,
    ) -> None:
        check_values(self.value_rules, locals())
        self.interval = interval
        self.key_frame_stride = key_frame_stride
        self.batch_size = batch_size
        self.workers = workers
        rule = {'max_gap': PseudoTubeRule.max_gap, **rule}
        self.rule = PseudoTubeRule(**{**rule, 'max_gap': rule['max_gap'] * key_frame_stride})
        self._restored: TubeMemory | None = None
        self._dataset: ActionTubeDataset | None = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take the tubes of a checkpoint that is resumed."""
        state = checkpoint.get('tube_memory')
        if state is not None and getattr(runner, '_resume', False):
            self._restored = TubeMemory.from_state_dict(state)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the tubes."""
        memory = getattr(_model(runner), 'memory', None)
        if memory is not None:
            checkpoint['tube_memory'] = memory.state_dict()

    def before_train(self, runner) -> None:
        """See that a memory is wanted and can be used.

        Raises:
            ConfigError: The model has no ``teacher.tubes``, or a transform moves boxes in a way
                that its clips do not tell.
        """
        model = _model(runner)
        if not getattr(getattr(model, 'settings', None), 'tubes', False):
            raise ConfigError(
                'TubeMemoryHook: the model has no teacher that labels by tubes; set'
                ' model.teacher.tubes=True, or take the hook out of custom_hooks'
            )
        for stage in target_config(runner.cfg)['pipeline']:
            kind = stage['type'] if isinstance(stage['type'], str) else stage['type'].__name__
            if kind.rpartition('.')[2] not in KNOWN:
                raise ConfigError(
                    f'teacher.tubes: the target is trained on with {kind}, which may move boxes;'
                    f' use transforms of {sorted(KNOWN)}'
                )
        if self._restored is not None:
            model.memory = self._restored

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Look through the videos if it is time."""
        model = _model(runner)
        since = runner.iter - model.settings.burn_in
        if since >= 0 and since % self.interval == 0:
            with torch.random.fork_rng():
                model.memory = self._look(runner.cfg, model)
            found = [labels for _, _, labels in model.memory.videos.values()]
            ignored = int(sum((rows == IGNORED).sum() for rows in found))
            learnt = sum(map(len, found)) - ignored
            print_log(
                f'tubes of {len(found)} target videos: {learnt} boxes to learn, {ignored} ignored',
                logger='current',
            )

    def _look(self, cfg, model: Any) -> TubeMemory:
        """The teacher's tubes of all videos."""
        if self._dataset is None:
            self._dataset = unlabelled_target(copy.deepcopy(cfg), self.key_frame_stride)
        names = video_names(self._dataset)
        mine = set(names[get_rank() :: get_world_size()])
        videos = [self._dataset.get_data_info(i)['video_name'] for i in range(len(self._dataset))]
        loader: DataLoader = DataLoader(
            Subset(self._dataset, [i for i, name in enumerate(videos) if name in mine]),
            self.batch_size,
            num_workers=self.workers,
            collate_fn=pseudo_collate,
            generator=torch.Generator(),  # no draw of the training's numbers
        )
        found = Detections.concatenate(detect(model.teacher, loader, names))
        if get_world_size() > 1:
            found = Detections.concatenate(all_gather_object(found))
        return remembered(*pseudo_tubes(found, self.rule), names)


def remembered(learnt: TubeSet, ignored: TubeSet, names: list[str]) -> TubeMemory:
    """Tubes as boxes by video and frame.

    Args:
        learnt: Of :func:`~mmstal_da.evaluation.functional.pseudo_labels.pseudo_tubes`.
        ignored: Likewise.
        names: Of the videos.
    """
    rows: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for tubes, is_ignored in ((learnt, False), (ignored, True)):
        for number in range(len(tubes)):
            frames = np.arange(tubes.begin[number], tubes.end[number] + 1)
            first = int(tubes.offset[number])
            label = IGNORED if is_ignored else int(tubes.label[number])
            rows.setdefault(names[int(tubes.video[number])], []).append(
                (frames, tubes.boxes[first : first + len(frames)], np.full(len(frames), label))
            )
    return TubeMemory({name: _by_frame(parts) for name, parts in rows.items()})


def _by_frame(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> FrameBoxes:
    frames, boxes, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(frames, kind='stable')
    return frames[order], boxes[order].astype(np.float32), labels[order]


def _model(runner) -> Any:
    return getattr(runner.model, 'module', runner.model)
