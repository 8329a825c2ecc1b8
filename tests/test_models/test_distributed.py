"""Two processes: every parameter gets a gradient on every step, whatever the proposals."""

import gc

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tests.model_builders import build_detector, dual_batch, losses_of, module_configs


class Losses(torch.nn.Module):
    """The sum of the detector's losses, for DDP to wrap."""

    def __init__(self, detector: torch.nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, batch: dict) -> torch.Tensor:
        losses = losses_of(self.detector, batch)
        values = [v for k, v in losses.items() if 'loss' in k]
        return sum(v.sum() if torch.is_tensor(v) else sum(x.sum() for x in v) for v in values)


def work(rank: int, store: str) -> None:
    """Two steps; on rank 1 the RPN offers D_Tinst no proposal in the first."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    model = DistributedDataParallel(Losses(build_detector(module_configs())))
    for step in range(2):
        adaptation = model.module.detector.adaptation
        adaptation.num_proposals = 0 if (rank, step) == (1, 0) else 8
        model.zero_grad()
        # DDP raises here at the second step if the first left a parameter without gradient
        model(dual_batch(seed=10 * rank + step)).backward()
        for name, parameter in model.module.named_parameters():
            if not parameter.requires_grad:
                continue
            assert parameter.grad is not None, f'{name} of rank {rank} in step {step}'
            largest = parameter.grad.abs().max()
            other = largest.clone()
            dist.all_reduce(other, op=dist.ReduceOp.MAX)
            assert torch.equal(largest, other), f'{name} differs between ranks'
    # DDP goes before its process group; the other way round the end of a process has hung once
    del model, adaptation, parameter, largest, other
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


# every anchor and every proposal counts, so that nothing is drawn and each clip has equally many
ALL = {
    'train_cfg.rpn.assigner.pos_iou_thr': 0.5,
    'train_cfg.rpn.assigner.neg_iou_thr': 0.5,
    'train_cfg.rpn_proposal.max_per_img': 6,
    'train_cfg.rpn_proposal.nms.iou_threshold': 1.0,
}


def detector_without_chance() -> torch.nn.Module:
    """No dropout, and batch norm that does not look at the batch, as of pretrained networks."""
    detector = build_detector(module_configs(), **ALL)
    for layer in detector.modules():
        if isinstance(layer, torch.nn.Dropout | torch.nn.modules.batchnorm._BatchNorm):
            layer.eval()
    return detector


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.grad.clone() for k, v in model.named_parameters() if v.grad is not None}


def one_of_two(rank: int, folder: str) -> None:
    """The gradients of a step on one clip of each domain, which the processes average."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    model = DistributedDataParallel(Losses(detector_without_chance()))
    loss = model(dual_batch(seed=rank, n=1))
    loss.backward()
    dist.all_reduce(loss.detach_())
    if rank == 0:
        torch.save((loss / 2, gradients(model.module)), f'{folder}/two.pt')
    del model
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_learn_as_one_on_the_doubled_batch(tmp_path):
    mp.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)
    found, by_two = torch.load(tmp_path / 'two.pt')
    parts = [dual_batch(seed=rank, n=1) for rank in range(2)]
    doubled = {
        side: {key: parts[0][side][key] + parts[1][side][key] for key in parts[0][side]}
        for side in parts[0]
    }
    model = Losses(detector_without_chance())
    loss = model(doubled)
    loss.backward()
    by_one = gradients(model)
    torch.testing.assert_close(found, loss.detach(), rtol=1e-4, atol=1e-5)
    assert by_one.keys() == by_two.keys() and len(by_one) > 50
    for name, value in by_one.items():
        difference = (by_two[name] - value).norm() / value.norm().clamp(min=1e-6)
        assert difference < 1e-3, (name, difference)


@pytest.mark.slow
def test_ddp_without_find_unused_parameters(tmp_path):
    mp.spawn(work, args=(str(tmp_path / 'store'),), nprocs=2)
