"""A training whose numbers are no numbers any more stops before anything of it is saved."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from mmstal_da.engine.hooks.finite_hook import MOST_SCALER_SKIPS, clips_of, first_not_finite
from mmstal_da.errors import TrainingError
from mmstal_da.registry import HOOKS
from tests.model_builders import dual_batch
from tests.tiny_runner import LinearModel, make_runner

CHECKPOINT = dict(type='mmstal_da.AtomicCheckpointHook', interval=1, max_keep_ckpts=1)
FINITE = dict(type='mmstal_da.FiniteHook')


class Poison(Hook):
    """Calls ``act(runner)`` before chosen iterations (from 1), and counts them."""

    priority = 'VERY_LOW'

    def __init__(self, iterations, act) -> None:
        self.iterations, self.act = iterations, act

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter + 1 in self.iterations:
            self.act(runner, data_batch)


def nan_batch(runner, data_batch) -> None:
    """One clip of the batch; its neighbour has a name."""
    data_batch['x'] = data_batch['x'] * float('nan')


def trained(folder: Path, max_iters: int, *hooks, allowed: int = 0, **kwargs):
    """A runner with the hook, after its training."""
    finite = dict(FINITE, allowed_skips=allowed)
    runner = make_runner(folder, max_iters, CHECKPOINT, custom_hooks=[finite, *hooks], **kwargs)
    runner.train()
    return runner


def last_saved(folder: Path) -> tuple[int, dict]:
    """Iteration and weights of the one checkpoint that is left."""
    (path,) = folder.glob('iter_*.pth')
    assert Path((folder / 'last_checkpoint').read_text()) == path
    saved = torch.load(path)
    return saved['meta']['iter'], saved['state_dict']


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_before_anything_is_saved(tmp_path):
    with pytest.raises(TrainingError) as error:
        trained(tmp_path, 8, Poison({4}, nan_batch))
    message = str(error.value)
    assert 'stopped at iteration 4: loss is nan on' in message
    assert f'The last checkpoint is {tmp_path}/iter_3.pth' in message
    assert 'allowed_skips' in message
    iteration, weights = last_saved(tmp_path)
    assert iteration == 3
    expected = trained(tmp_path / 'whole', 3).model.state_dict()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    # what is left can be trained on
    resumed = trained(tmp_path, 8, resume=True)
    whole = trained(tmp_path / 'whole8', 8)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value)


def test_without_the_hook_it_went_through_in_silence(tmp_path):
    runner = make_runner(tmp_path, 8, CHECKPOINT, custom_hooks=[Poison({4}, nan_batch)])
    runner.train()
    iteration, weights = last_saved(tmp_path)
    assert iteration == 8 and not torch.isfinite(weights['fc.weight']).all()


def test_a_learning_rate_without_bounds(tmp_path):
    """The first report: 1e30, and the last good checkpoint was gone."""

    def raise_lr(runner, _):
        runner.optim_wrapper.optimizer.param_groups[0]['lr'] = 1e30

    with pytest.raises(TrainingError, match=r'stopped at iteration [567]: '):
        trained(tmp_path, 40, Poison({4}, raise_lr))
    assert all(torch.isfinite(value).all() for value in last_saved(tmp_path)[1].values())


def test_a_gradient_that_is_not_finite_makes_no_step(tmp_path):
    """The loss is finite, its gradient is not: sqrt at 0."""

    def at_zero(runner, _):
        weight = runner.model.fc.weight
        loss = runner.model.forward

        def forward(x, y, mode):
            return dict(loss=loss(x, y, mode)['loss'] + (weight - weight.detach()).sum().sqrt())

        runner.model.forward = forward

    before = {}

    def note(runner, _):
        before.update({k: v.clone() for k, v in runner.model.state_dict().items()})

    with pytest.raises(TrainingError, match=r'3: the gradient of fc\.weight is (inf|nan)'):
        trained(tmp_path, 8, Poison({3}, note), Poison({3}, at_zero))
    assert all(torch.equal(before[k], v) for k, v in last_saved(tmp_path)[1].items())


@pytest.mark.parametrize('what', ['weight', 'statistics'])
def test_weights_and_statistics_count_too(tmp_path, what):
    def spoil(runner, _):
        if what == 'weight':
            runner.model.fc.bias.data.fill_(float('inf'))
        else:
            runner.model.fc.seen_var.fill_(float('nan'))

    class Buffered(Hook):
        def before_run(self, runner):
            runner.model.fc.register_buffer('seen_var', torch.ones(2))

    name = {'weight': 'fc.bias is (inf|nan)', 'statistics': 'fc.seen_var is nan'}[what]
    with pytest.raises(TrainingError, match=f'iteration 5: .*{name}'):
        trained(tmp_path, 8, Buffered(), Poison({5}, spoil), allowed=9)
    assert last_saved(tmp_path)[0] == 4


@pytest.mark.slow
def test_as_many_steps_as_are_allowed_may_be_left_out(tmp_path, caplog):
    runner = trained(tmp_path, 6, Poison({2, 4}, nan_batch), allowed=2)
    assert runner.message_hub.runtime_info['skipped_steps'] == 2
    # by hand: as if these two iterations made no step

    class ButTwo(Hook):
        def before_train(self, runner):
            step = runner.optim_wrapper.step
            runner.optim_wrapper.step = lambda: None if runner.iter + 1 in (2, 4) else step()

    still = trained(tmp_path / 'still', 6, ButTwo())
    for key, value in still.model.state_dict().items():
        assert torch.equal(runner.model.state_dict()[key], value)
    with pytest.raises(TrainingError, match='iteration 4: loss is nan'):
        trained(tmp_path / 'one', 6, Poison({2, 4}, nan_batch), allowed=1)
    assert last_saved(tmp_path / 'one')[0] == 3


def test_skips_are_counted_over_a_resumed_training(tmp_path):
    trained(tmp_path, 3, Poison({2}, nan_batch), allowed=1)
    with pytest.raises(TrainingError, match='iteration 5'):
        trained(tmp_path, 6, Poison({5}, nan_batch), allowed=1, resume=True)


@pytest.mark.slow
def test_gradients_that_are_accumulated(tmp_path):
    """A loss left out counts as an iteration: the step comes where it would have come."""
    options = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=2))
    steps = []

    class Count(Hook):
        def before_train(self, runner):
            step = runner.optim_wrapper.optimizer.step

            def counted(*args, **kwargs):
                steps.append(runner.iter + 1)
                return step(*args, **kwargs)

            runner.optim_wrapper.optimizer.step = counted

    trained(tmp_path, 6, Count(), Poison({3}, nan_batch), allowed=1, **options)
    assert steps == [2, 4, 6]


@OPTIM_WRAPPERS.register_module()
class ScaledOnCPU(OptimWrapper):
    """``AmpOptimWrapper`` asserts a GPU; the scaler is the same."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler('cpu')

    def backward(self, loss, **kwargs) -> None:
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs) -> None:
        self.loss_scaler.step(self.optimizer)
        self.loss_scaler.update()


