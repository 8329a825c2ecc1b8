"""The whole training on a tiny synthetic pair: learning, resuming, and blindness to labels."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmstal_da.launch.checks import check_config
from mmstal_da.register import register_all_modules
from mmstal_da.synthetic import (
    PRESETS,
    ClipSettings,
    Shift,
    SyntheticConfig,
    generate,
)
from tests.model_builders import CONFIGS, FROM_RANDOM_WEIGHTS

pytestmark = pytest.mark.slow

DET_LOSSES = ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox')


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """The tiny synthetic pair: 64 x 48 pixels."""
    folder = tmp_path_factory.mktemp('pair') / 'tiny'
    generate(folder, PRESETS['tiny'])
    return folder


def tiny_config(pair: Path, work_dir: Path, row: str = 'full', **options) -> Config:
    """A row of the synthetic pair, or ``pair/row``, narrower, on the tiny pair, without workers."""
    register_all_modules()
    cfg = Config.fromfile(CONFIGS / (f'{row}.py' if '/' in row else f'synthetic/{row}.py'))
    cfg.work_dir = str(work_dir)
    at = 'model.detector' if 'detector' in cfg.model else 'model'
    cfg.merge_from_dict(
        {
            f'{at}.backbone.base_channels': 8,
            f'{at}.backbone.stem_channels': 8,
            f'{at}.clip_backbone.width': 0.1,
            f'{at}.rpn_head.in_channels': 128,
            f'{at}.rpn_head.feat_channels': 32,
            f'{at}.rpn_head.anchor_generator.scales': [1, 2, 3],
            f'{at}.roi_head.bbox_roi_extractor.out_channels': 84,
            f'{at}.roi_head.shared_head.width': 0.1,
            f'{at}.roi_head.bbox_head.in_channels': 102,
            **{f'{at}.{key}': value for key, value in FROM_RANDOM_WEIGHTS.items()},
            'train_dataloader.batch_size': 2,
            'default_hooks.logger.interval': 1,
            'log_processor.window_size': 1,
            'log_level': 'WARNING',
            **options,
        }
    )

    def move(config: dict) -> None:
        for key, value in config.items():
            if isinstance(value, dict):
                move(value)
            elif key == 'data_root':
                config[key] = f'{pair}/'
            elif key == 'num_workers':
                config[key], config['persistent_workers'] = 0, False

    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        move(cfg[loader])
    for evaluator in ('val_evaluator', 'test_evaluator'):
        cfg[evaluator].ann_file = f'{pair}/target.json'
    return cfg


def with_teacher(cfg: Config, **teacher) -> Config:
    """The config with a teacher around its detector, whose target keeps both views."""
    teacher = dict(thresholds=(0.01, 0.1), adaptive=0.9, burn_in=1, momentum=0.1) | teacher
    cfg.model = dict(type='TeacherStudentDetector', detector=cfg.model, teacher=teacher)
    cfg.custom_hooks = [dict(type='BurnInTeacherHook'), *cfg.get('custom_hooks', ())]
    cfg.train_dataloader.batch_size = 1
    target = cfg.train_dataloader.dataset.target
    views = [dict(type='KeepWeakView'), dict(type='AugmentClip')]
    target.pipeline = [*target.pipeline[:-1], *views, target.pipeline[-1]]
    return cfg


def with_tubes(cfg: Config, **teacher) -> Config:
    """The same; the labels are the teacher's tubes in the whole videos."""
    cfg = with_teacher(cfg, tubes=True, adaptive=None, **teacher)
    rule = dict(box_score=0.01, tube_score=0.1, min_length=3, plausible_length=2, trim_penalty=None)
    hook = dict(type='TubeMemoryHook', interval=2, key_frame_stride=2, **rule)
    cfg.custom_hooks = [*cfg.custom_hooks, hook]
    return cfg


TEACHERS = {'none': lambda cfg, **_: cfg, 'boxes': with_teacher, 'tubes': with_tubes}


