"""Finds errors in a config's data before anything is built, written or trained.

``tools/train.py`` and ``tools/test.py`` call :func:`check_config`. It looks only at this project's
datasets and metric; other configs are not read. It reads the labels of data that is trained on
with labels, and of data that is evaluated, but never those of an adaptation's target.

Two top-level keys of a config allow what is otherwise an error:

- ``allow_transductive = True``: the target is adapted on the same videos on which it is evaluated
  (without their labels);
- ``allow_classes_without_truth = ('GolfSwing',)``: the evaluated split has no tube of these
  classes; the means are over the others.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mmengine.config import Config
from mmengine.logging import print_log

from mmstal_da.datasets.proposals import GROUND_TRUTH, require_part
from mmstal_da.domains import TRAIN_ON, trained_parts
from mmstal_da.errors import AnnotationError, ConfigError, ProposalError
from mmstal_da.tubes.annotation import Annotation, load_annotation
from mmstal_da.tubes.plausible import refuse_implausible
from mmstal_da.tubes.selection import class_labels, select_videos
from mmstal_da.utils.wrapped import detector_config

SOURCE, TARGET, BOXED = 'labelled training', 'unlabelled target', 'target with boxes alone'
NO_VALIDATION = (
    'to train without evaluation give --no-validate, or set val_cfg, val_dataloader and'
    ' val_evaluator to None, and those of test'
)
INFER = 'to see what a checkpoint finds in videos: python tools/infer.py CHECKPOINT VIDEOS'


@dataclass
class Choice:
    """The videos that a dataset or metric of the config chooses.

    Attributes:
        where: The place in the config, the file and the split, for messages.
        config: What the config says there.
        ann_file: Resolved path of the annotation file.
        annotation: Its contents, without tubes unless ``labels`` is given.
        names: Names of the chosen videos.
        paths: Resolved path of each; None for a metric, which reads no video.
        classes: The model's classes in label order; None if they are not given and no labels are
            read.
        labels: Class of the file -> label, for data with labels; otherwise None.
    """

    where: str
    config: dict
    ann_file: str
    annotation: Annotation
    names: list[str]
    paths: list[str] | None
    classes: tuple[str, ...] | None
    labels: dict[str, int] | None

    def tubes_per_class(self) -> dict[str, int]:
        """Class -> number of tubes in the chosen videos; nothing of what has no labels."""
        if self.classes is None or self.labels is None:
            return {}
        counts = dict.fromkeys(self.classes, 0)
        for name in self.names:
            for tube in self.annotation.tubes.get(name, ()):
                if tube.label in self.labels:
                    counts[self.classes[self.labels[tube.label]]] += 1
        return counts

    def identities(self) -> dict[tuple[str, ...], str]:
        """What identifies a video -> its name: in this file, in this dataset, by path."""
        keys: dict[tuple[str, ...], str] = {}
        for number, name in enumerate(self.names):
            keys['file', self.ann_file, name] = name
            keys['dataset', self.annotation.dataset, name] = name
            if self.paths is not None:
                keys['path', self.paths[number]] = name
        return keys


def check_config(cfg: Config, mode: str = 'train') -> None:
    """Check the data of a config.

    Args:
        cfg: The whole config, everything merged.
        mode: ``'train'`` checks the training and its validation. It also checks the test, if the
            labels of the test are available. ``'test'`` checks the test. If the training's
            annotation is available, it also checks that no training video is evaluated.

    Raises:
        ConfigError: An annotation file, split, pattern, class or video is missing; the classes
            differ between parts or from the head's ``num_classes``; a class has no tube to train
            on or to evaluate; the target is empty; or videos are both trained on and evaluated.
    """
    if mode not in ('train', 'test'):
        raise ValueError(f"`mode` is 'train' or 'test', not {mode!r}")
    load = lru_cache(maxsize=None)(_load)
    training = _training(cfg, load, only_known=mode == 'test')
    stages = {'train': ('val', 'test'), 'test': ('test',)}[mode]
    evaluations = {s: _evaluation(cfg, s, load, required=s == stages[0]) for s in stages}
    if mode == 'train':
        _check_source([data for role, data in training if role == SOURCE])
    _check_labels(cfg, [data for role, data in training if role == SOURCE])
    parts = [data for _, data in training]
    _check_classes(cfg, parts + [data for part in evaluations.values() for data in part])
    for stage in ('train', 'val') if mode == 'train' else ('test',):
        _check_proposals(cfg, stage)
    for evaluated in evaluations.values():
        _check_truth(cfg, evaluated)
        _check_metric(evaluated)
        _check_overlap(cfg, training, evaluated)


def _training(
    cfg: Config, load: Callable[[str, bool], Annotation], only_known: bool
) -> list[tuple[str, Choice]]:
    """Role and choice of the training data; with only_known, only of what is available."""
    training = []
    loader = cfg.get('train_dataloader') or {}
    for where, config, role in _datasets(loader.get('dataset'), 'train_dataloader.dataset', SOURCE):
        try:
            data = _resolve(where, config, role != TARGET, load, videos_needed=not only_known)
        except ConfigError as error:
            if not only_known:
                raise
            print_log(f'not checked that no video trained on is evaluated: {error}')
        else:
            training.append((role, data))
    return training


def _load(path: str, with_tubes: bool) -> Annotation:
    try:
        return load_annotation(path, with_tubes=with_tubes)
    except AnnotationError as error:
        raise ConfigError(str(error)) from error


def _kind(config: object) -> str:
    """Bare name of a config's type; empty if it is not a config."""
    kind = config.get('type', '') if isinstance(config, dict) else ''
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def _datasets(config: object, where: str, role: str) -> Iterator[tuple[str, dict, str]]:
    """The project's datasets within a dataset config: place, config and role."""
    if not isinstance(config, dict):
        return
    if _kind(config) == 'ActionTubeDataset':
        unlabelled = role == SOURCE and not config.get('labelled', True)
        yield where, config, TARGET if unlabelled else role
    elif _kind(config) == 'DualDomainDataset':
        if config.get('train_on', 'both') not in TRAIN_ON:
            raise ConfigError(
                f'{where}: train_on is one of {", ".join(TRAIN_ON)}, not {config["train_on"]!r}'
            )
        for name, part in trained_parts(config).items():
            side = 'source' if name == 'source' else 'target'
            part_role = {'target': TARGET, 'boxed_target': BOXED}.get(name, role)
            yield from _datasets(part, f'{where}.{side}', part_role)
    else:  # SeededDraws, MMEngine's wrappers
        yield from _datasets(config.get('dataset'), f'{where}.dataset', role)
        for number, inner in enumerate(config.get('datasets') or ()):
            yield from _datasets(inner, f'{where}.datasets[{number}]', role)