def overflowing(iterations):
    """A gradient that overflows, as in float16, in these iterations."""

    def act(runner, _):
        runner.model.fc.weight.register_hook(lambda grad: grad * overflows[0])

    class Overflow(Hook):
        def before_train(self, runner):
            act(runner, None)

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            overflows[0] = float('inf') if runner.iter + 1 in iterations else 1.0

    overflows = [1.0]
    return Overflow()


@pytest.mark.slow
def test_a_loss_scaler_may_leave_steps_out(tmp_path):
    options = dict(optim_wrapper=dict(type='ScaledOnCPU', optimizer=dict(type='SGD', lr=0.1)))
    runner = trained(tmp_path, 8, overflowing({1, 2, 5}), **options)
    assert runner.optim_wrapper.loss_scaler.get_scale() == 65536 / 8
    assert torch.isfinite(runner.model.fc.weight).all()
    with pytest.raises(TrainingError, match=f'in {MOST_SCALER_SKIPS} iterations on end'):
        trained(tmp_path / 'ever', 99, overflowing(range(100)), **options)
    with pytest.raises(
        TrainingError, match='iteration 3: loss is nan'
    ):  # but a loss is no gradient
        trained(tmp_path / 'loss', 8, Poison({3}, nan_batch), **options)


def test_the_first_that_is_not_finite_is_named():
    large = torch.full((3,), 3e38)  # its sum, and its square, is infinite
    named = {'a': large, 'b': torch.tensor([1.0, -float('inf')]), 'c': torch.tensor(float('nan'))}
    assert first_not_finite(named.items()) == 'b is inf'
    assert first_not_finite({'a': large, 'e': torch.zeros(0)}.items()) is None
    assert first_not_finite({'c': named['c'].bfloat16()}.items()) == 'c is nan'


def test_clips_of_both_domains_are_named():
    batch = dual_batch(n=1)
    batch['target']['data_samples'][0].set_metainfo(dict(video_name='dark/2', key_frame=31))
    assert clips_of(batch) == ["'v' frame 1", "'dark/2' frame 31"]


@pytest.mark.parametrize('value', [-1, 1.5, None, 'all'])
def test_a_number_of_skips_that_means_nothing(value):
    with pytest.raises(ValueError, match='allowed_skips'):
        HOOKS.build(dict(FINITE, allowed_skips=value))


def work(rank: int, store: str, folder: str) -> None:
    """Rank 1 alone has a loss that is not finite; both stop, with the same words."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)

    def poison(runner, data_batch):
        if rank == 1:
            nan_batch(runner, data_batch)
            data_batch['y'] = data_batch['y'].clone()

    def model():
        torch.manual_seed(0)
        return dict(model=MMDistributedDataParallel(LinearModel()))

    # a step that is left out by one process is left out by both
    runner = trained(Path(folder), 4, Poison({2}, poison), allowed=1, **model())
    weights = [torch.zeros_like(runner.model.module.fc.weight) for _ in range(2)]
    dist.all_gather(weights, runner.model.module.fc.weight.detach())
    assert torch.equal(*weights) and torch.isfinite(weights[0]).all()
    try:
        trained(Path(folder) / 'stops', 4, Poison({3}, poison), **model())
    except TrainingError as error:
        assert 'iteration 3: loss is nan on an unknown batch' in str(error), error
    else:
        raise AssertionError('it went on')
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_stop_together(tmp_path):
    mp.spawn(work, args=(str(tmp_path / 'store'), str(tmp_path / 'run')), nprocs=2)