def train(cfg: Config, max_iters: int, resume: bool = False) -> list[dict]:
    """Train without evaluation; returns what was logged, one dict per iteration."""
    cfg.train_cfg.max_iters = max_iters
    cfg.resume = resume
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.experiment_name = f'{Path(cfg.work_dir).name}_{max_iters}_{resume}'
    runner = Runner.from_cfg(cfg)
    runner.train()
    (log,) = Path(runner.log_dir).glob('vis_data/scalars.json')
    return [json.loads(line) for line in log.read_text().splitlines()]


def weights(work_dir: Path, iteration: int) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / f'iter_{iteration}.pth', weights_only=False)['state_dict']


@pytest.mark.parametrize('teacher', TEACHERS)
def test_a_resumed_run_has_the_lambda_the_losses_and_the_weights_of_an_uninterrupted_one(
    pair, tmp_path, teacher
):
    saving = {'default_hooks.checkpoint.interval': 3, 'default_hooks.checkpoint.max_keep_ckpts': 9}
    keys = ['da_lambda', 'lr', 'loss', *DET_LOSSES, 'loss_da_tinst']
    wrap = partial(TEACHERS[teacher], mask=0.3, mix=0.5)
    learns = teacher != 'none'
    keys += [f'target_{key}' for key in (*DET_LOSSES, 'boxes')] if learns else []
    whole = train(wrap(tiny_config(pair, tmp_path / 'whole', **saving)), 6)
    # killed after iteration 3 of 6: lambda and learning rate know of 6 all the same
    cfg = wrap(tiny_config(pair, tmp_path / 'killed', **saving))
    (tmp_path / 'killed').mkdir()
    checkpoint = (tmp_path / 'whole' / 'iter_3.pth').read_bytes()
    (tmp_path / 'killed' / 'iter_3.pth').write_bytes(checkpoint)
    (tmp_path / 'killed' / 'last_checkpoint').write_text(str(tmp_path / 'killed' / 'iter_3.pth'))
    resumed = train(cfg, 6, resume=True)
    assert [entry['step'] for entry in resumed] == [4, 5, 6]
    for before, after in zip(whole[3:], resumed, strict=True):
        for key in keys:
            assert before[key] == after[key], key
    expected, got = weights(tmp_path / 'whole', 6), weights(tmp_path / 'killed', 6)
    assert expected.keys() == got.keys()
    assert not learns or any(entry['target_boxes'] for entry in whole[3:])
    assert not learns or 'teacher.rpn_head.rpn_cls.bias' in got
    assert ('thresholds.mean' in got) == (teacher == 'boxes')
    saved = torch.load(tmp_path / 'whole/iter_3.pth', weights_only=False)
    assert ('tube_memory' in saved) == (teacher == 'tubes')
    for key, value in expected.items():
        assert torch.equal(value, got[key]), key


@pytest.mark.parametrize('teacher', TEACHERS)
def test_changed_target_labels_leave_every_loss_bit_equal(pair, tmp_path, teacher):
    wrap = TEACHERS[teacher]
    plain = train(wrap(tiny_config(pair, tmp_path / 'plain')), 3)
    annotation = json.loads((pair / 'target.json').read_text())
    for tubes in annotation['tubes'].values():
        for tube in tubes:
            tube['label'] = annotation['classes'][0]
            tube['boxes'] = [[1, 1, 5, 5] for _ in tube['boxes']]
    for name in list(annotation['tubes'])[::2]:
        del annotation['tubes'][name]
    (tmp_path / 'changed.json').write_text(json.dumps(annotation))
    cfg = wrap(tiny_config(pair, tmp_path / 'other'))
    cfg.train_dataloader.dataset.target.update(
        ann_file=str(tmp_path / 'changed.json'), data_root='', data_prefix=str(pair)
    )
    changed = train(cfg, 3)
    assert any(entry.get('target_boxes') for entry in plain) is (teacher != 'none')
    for before, after in zip(plain, changed, strict=True):
        keys = {key for key in before if 'loss' in key or 'acc' in key or key == 'grad_norm'}
        assert {'loss', 'loss_da_spatial', 'loss_da_timg', 'loss_da_tinst'} <= keys
        assert {key: before[key] for key in keys} == {key: after[key] for key in keys}