def _ann_file(config: dict) -> str:
    """Path of a dataset's or metric's annotation file."""
    return os.path.join(config.get('data_root') or '', config.get('ann_file') or '')


def _resolve(
    where: str,
    config: dict,
    labelled: bool,
    load: Callable[[str, bool], Annotation],
    reads_videos: bool = True,
    videos_needed: bool = True,
) -> Choice:
    """Choose as the dataset or metric itself does; every error names the place in the config."""
    for key in ('ann_file', 'split'):
        if not config.get(key):
            raise ConfigError(f'{where}: `{key}` is not given')
    path, split = _ann_file(config), config['split']
    where = f'{where} ({path}, split {split!r})'
    try:
        annotation = load(path, labelled)
        names = select_videos(annotation, split, config.get('videos'))
        if not names:
            raise ConfigError('no video is in the split; name another one, or fill it')
        classes, labels = config.get('classes'), None
        if labelled:
            refuse_implausible(annotation, path, names)
            classes, labels = class_labels(annotation.classes, classes, config.get('class_map'))
    except FileNotFoundError as error:
        remedy = (
            'from a folder of videos without labels with tools/data/index_videos.py, or as'
            ' pseudo-labels with tools/data/pseudo_tubes.py'
        )
        raise ConfigError(f'{where}: {error}, or {remedy}') from error
    except ValueError as error:
        raise ConfigError(f'{where}: {error}') from error
    paths = None
    if reads_videos:
        folder = os.path.join(config.get('data_root') or '', config.get('data_prefix') or '')
        paths = [os.path.join(folder, annotation.videos[name].path) for name in names]
        missing = [path for path in paths if not os.path.exists(path)] if videos_needed else []
        if missing:
            raise ConfigError(
                f'{where}: {len(missing)} of {len(paths)} videos do not exist, such as'
                f' {missing[0]!r}; set `data_prefix` to their folder, or leave them out'
                ' (tools/data/prepare.py --only-present)'
            )
        paths = [os.path.realpath(path) for path in paths]
    classes = None if classes is None else tuple(classes)
    return Choice(where, config, os.path.realpath(path), annotation, names, paths, classes, labels)


