"""The monitor in trainings of the tiny detector: what it logs, and that it changes nothing."""

import itertools
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import LOG_PROCESSORS
from torch.utils.flop_counter import FlopCounterMode

from mmstal_da.engine.hooks import AdaptationMonitorHook, AdaptationWeightHook, IterationSeedHook
from mmstal_da.engine.hooks import adaptation_monitor_hook as module
from mmstal_da.engine.monitor.measures import (
    class_entropy,
    class_mass,
    diversity,
    predict_boxes,
)
from tests.model_builders import CONFIGS, build_detector, dual_batch, module_configs, plain_batch

MEASURES = ['target_confident', 'target_diversity', 'target_entropy']
SHARES = [
    'grad_share_da_spatial_SF', 'grad_share_da_timg_TF1', 'grad_share_da_tinst_TF1',
]  # fmt: skip
PER_STEP = [
    f'{kind}_da_{name}' for kind in ('acc', 'loss_ratio') for name in ('spatial', 'timg', 'tinst')
]


NUMBERS = itertools.count()


def fake_runner(model, **wrapper) -> SimpleNamespace:
    """What hooks ask of a runner."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    return SimpleNamespace(
        model=model,
        optim_wrapper=wrapper.pop('kind', OptimWrapper)(optimizer, **wrapper),
        iter=0,
        max_iters=8,
        seed=0,
        rank=0,
        message_hub=MessageHub.get_instance(f'monitor_{next(NUMBERS)}'),
        logger=MMLogger.get_current_instance(),
        train_dataloader=SimpleNamespace(
            dataset=SimpleNamespace(metainfo=dict(classes=('run', 'jump', 'wave')))
        ),
    )


def train(runner, hooks: list, batches: list) -> dict[str, list[float]]:
    """Some iterations, as MMEngine's loop makes them; returns the scalars of the hub."""
    hooks = [IterationSeedHook(), AdaptationWeightHook('constant', 0.3), *hooks]
    for hook in hooks:
        hook.before_train(runner)
    for batch in batches:
        for hook in hooks:
            hook.before_train_iter(runner, runner.iter)
        outputs = runner.model.train_step(batch, runner.optim_wrapper)
        for hook in hooks:
            hook.after_train_iter(runner, runner.iter, batch, outputs)
        runner.iter += 1
    for hook in hooks:
        hook.after_train(runner)
    return {
        key.removeprefix('train/'): list(buffer.data[0])
        for key, buffer in runner.message_hub.log_scalars.items()
        if key.startswith('train/')
    }


WIDTHS = {  # of configs/_base_/models/i3d_rpn_r50_narrow.py
    'backbone.base_channels': 16, 'backbone.stem_channels': 16, 'clip_backbone.width': 0.25,
    'rpn_head.in_channels': 256, 'rpn_head.feat_channels': 128,
    'roi_head.bbox_roi_extractor.out_channels': 208, 'roi_head.shared_head.width': 0.25,
    'roi_head.bbox_head.in_channels': 256,
}  # fmt: skip
SMALL = dict(n=1, size=(32, 48), length=4)  # a clip per domain


def batches(n: int) -> list[dict]:
    return [dual_batch(seed=number, **SMALL) for number in range(n)]


@pytest.mark.slow
def test_everything_is_logged_in_every_iteration_and_measured_in_some(monkeypatch):
    calls = []
    original = module.gradient_shares
    monkeypatch.setattr(module, 'gradient_shares', lambda *a: calls.append(1) or original(*a))
    runner = fake_runner(build_detector(module_configs()))
    logged = train(runner, [AdaptationMonitorHook(interval=2)], batches(3))
    ours = {key: values for key, values in logged.items() if key != 'grad_norm'}
    assert sorted(ours) == sorted([*MEASURES, *SHARES, *PER_STEP])
    assert {len(values) for values in ours.values()} == {3}
    assert len(calls) == 2
    for key in [*MEASURES, *SHARES]:
        assert ours[key][0] == ours[key][1], key
    assert ours['grad_share_da_spatial_SF'][1] != ours['grad_share_da_spatial_SF'][2]
    assert all(0 <= value <= 1 for key in MEASURES[1:] for value in ours[key])
    assert runner.model.observer is None
    loss = runner.model.adaptation.spatial_loss
    assert not loss._forward_hooks and not runner.model.backbone._forward_hooks


