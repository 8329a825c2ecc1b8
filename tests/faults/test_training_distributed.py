"""Two processes with statistics per domain: equal everywhere, resumable, and none waits forever."""

import copy
import gc

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tests.model_builders import build_detector, dual_batch, losses_of, module_configs

FROZEN = {
    f'{part}.norm_eval': True for part in ('backbone', 'clip_backbone', 'roi_head.shared_head')
}
STATISTICS = ('running_mean', 'running_var', '_seen_mean', '_seen_var')


class Losses(torch.nn.Module):
    """The sum of the detector's losses, for DDP to wrap."""

    def __init__(self, detector: torch.nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, batch: dict) -> torch.Tensor:
        losses = losses_of(self.detector, batch)
        values = [v[0] if isinstance(v, list) else v for k, v in losses.items() if 'loss' in k]
        return sum(value.sum() for value in values)


def statistics(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Those that layers per domain keep: the discriminators' norms are not among them."""
    state = module.state_dict()
    return {k: v for k, v in state.items() if k.endswith(STATISTICS) and 'adaptation' not in k}


def assert_equal_everywhere(tensors: dict[str, torch.Tensor]) -> None:
    flat = torch.cat([value.detach().reshape(-1) for value in tensors.values()])
    others = [torch.empty_like(flat) for _ in range(2)]
    dist.all_gather(others, flat)
    split = [other.split([value.numel() for value in tensors.values()]) for other in others]
    differ = [key for key, x, y in zip(tensors, *split, strict=True) if not torch.equal(x, y)]
    assert not differ, (len(differ), differ[:3])


def step(model: torch.nn.Module, optimizer, rank: int, number: int) -> None:
    """Step 1: rank 1 has no proposal on the target. Step 2: not even a box or one on the source."""
    detector, batch = model.module.detector, dual_batch(seed=10 * rank + number)
    propose = detector.rpn_head.predict_by_feat

    def fewer(*args, **kwargs):
        found = propose(*args, **kwargs)
        return [r[:0] if i >= 2 or number == 2 else r for i, r in enumerate(found)]

    if rank == 1 and number in (1, 2):
        detector.rpn_head.predict_by_feat = fewer
        for sample in batch['source']['data_samples'] if number == 2 else ():
            sample.gt_instances = sample.gt_instances[:0]
    optimizer.zero_grad()
    model(batch).backward()
    optimizer.step()
    vars(detector.rpn_head).pop('predict_by_feat', None)


def build(adapted: bool, frozen: bool):
    changes = FROZEN if frozen else {}
    adaptation = module_configs() if adapted else None
    detector = build_detector(adaptation, domain_norm='target', **changes)
    model = DistributedDataParallel(Losses(detector))
    return model, torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)


def work(rank: int, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    for adapted, frozen in ((True, True), (False, True), (True, False)):
        model, optimizer = build(adapted, frozen)
        # by hand: each process's own statistics of this batch, then the mean
        alone = copy.deepcopy(model.module.detector)
        alone.domain_norm.synchronise = lambda: None
        losses_of(alone, dual_batch(seed=10 * rank))
        expected = statistics(alone)
        for key, value in expected.items():
            if '_seen_' in key or not frozen:
                dist.all_reduce(value)
                value /= 2
        for number in range(4):
            step(model, optimizer, rank, number)
            assert_equal_everywhere(statistics(model))
            assert_equal_everywhere(dict(model.module.named_parameters()))
            ours = statistics(model.module.detector)
            if number == 0:
                for key, value in expected.items():
                    if '_seen_' in key or not frozen:
                        torch.testing.assert_close(ours[key], value, msg=key)
            if number == 1:  # what the first process saves, as a checkpoint does
                saved = [copy.deepcopy(m.state_dict()) for m in (model, optimizer)]
                dist.broadcast_object_list(saved, 0)
        resumed, other = build(adapted, frozen)
        resumed.load_state_dict(saved[0])
        other.load_state_dict(saved[1])
        for number in (2, 3):
            step(resumed, other, rank, number)
        whole, again = model.state_dict(), resumed.state_dict()
        differ = [k for k, v in whole.items() if not torch.equal(v, again[k])]
        # the discriminators' plain batch norm: written in training, never read
        differ = [k for k in differ if rank == 0 or 'adaptation' not in k]
        assert not differ, (adapted, frozen, rank, len(differ), differ[:3])
        del model, resumed, alone, optimizer, other
        gc.collect()  # DDP goes before its process group
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_statistics_are_equal_and_a_process_without_proposals_takes_part(tmp_path):
    mp.spawn(work, args=(str(tmp_path / 'store'),), nprocs=2)
