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


@pytest.mark.slow
def test_ddp_without_find_unused_parameters(tmp_path):
    mp.spawn(work, args=(str(tmp_path / 'store'),), nprocs=2)