def test_overfits_one_clip(tmp_path):
    """Trained on one video with its labels, the detector finds the action in every frame."""
    clip = ClipSettings(min_frames=16, max_frames=16, second_actor=0.0, distractor=0.0)
    counts = dict(source_train=1, source_test=0, target_train=0, target_test=1)
    generate(tmp_path / 'pair', SyntheticConfig(clip=clip, shift=Shift(), **counts))
    options = {
        'default_hooks.logger.interval': 10,
        'train_dataloader.batch_size': 1,
        'model.rpn_head.anchor_generator.scales': [2, 4],
        'param_scheduler.1.T_max': 100,  # the learning rate falls within the 150 iterations
        'param_scheduler.1.end': 150,
        # the narrow network as it is
        'model.backbone.base_channels': 16,
        'model.backbone.stem_channels': 16,
        'model.clip_backbone.width': 0.25,
        'model.rpn_head.in_channels': 256,
        'model.roi_head.bbox_roi_extractor.out_channels': 208,
        'model.roi_head.shared_head.width': 0.25,
        'model.roi_head.bbox_head.in_channels': 256,
    }
    cfg = tiny_config(tmp_path / 'pair', tmp_path, 'oracle', **options)
    cfg.train_dataloader.dataset.target.split = 'test'
    log = train(cfg, 150)
    assert log[-1]['loss'] < 0.5 * log[0]['loss']
    cfg = tiny_config(tmp_path / 'pair', tmp_path, 'oracle', **options)
    cfg.load_from = str(tmp_path / 'iter_150.pth')
    cfg.experiment_name = 'test'
    score = Runner.from_cfg(cfg).test()['frame_mAP@0.5']
    assert score > 90


@pytest.mark.parametrize('teacher', [False, True])
def test_a_target_without_labels_is_watched_in_validation_too(pair, tmp_path, teacher):
    """The lines of mmstal_da/evaluation/README.md, and what every training logs."""
    annotation = json.loads((pair / 'target.json').read_text())
    annotation['tubes'] = {}
    (tmp_path / 'unlabelled.json').write_text(json.dumps(annotation))
    cfg = tiny_config(pair, tmp_path / 'work')
    unlabelled = dict(ann_file=str(tmp_path / 'unlabelled.json'), data_root='')
    cfg.train_dataloader.dataset.target.update(unlabelled, data_prefix=str(pair))
    cfg.val_dataloader.dataset.update(unlabelled, data_prefix=str(pair))
    cfg.val_dataloader.dataset.update(labelled=False, split='train')
    cfg.val_evaluator = dict(type='LabelFreeMetric', score_thr=0.01, min_length=4)
    cfg.custom_hooks = [
        dict(type='LabelFreeViewsHook'),
        dict(type='DomainGapHook', max_videos=4, folds=2),
    ]
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    check_config(cfg)
    cfg = with_teacher(cfg) if teacher else cfg
    cfg.experiment_name = f'watched_{teacher}'
    runner = Runner.from_cfg(cfg)
    runner.train()
    (log,) = Path(runner.log_dir).glob('vis_data/scalars.json')
    *steps, validation = map(json.loads, log.read_text().splitlines())
    assert len(steps) == 2
    monitored = {'grad_share_da_timg_TF1', 'loss_ratio_da_spatial', 'target_entropy'}
    assert all(monitored < step.keys() for step in steps)
    assert 0 <= validation['label_free/box_stability'] <= 1
    assert 'label_free/pcr' in validation and 'label_free/tube_steadiness' in validation
    assert 0 <= validation['probe_accuracy_TF2'] <= 1
    assert len(list(Path(runner.log_dir).rglob('*.png'))) == 8
    assert len(list(Path(runner.log_dir).rglob('events.out.tfevents.*'))) == 1
