"""Every config: read, its model built, its data and evaluator classes found, its rows right."""

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pprint import pformat
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import LOG_PROCESSORS

from mmstal_da.domains import trained_parts
from mmstal_da.experiments.rows import split_row
from mmstal_da.launch.checks import check_config
from mmstal_da.register import register_all_modules
from mmstal_da.registry import DATA_SAMPLERS, DATASETS, HOOKS, LOOPS, METRICS, MODELS, TRANSFORMS
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.utils.wrapped import student_of

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
RUNNABLE = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob('*.py')
    if path.parts[len(CONFIGS.parts)] != '_base_' and not path.name.startswith('_')
)
# rows of the paper's tables -> modules that are on
ROWS = {
    'source_only': set(),
    't_img': {'temporal_image'},
    't_inst': {'temporal_instance'},
    's_img': {'spatial'},
    't_img_s_img': {'temporal_image', 'spatial'},
    't_inst_s_img': {'temporal_instance', 'spatial'},
    'full': {'temporal_image', 'temporal_instance', 'spatial'},
    'oracle': set(),
    'oracle_st': set(),
}
EXTRA_ROWS = {'dn': set(), 'full_dn': ROWS['full'], 'mt_full': ROWS['full']}

PAIRS = (
    'synthetic',
    'synthetic_a',
    'synthetic_b',
    'jhmdb_to_ucf101',
    'ucfsports_to_ucf101',
    'jhmdb_to_foggy',
    'jhmdb_static_to_moving',
    'ava_to_kinetics',
)
PARTS = ('dataloader', 'evaluator')


def without_weights(cfg: dict) -> None:
    """Drop the pretrained files, which a test does not have."""
    for value in list(cfg.values()):
        if isinstance(value, dict):
            if (value.get('init_cfg') or {}).get('type') == 'StrictPretrained':
                del value['init_cfg']  # MViT's must not be None
            without_weights(value)


def datasets_of(cfg: dict) -> list[dict]:
    """The innermost dataset configs."""
    if cfg.get('type') == 'DualDomainDataset':
        inner = list(trained_parts(cfg).values())
    else:
        inner = [cfg.dataset] if 'dataset' in cfg else []
    return [d for part in inner for d in datasets_of(part)] if inner else [cfg]


@cache
def _read(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


def read(name: str) -> Config:
    """A config of one's own to change; its file is read once."""
    return copy.deepcopy(_read(name))


BUILT: dict[str, torch.nn.Module] = {}


def build(cfg: Config) -> torch.nn.Module:
    """The model without pretrained files; rows with equal ``cfg.model`` share it."""
    register_all_modules()
    without_weights(cfg.model)
    key = pformat(cfg.model.to_dict())  # keys sorted, tuples unlike lists
    if key not in BUILT:
        BUILT[key] = MODELS.build(cfg.model).to('meta')  # the parameters' memory is freed
    return BUILT[key]


@pytest.mark.parametrize(
    'name',
    [
        # one pair is enough for a quick run
        name if name.startswith('synthetic_a/') else pytest.param(name, marks=pytest.mark.slow)
        for name in RUNNABLE
    ],
)
def test_config_builds(name):
    cfg = read(name)
    model = build(cfg)
    dataset = cfg.train_dataloader.dataset
    adapts = dataset.type == 'DualDomainDataset' and 'target' in trained_parts(dataset)
    method, _ = split_row(Path(name).stem)
    teacher = method.partition('_')[0] == 'mt'
    default = ROWS['full'] if adapts and not teacher else set()
    row = (ROWS | EXTRA_ROWS).get(method, default)
    model = student_of(model)
    adaptation = getattr(model, 'adaptation', None)  # MMAction2's detectors have none
    on = {m for m in ROWS['full'] if adaptation is not None and getattr(adaptation, m) is not None}
    assert on == row
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert DATA_SAMPLERS.get(cfg[loader].sampler.type) is not None
        for dataset in datasets_of(cfg[loader].dataset):
            kind = DATASETS.get(dataset['type'])
            assert kind is not None
            for transform in dataset['pipeline']:
                assert TRANSFORMS.build(transform) is not None
            dataset = dict(dataset, lazy_init=True)
            kind(**{k: v for k, v in dataset.items() if k != 'type'})
            if 'classes' in dataset:
                assert len(dataset['classes']) == model.roi_head.bbox_head.num_classes
    for evaluator in ('val_evaluator', 'test_evaluator'):
        assert METRICS.get(cfg[evaluator].type) is not None
    assert LOOPS.get(cfg.train_cfg.type) is not None
    for hook in cfg.default_hooks.values():
        assert HOOKS.get(hook.type) is not None


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNNABLE)
def test_the_target_is_unlabelled_wherever_it_is_trained_on(name):
    dataset = read(name).train_dataloader.dataset
    if dataset.type == 'DualDomainDataset':
        assert dataset.target.labelled is False
        method, _ = split_row(Path(name).stem)
        upper_bound = method in ('oracle', 'oracle_st', 'key_frame_only')
        upper_bound |= name.startswith('synthetic_pretrain/')
        assert ('labelled_target' in trained_parts(dataset)) == upper_bound
    else:
        assert Path(name).stem not in ROWS
        assert dataset.dataset.get('labelled', True)