def _check_source(sources: Sequence[Choice]) -> None:
    """Check that every class has a tube to train on in at least one source."""
    if not sources:
        return
    counts: dict[str, int] = {}
    for data in sources:
        for name, count in data.tubes_per_class().items():
            counts[name] = counts.get(name, 0) + count
    missing = [name for name, count in counts.items() if not count]
    if missing:
        raise ConfigError(
            f'{sources[0].where}: no tube of {missing} to train on; take these out of `classes`'
            ' (and of `num_classes`), or correct `class_map`, `split` or `videos`'
        )


def _evaluation(
    cfg: Config, stage: str, load: Callable[[str, bool], Annotation], required: bool
) -> list[Choice]:
    """The data of a stage: what it predicts on and what it is scored against.

    Returns:
        The dataset and the metrics. Nothing if the stage is off or not of this project, or if
        it is not required now and has no labels yet.
    """
    loader = cfg.get(f'{stage}_dataloader') or {}
    metrics = cfg.get(f'{stage}_evaluator') or []
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    parts = [
        (where, config, config.get('labelled', True), True)
        for where, config, _ in _datasets(loader.get('dataset'), f'{stage}_dataloader.dataset', '')
    ]
    if parts:
        parts += [(f'{stage}_evaluator', m, True, False) for m in metrics if _is_metric(m)]
    for where, config, labelled, _ in parts:
        path, split = _ann_file(config), config.get('split')
        exists = os.path.isfile(path)
        if not labelled or (required and not exists):
            continue  # the latter is an error below
        names = load(path, True).splits.get(split, ()) if exists and split is not None else ()
        if exists and any(load(path, True).tubes.get(name) for name in names):
            continue
        lack = 'has no tube' if exists else 'does not exist'
        message = f'{where}: {path!r} {lack} (split {split!r}), and evaluation needs labels'
        if required:
            raise ConfigError(f'{message}; {NO_VALIDATION if stage == "val" else INFER}')
        print_log(f'{message}: trained models cannot be tested with this config yet')
        return []
    return [_resolve(w, c, labelled, load, reads) for w, c, labelled, reads in parts]


def _label_free_only(cfg: Config, stage: str) -> bool:
    """Whether a stage computes nothing but scores that need no labels."""
    metrics = cfg.get(f'{stage}_evaluator') or []
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    return bool(metrics) and all(_kind(metric) == 'LabelFreeMetric' for metric in metrics)


def _is_metric(config: object) -> bool:
    return _kind(config) == 'TubeMetric'


def _check_classes(cfg: Config, parts: Sequence[Choice]) -> None:
    """Check that all parts have the same classes in the same order, as many as the head."""
    named = [(data.where, data.classes) for data in parts if data.classes is not None]
    if not named:
        return
    where, classes = named[0]
    for other, found in named[1:]:
        if found != classes:
            raise ConfigError(
                f'`classes` differ: {list(classes)} of {where} and {list(found)} of {other};'
                ' their order is the order of the labels'
            )
    model = detector_config(cfg.get('model'))
    head = (model.get('roi_head') or {}).get('bbox_head') or {}
    if 'num_classes' in head and head['num_classes'] != len(classes):
        raise ConfigError(
            f'model.roi_head.bbox_head.num_classes is {head["num_classes"]}, but'
            f' {where} has {len(classes)} classes {list(classes)}'
        )


def _check_labels(cfg: Config, sources: Sequence[Choice]) -> None:
    """Check that boxes have one class or several, as the head learns them."""
    head = (detector_config(cfg.get('model')).get('roi_head') or {}).get('bbox_head') or {}
    kind = _kind(head)
    if kind not in ('BBoxHead', 'MultiLabelBBoxHead'):
        return
    several = kind == 'MultiLabelBBoxHead'
    for data in sources:
        if bool(data.config.get('multi_label')) != several:
            raise ConfigError(
                f'{data.where}: multi_label is {not several}, but model.roi_head.bbox_head is'
                f' {kind}, which learns {"several classes" if several else "one class"} per box;'
                f' set multi_label={several}, or'
                + (' bbox_head.type="mmdet.BBoxHead"' if several else ' use MultiLabelBBoxHead')
            )


