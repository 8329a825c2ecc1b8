"""One training step of a network: forward, backward and the optimiser, in a chosen precision."""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

# float32 with exact products; torch's default, with TF32 in convolutions; autocast
PRECISIONS = ('float32', 'tf32', 'bfloat16')


@contextmanager
def exactness(precision: str) -> Iterator[None]:
    """Inside this context, convolutions on a GPU use TF32 only for ``'tf32'``; products never."""
    if precision not in PRECISIONS:
        raise ValueError(f'precision is one of {PRECISIONS}, not {precision!r}')
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = precision != 'float32'
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def make_optimizer(model: nn.Module, config: Config, precision: str) -> OptimWrapper:
    """The optimiser of a config in the wrapper of the precision."""
    wrapper = copy.deepcopy(config.optim_wrapper)
    wrapper.type = 'BFloat16OptimWrapper' if precision == 'bfloat16' else 'OptimWrapper'
    return build_optim_wrapper(model, wrapper)


def take_step(model: nn.Module, batch: dict, optimizer: OptimWrapper) -> None:
    """One step as in the training loop, on a batch that may be used again."""
    model.train_step(keep_samples(batch), optim_wrapper=optimizer)


def losses_and_gradient(
    model: nn.Module, batch: dict, optimizer: OptimWrapper, seed: int = 0
) -> dict[str, float]:
    """Take a step as :func:`take_step`, with fixed draws of the samplers.

    Returns:
        Every logged loss, and ``grad_norm``: the gradient's norm over all parameters.
    """
    torch.manual_seed(seed)
    np.random.seed(seed)
    with optimizer.optim_context(model):
        data = model.data_preprocessor(keep_samples(batch), True)
        loss, logged = model.parse_losses(model(**data, mode='loss'))
    optimizer.backward(loss)
    gradients = [p.grad.float().norm() for p in model.parameters() if p.grad is not None]
    norm = torch.stack(gradients).norm().item()
    optimizer.step()
    optimizer.zero_grad()
    values = {name: float(torch.as_tensor(value).detach()) for name, value in logged.items()}
    return {**values, 'grad_norm': norm}


def keep_samples(batch: dict) -> dict:
    """A batch with the same clips and copies of its samples, because a step changes them."""
    if 'inputs' not in batch:
        return {name: keep_samples(part) for name, part in batch.items()}
    return dict(inputs=batch['inputs'], data_samples=copy.deepcopy(batch['data_samples']))


class Stopwatch:
    """Seconds on a device: CUDA events on a GPU, the clock elsewhere. Use it in ``with``.

    Attributes:
        seconds: Available after the ``with``.
    """

    def __init__(self, device: str) -> None:
        self.gpu = device.startswith('cuda')
        self.seconds = 0.0

    def __enter__(self) -> 'Stopwatch':
        if self.gpu:
            torch.cuda.synchronize()
            self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            self.events[0].record()
        self.start = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.gpu:
            self.events[1].record()
            torch.cuda.synchronize()
            self.seconds = self.events[0].elapsed_time(self.events[1]) / 1000
        else:
            self.seconds = time.perf_counter() - self.start


def peak_mebibytes(device: str, above: int = 0) -> float | None:
    """Largest memory that tensors took since the reset, in MiB; None without a GPU.

    Args:
        device: The device.
        above: Bytes that were taken before and do not count.
    """
    if not device.startswith('cuda'):
        return None
    return round((torch.cuda.max_memory_allocated() - above) / 2**20, 1)


def reset_peak(device: str) -> int:
    """Start measuring the peak; returns the bytes that are already taken."""
    if not device.startswith('cuda'):
        return 0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()