@pytest.mark.slow
def test_whatever_adapts_is_watched():
    for name in RUNNABLE:
        cfg = read(name)
        hooks = {key: (hook or {}).get('type') for key, hook in cfg.default_hooks.items()}
        assert hooks['finite'] == 'FiniteHook', name
        assert hooks['adaptation_monitor'] == 'AdaptationMonitorHook', name
        assert hooks['adaptation_weight'] == 'AdaptationWeightHook', name
        assert 'TensorboardVisBackend' in [backend.type for backend in cfg.visualizer.vis_backends]


@pytest.mark.parametrize('pair', PAIRS)
def test_a_pair_has_all_rows_of_the_papers_tables_in_short_files(pair):
    for row in ROWS:
        lines = (CONFIGS / pair / f'{row}.py').read_text().splitlines()
        assert len(lines) <= 4, row


# pair -> the source's annotation file, its classes -> the target's, whether background counts
SCENARIOS = {
    'jhmdb_to_ucf101': (
        'jhmdb.json',
        {'shoot_ball': 'Basketball', 'golf': 'GolfSwing', 'walk': 'WalkingWithDog'},
        False,
    ),
    'ucfsports_to_ucf101': (
        'ucf_sports.json',
        {
            'Diving-Side': 'Diving',
            'Golf-Swing-Back': 'GolfSwing',
            'Golf-Swing-Front': 'GolfSwing',
            'Golf-Swing-Side': 'GolfSwing',
            'Riding-Horse': 'HorseRiding',
            'SkateBoarding-Front': 'SkateBoarding',
        },
        True,
    ),
}


@pytest.mark.parametrize('row', ROWS)
@pytest.mark.parametrize('pair', SCENARIOS)
def test_the_scenarios_of_the_paper(pair, row):
    ann_file, class_map, background = SCENARIOS[pair]
    cfg = read(f'{pair}/{row}.py')
    training = datasets_of(cfg.train_dataloader.dataset)
    if row != 'oracle':
        assert training[0]['class_map'] == class_map
        assert training[0]['ann_file'] == ann_file
    evaluated = [cfg[f'{stage}_{part}'] for stage in ('val', 'test') for part in PARTS]
    evaluated = [part.get('dataset', part) for part in evaluated]
    for part in (*training, *evaluated):
        assert tuple(part['classes']) == tuple(sorted(set(class_map.values())))
    for part in training:
        assert part['split'] == 'train' and not part.get('background_frames')
        if part['ann_file'] == 'ucf101_24.json':
            assert part['videos'] == [f'{name}/*' for name in part['classes']]
    for part in evaluated:
        assert part.split == 'test' and part.background_frames is background
        assert part.ann_file.endswith('ucf101_24.json')


@pytest.fixture(scope='module')
def real_annotations(prepared, tmp_path_factory) -> Iterator[None]:
    """The three datasets' real annotations where the configs look, and empty files as videos."""
    folder = tmp_path_factory.mktemp('data')
    for name in ('jhmdb', 'ucf101_24', 'ucf_sports'):
        out = folder / 'data' / name
        out.mkdir(parents=True)
        (out / f'{name}.json').symlink_to(prepared / name / f'{name}.json')
        for video in load_annotation(out / f'{name}.json', with_tubes=False).videos.values():
            file = out / 'videos' / video.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


@pytest.mark.slow
@pytest.mark.parametrize('pair', SCENARIOS)
def test_the_scenarios_fit_the_real_annotations(pair, real_annotations):
    for row in ('full', 'oracle'):  # reading UCF101-24's 4458 tubes takes seconds
        check_config(read(f'{pair}/{row}.py'))


def test_what_the_check_lets_pass_is_said_where_it_is_needed_only():
    for name in RUNNABLE:
        if Path(name).parent.name not in PAIRS:
            continue
        cfg = read(name)
        in_small = Path(name).name.startswith('full_112px_scratch')
        assert bool(cfg.get('allow_transductive')) == in_small, name
        assert bool(cfg.get('allow_classes_without_truth')) == in_small, name


def test_logged_accuracies_are_means_over_the_window():
    """MMEngine's own pattern would log the last batch's, which is 0 or 1 of a few clips."""
    runtime = Config.fromfile(CONFIGS / '_base_/default_runtime.py')
    processor = LOG_PROCESSORS.build(runtime.log_processor)
    hub = MessageHub.get_instance('test_logged_accuracies')
    for value in [0.0] * 60 + [1.0] * 20 + [0.0] * 20 + [1.0] * 10:
        hub.update_scalar('train/acc_da_timg_source', value)
    runner = SimpleNamespace(message_hub=hub)
    logged = processor._collect_scalars([], runner, 'train')
    assert logged['acc_da_timg_source'] == pytest.approx(30 / 50)


@pytest.mark.slow
@pytest.mark.parametrize('pair', SCENARIOS)
def test_the_paper_sizes_are_the_default(pair):
    cfg = read(f'{pair}/full.py')
    model = build(cfg)
    assert model.clip_backbone.out_channels == 832 and model.rpn_head.in_channels == 1024
    assert model.roi_head.shared_head.out_channels == 1024
    clip, _, resize, *_ = cfg.train_dataloader.dataset.source.pipeline
    assert clip.clip_len == 20 and clip.frame_interval == 1 and tuple(resize.scale) == (-1, 256)