def _check_proposals(cfg: Config, stage: str) -> None:
    """Check that the file of proposals of an AVA-style detector exists."""
    loader = cfg.get(f'{stage}_dataloader') or {}
    for where, config, _ in _datasets(loader.get('dataset'), f'{stage}_dataloader.dataset', ''):
        file = config.get('proposals')
        if file in (None, GROUND_TRUTH):
            continue
        by_mode = 'test' if config.get('test_mode') else 'train'
        try:
            require_part(file, config.get('proposals_part') or by_mode)
        except ProposalError as error:
            raise ConfigError(f'{where}.proposals: {error}') from error


def _check_truth(cfg: Config, evaluated: Sequence[Choice]) -> None:
    """Check that every class has a tube to evaluate on."""
    allowed = cfg.get('allow_classes_without_truth') or ()
    for data in evaluated:
        counts = data.tubes_per_class().items()
        missing = [name for name, count in counts if not count and name not in allowed]
        if missing:
            raise ConfigError(
                f'{data.where}: no tube of {missing} to evaluate on; correct `class_map`, `split`'
                ' or `videos`, or to evaluate only the other classes, set'
                f' allow_classes_without_truth = {missing}'
            )


def _check_metric(evaluated: Sequence[Choice]) -> None:
    """Check that datasets and metrics select the same videos and frames."""
    datasets = [data for data in evaluated if data.paths is not None]
    predicted = {name for data in datasets for name in data.names}
    for metric in evaluated:
        if metric.paths is not None:
            continue
        others = sorted(predicted - set(metric.annotation.split(metric.config['split'])))
        if others:
            raise ConfigError(
                f'{metric.where} has no video {others[0]!r}, which {datasets[0].where} has'
                f' ({len(others)} such videos); give both the same `ann_file` and `split`'
            )
        truth = {name for name in metric.names if _is_evaluated(metric, name)}
        if truth - predicted:
            raise ConfigError(
                f'{metric.where} scores {min(truth - predicted)!r}, which {datasets[0].where}'
                f' leaves out ({len(truth - predicted)} such videos), as if nothing were found'
                ' there; give both the same `split`, `videos` and `class_map`'
            )
        for data in datasets:
            background = data.labels is None or data.config.get('background_frames', False)
            if metric.config.get('background_frames', True) and not background:
                raise ConfigError(
                    f'{metric.where} scores every frame (`background_frames`), but {data.where}'
                    ' has only annotated ones; set the same `background_frames` in both'
                )


def _is_evaluated(metric: Choice, name: str) -> bool:
    """Whether a video has ground truth of the metric's classes."""
    labels = metric.labels or {}
    return any(tube.label in labels for tube in metric.annotation.tubes.get(name, ()))


def _check_overlap(
    cfg: Config, training: Sequence[tuple[str, Choice]], evaluated: Sequence[Choice]
) -> None:
    """Check that no video is both trained on and evaluated, by its name or by its file."""
    seen = {}
    for data in evaluated:
        # videos that the metric does not score are predicted without use, which does no harm
        scored = [set(other.names) for other in evaluated if other.paths is None]
        if data.labels is None and _label_free_only(cfg, data.where.partition('_')[0]):
            continue  # nothing is evaluated
        for key, name in data.identities().items():
            if all(name in names for names in scored):
                seen[key] = (data.where, name)
    for role, data in training:
        if role == TARGET and cfg.get('allow_transductive'):
            continue
        shared = {name: seen[key] for key, name in data.identities().items() if key in seen}
        if not shared:
            continue
        name, (where, other) = next(iter(shared.items()))
        message = (
            f'{data.where} and {where} share {len(shared)} videos, such as {name!r}'
            + (f' (there {other!r})' if other != name else '')
            + ': training videos must not be evaluated. Choose disjoint splits; "dataset" in the'
            ' annotation files distinguishes videos of different datasets'
        )
        if role == TARGET:
            message += (
                '. To adapt on the evaluated videos without their labels on purpose, set'
                ' allow_transductive = True in the config'
            )
        raise ConfigError(message)