def test_loss_ratio_and_accuracy_are_those_of_the_logits():
    """A discriminator with constant logits: the focal and the cross entropy of its p."""
    detector = build_detector(module_configs())
    adaptation = detector.adaptation
    for layer in (adaptation.spatial.fc, adaptation.temporal_image.conv2):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, 0.8)
    logged = train(fake_runner(detector), [AdaptationMonitorHook()], batches(1))
    p = 1 / (1 + np.exp(-0.8))
    entropy = -np.log(1 - p) - np.log(p)
    assert logged['loss_ratio_da_timg'] == [pytest.approx(entropy / (2 * np.log(2)), rel=1e-5)]
    focal = -(p**5) * np.log(1 - p) - (1 - p) ** 5 * np.log(p)
    expected = focal / (2 * 0.5**5 * np.log(2))
    assert logged['loss_ratio_da_spatial'] == [pytest.approx(expected, rel=1e-5)]
    assert logged['acc_da_spatial'] == logged['acc_da_timg'] == [0.5]


@pytest.mark.slow
@pytest.mark.parametrize('modules', ['all', 'dn'])
def test_the_training_is_the_same_to_the_last_bit(modules):
    kwargs = dict(domain_norm='target') if modules == 'dn' else {}
    states = []
    for hooks in ([], [AdaptationMonitorHook(interval=1)]):
        adaptation = None if modules == 'dn' else module_configs()
        detector = build_detector(adaptation, **kwargs)
        logged = train(fake_runner(detector), hooks, batches(2))
        states.append(detector.state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
    if modules == 'dn':  # no discriminator, but a target
        assert sorted(logged) == MEASURES


def test_without_adaptation_nothing_is_logged_measured_or_registered(monkeypatch):
    detector, hook = build_detector(), AdaptationMonitorHook(interval=1)
    for name in ('gradient_shares', 'predict_boxes', 'all_reduce', 'diagnose'):
        monkeypatch.setattr(module, name, None)  # a call would fail
    hook._observe = None
    runner = fake_runner(detector)
    logged = train(runner, [hook], [plain_batch(0, **SMALL), dual_batch(1, **SMALL)])
    assert not logged and not runner.message_hub.log_scalars
    assert not any(part._forward_hooks for part in detector.modules())
    assert train(fake_runner(torch.nn.Linear(1, 1)), [hook], []) == {}


class OnlyMetainfo(AdaptationMonitorHook):
    """The hook, to which samples without any labels are given."""

    def _observe(self, *args):
        *before, samples, proposals = args
        bare = [SimpleNamespace(metainfo=sample.metainfo) for sample in samples]
        super()._observe(*before, bare, proposals)


@pytest.mark.slow
def test_labels_of_the_target_are_not_read():
    logs = []
    for hook, label in ((AdaptationMonitorHook(), 1), (OnlyMetainfo(), 2)):
        batch = dual_batch(seed=3, target_labels=True, **SMALL)
        for sample in batch['target']['data_samples']:
            sample.gt_instances.labels[:] = label
            sample.gt_instances.bboxes *= label
        logs.append(train(fake_runner(build_detector(module_configs())), [hook], [batch]))
    assert logs[0] == logs[1] and set(MEASURES + SHARES) < logs[0].keys()


def test_a_tapped_layer_is_the_place_where_the_gradient_is_compared():
    adaptation = module_configs()
    adaptation['spatial'].update(tap='layer2', in_channels=64)
    adaptation['temporal_image'].update(tap='Mixed_3c', in_channels=48)
    detector = build_detector(adaptation)
    logged = train(fake_runner(detector), [AdaptationMonitorHook()], batches(1))
    assert logged['grad_share_da_spatial_layer2'][0] > 0
    assert logged['grad_share_da_timg_Mixed_3c'][0] > 0
    assert not detector.backbone.layer2._forward_hooks.keys() - {
        key
        for key, hook in detector.backbone.layer2._forward_hooks.items()
        if hook == detector.taps['spatial']._catch
    }


@pytest.mark.slow
def test_accumulation_and_bfloat16_leave_the_shares():
    class Autocast(OptimWrapper):
        """Mixed precision whose scale a float16 gradient would need."""

        loss_scaler = SimpleNamespace(get_scale=lambda: 1024.0)

        def optim_context(self, model):
            return torch.autocast('cpu', dtype=torch.bfloat16)

    modules = module_configs()
    for name in ('spatial', 'temporal_instance'):
        modules[name]['dropout'] = 0.0  # drawn differently for another type
    plain, accumulated, low = (
        train(
            fake_runner(build_detector(modules), **wrapper), [AdaptationMonitorHook()], batches(1)
        )
        for wrapper in ({}, dict(accumulative_counts=4), dict(kind=Autocast))
    )
    for key in SHARES:
        assert accumulated[key] == plain[key]
        assert 0.5 < low[key][0] / plain[key][0] < 2, key  # not 1024 times, nor 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='torch.cuda is not available')
def test_float16_on_a_gpu_leaves_the_shares():
    modules = module_configs()
    for name in ('spatial', 'temporal_instance'):
        modules[name]['dropout'] = 0.0
    plain, low = (
        train(
            fake_runner(build_detector(modules).cuda(), **wrapper),
            [AdaptationMonitorHook()],
            batches(1),
        )
        for wrapper in ({}, dict(kind=AmpOptimWrapper, loss_scale='dynamic'))
    )
    for key in SHARES:
        assert 0.5 < low[key][0] / plain[key][0] < 2, key


def test_a_batch_without_proposals_is_measured_as_far_as_it_goes():
    detector = build_detector(module_configs(), **{'test_cfg.rpn.max_per_img': 0})
    detector.adaptation.num_proposals = 0
    logged = train(fake_runner(detector), [AdaptationMonitorHook()], batches(1))
    assert logged['target_confident'] == [0]
    lacking = {'target_entropy', 'target_diversity', 'grad_share_da_tinst_TF1'}
    assert not (lacking | {'loss_ratio_da_tinst', 'acc_da_tinst'}) & logged.keys()


def test_each_warning_comes_once_also_after_a_resume(caplog):
    runner = fake_runner(build_detector(module_configs()))
    hub = runner.message_hub
    for _ in range(4):
        hub.update_scalar('train/acc_da_spatial', 0.5)
        hub.update_scalar('train/loss_ratio_da_spatial', 1.0)
        hub.update_scalar('train/target_diversity', 0.0)
    with caplog.at_level(logging.WARNING, logger=runner.logger.name):
        runner.logger.addHandler(caplog.handler)
        hook = AdaptationMonitorHook(interval=1, patience=4)
        hook._masses.append(torch.tensor([0.1, 0.2, 9.0]))
        hook._warn(runner)
        hook._warn(runner)
        AdaptationMonitorHook(interval=1, patience=4)._warn(runner)  # of the resumed run
        runner.logger.removeHandler(caplog.handler)
    said = [record.message for record in caplog.records]
    assert len(said) == 2 and 'D_S has been guessing' in said[0] and "'wave'" in said[1]
    assert MessageHub.get_instance(hub.instance_name).get_info('adaptation_warnings') == [
        'guessing_spatial', 'collapse',
    ]  # fmt: skip


@pytest.mark.slow
def test_a_measure_is_far_below_a_percent_of_the_training():
    """In multiplications, of the configs' network and interval; a test measures no time."""
    config = Config.fromfile(CONFIGS / 'synthetic/full.py')
    without_weights = {key: config[key].to_dict() for key in module.MODULES.values()}
    detector = build_detector(dict(without_weights, num_proposals=16), **WIDTHS)
    before, measure = [], AdaptationMonitorHook._observe

    class Counting(AdaptationMonitorHook):
        def _observe(self, *args):
            before.append(counter.get_total_flops())
            measure(self, *args)
            before.append(counter.get_total_flops())

    with FlopCounterMode(display=False) as counter:
        train(fake_runner(detector), [Counting()], [dual_batch(size=(64, 96))])
    measured = before[1] - before[0]
    step = counter.get_total_flops() - measured
    runtime = Config.fromfile(CONFIGS / '_base_/default_runtime.py')
    interval = runtime.default_hooks.adaptation_monitor.interval
    assert 0.01 * step < measured < 0.01 * interval * step


def test_predictions_are_those_on_the_target():
    """Of the batch's last images, and of no more proposals than at test."""
    expected = {}

    class Checked(AdaptationMonitorHook):
        def _observe(self, detector, scale, losses, maps, samples, proposals):
            super()._observe(detector, scale, losses, maps, samples, proposals)
            found, scores = predict_boxes(
                detector.roi_head, maps['TF1'][1:], [proposals[1][:5]], samples[1:]
            )
            assert found.shape == (5, 4)
            expected['target_entropy'] = class_entropy(found)
            expected['target_diversity'] = diversity(class_mass(found))
            expected['target_confident'] = int((scores[0] >= 0.2).sum())

    detector = build_detector(module_configs(), **{'test_cfg.rpn.max_per_img': 5})
    logged = train(fake_runner(detector), [Checked(score_thr=0.2)], batches(1))
    assert expected['target_confident'] > 0
    for key, value in expected.items():
        assert logged[key] == [pytest.approx(value, rel=1e-5)], key


def test_the_log_has_means_over_the_window():
    runtime = Config.fromfile(CONFIGS / '_base_/default_runtime.py')
    processor = LOG_PROCESSORS.build(runtime.log_processor)
    hub = MessageHub.get_instance('test_monitor_means')
    for key in [*MEASURES, *SHARES, *PER_STEP]:
        for value in [9.0] * 10 + [0.0] * 25 + [1.0] * 25:
            hub.update_scalar(f'train/{key}', value)
    logged = processor._collect_scalars([], SimpleNamespace(message_hub=hub), 'train')
    assert set(logged.values()) == {0.5}


def test_bad_keys_are_refused():
    with pytest.raises(ValueError, match='at least 1'):
        AdaptationMonitorHook(interval=0)


def work(rank: int, store: str, out: str) -> None:
    """A step with accumulation, wrapped as the runner wraps; every rank has its own batch."""
    torch.set_num_threads(1)
    if store:
        dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    model = build_detector(module_configs())
    if store:
        model = MMDistributedDataParallel(model, broadcast_buffers=False)
    runner = fake_runner(model, accumulative_counts=2)
    runner.rank = rank
    logged = train(runner, [AdaptationMonitorHook()], [dual_batch(seed=10 * rank, **SMALL)])
    torch.save(logged, f'{out}/{rank}.pt')
    if store:
        del model, runner.model, runner.optim_wrapper
        dist.barrier()
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_log_the_mean_of_both(tmp_path):
    (tmp_path / 'two').mkdir()
    mp.spawn(work, args=(str(tmp_path / 'store'), str(tmp_path / 'two')), nprocs=2)
    both = [torch.load(tmp_path / 'two' / f'{rank}.pt') for rank in range(2)]
    alone = []
    for rank in range(2):
        work(rank, '', str(tmp_path))
        alone.append(torch.load(tmp_path / f'{rank}.pt'))
    for key in [*SHARES, 'target_confident', 'target_entropy']:
        assert both[0][key] == both[1][key], key
        mean = (alone[0][key][0] + alone[1][key][0]) / 2
        assert both[0][key][0] == pytest.approx(mean, rel=1e-4), key
    assert both[0]['target_diversity'] == both[1]['target_diversity']
    assert (
        both[0]['acc_da_timg'] != both[1]['acc_da_timg']
    )  # of its own batch, as MMEngine's losses
