r"""A training step: forward, backward and optimiser, on random clips, from random weights.

- source_only: our plain detector, on 2n labelled source clips;
- full: our full model, on n source clips and n target clips;
- slowonly, slowfast: MMAction2's AVA-style detectors on given proposals, on 2n source clips.

Frames per clip are those of the configs. "with_cp": with gradient checkpointing in the backbones.
Memory is the peak of two steps with weights and optimiser, above what the process had before. On
a CPU each model has a forked process of its own for it.

The other rows are choices that make training fast, against their plain alternatives:

- joint: source and target as one batch through the backbones, against two batches;
- TF2 in two dimensions: the centre slice of the kernels over the length-1 time axis, against the
  three-dimensional convolutions;
- bfloat16: autocast against float32.

The last row is a rate: GFLOP a second of I3D's forward pass, on two clips of the size, and of a
product of two matrices, the most that the machine does. Here more is better.
"""

import argparse
import copy
import gc
import multiprocessing
import resource
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection

import torch
from gpu_checks.networks import build_network, clip_length, load_row, make_batch
from gpu_checks.training_step import (
    PRECISIONS,
    exactness,
    make_optimizer,
    peak_mebibytes,
    reset_peak,
    take_step,
)
from mmengine.config import Config
from torch.utils.flop_counter import FlopCounterMode

from mmstal_da.models.backbones.inception_i3d import InceptionI3D, endpoint_channels
from mmstal_da.models.roi_heads.inception_roi_stage import InceptionRoIStage
from mmstal_da.register import register_all_modules

from .common import add_size, choose_size, make_row, take_turns, timed

REPEATS = 5
PLAIN = 'source_only'
MODELS = (PLAIN, 'full', 'slowonly', 'slowfast')
ROWS = ('steps', 'parts', 'rate')
STEPS_FOR_MEMORY = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``train``."""
    add_size(parser)
    parser.add_argument('--clips', type=int, help="n, clips per domain; default: the config's")
    parser.add_argument('--precision', choices=PRECISIONS, default='float32')
    parser.add_argument('--models', nargs='+', choices=MODELS, default=list(MODELS))
    parser.add_argument('--skip-with-cp', action='store_true', help='no gradient checkpointing')
    parser.add_argument('--rows', nargs='+', choices=ROWS, default=list(ROWS))


def run(args: argparse.Namespace) -> list[dict]:
    """All rows. The steps come first: their memory is measured in forks of a small process."""
    register_all_modules()
    rows = []
    if 'steps' in args.rows:
        rows.append(steps_row(args))
    if 'parts' in args.rows:
        rows += parts_rows(args)
    if 'rate' in args.rows:
        rows.append(rate_row(args))
    return rows


def steps_row(args: argparse.Namespace) -> dict:
    """Seconds and memory of the steps of all models."""
    size = choose_size(args)
    configs = {name: load_row(size.pair, name) for name in dict.fromkeys((PLAIN, *args.models))}
    if not args.skip_with_cp:
        configs |= {f'{name}, with_cp': with_checkpointing(c) for name, c in configs.items()}
    own = 1 if args.quick else configs[PLAIN].train_dataloader.batch_size
    args.clips = args.clips or own
    clips = 2 * args.clips
    prepare = {
        name: partial(make_step, config, clips, size.clip, args.device, args.precision)
        for name, config in configs.items()
    }
    with exactness(args.precision):
        peaks = {name: peak_of(make, args.device) for name, make in prepare.items()}
        steps = {name: timed(make(), args.device) for name, make in prepare.items()}
        seconds = take_turns(steps, args.repeats)
    extra = {
        name: dict(
            frames=clip_length(config),
            peak_mib=peaks[name],
            peak_mib_per_clip=peaks[name] / clips,
        )
        for name, config in configs.items()
    }
    name = f'step, {args.size}, {clips} clips of {size.clip[0]} x {size.clip[1]} px'
    return make_row(f'{name}, {args.precision}', 's', seconds, PLAIN, extra)


def with_checkpointing(config: Config) -> Config:
    """The same with ``with_cp=True`` in its networks, of SlowFast in both pathways."""
    changed = copy.deepcopy(config)
    backbone = changed.model.backbone
    pathways = [backbone[key] for key in ('slow_pathway', 'fast_pathway') if key in backbone]
    clip_backbone = changed.model.get('clip_backbone')  # AVA-style detectors have one network
    for part in [*(pathways or [backbone]), *([clip_backbone] if clip_backbone else [])]:
        part['with_cp'] = True
    return changed


def make_step(
    config: Config, clips: int, size: tuple[int, int], device: str, precision: str
) -> Callable[[], None]:
    """A function that takes one step, with its model, optimiser and batch."""
    model = build_network(config, device)
    batch = make_batch(config, clips, size, clip_length(config))
    return partial(take_step, model, batch, make_optimizer(model, config, precision))


def peak_of(make: Callable[[], Callable[[], None]], device: str) -> float:
    """Most MiB that a model, its optimiser, its batch and its steps take."""
    if not device.startswith('cuda'):
        return peak_in_fork(partial(take_steps, make))
    before = reset_peak(device)
    take_steps(make)
    peak = peak_mebibytes(device, above=before)
    gc.collect()
    torch.cuda.empty_cache()
    return peak


def take_steps(make: Callable[[], Callable[[], None]]) -> None:
    """Build, and take steps: the optimiser has its state after the first."""
    step = make()
    for _ in range(STEPS_FOR_MEMORY):
        step()


def peak_in_fork(function: Callable[[], None]) -> float:
    """MiB by which a function raises the peak of a forked process.

    Raises:
        OSError: The process failed, or was killed for its memory.
    """
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_peak, args=(function, sender))
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        found = 'it sent nothing; was it killed for its memory?'
    process.join()
    if isinstance(found, str):
        raise OSError(f'the process that measures memory ended with {process.exitcode}: {found}')
    return found


def _send_peak(function: Callable[[], None], sender: Connection) -> None:
    """In the forked process. Linux counts in KiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        function()
    except Exception:
        sender.send(traceback.format_exc())
        raise
    sender.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def parts_rows(args: argparse.Namespace) -> list[dict]:
    """Choices against their plain alternatives, forward and backward."""
    choose_size(args)
    torch.manual_seed(0)
    width, shape = (1.0, (20, 224, 224)) if args.size == 'paper' else (0.5, (16, 112, 112))
    rois = 64
    if args.quick:
        width, shape, rois = 0.25, (8, 32, 32), 4
    net = InceptionI3D(width=width).train().to(args.device)
    stage = InceptionRoIStage(width=width).train().to(args.device)
    source, target = torch.rand(2, 1, 3, *shape, device=args.device).unbind()
    maps = torch.rand(rois, endpoint_channels('Mixed_4f', width), 7, 7, device=args.device)

    def bfloat16() -> torch.Tensor:
        with torch.autocast(torch.device(args.device).type, dtype=torch.bfloat16):
            return net(source)

    cases = {
        'joint source+target batch': (
            lambda: net(torch.cat([source, target])),
            lambda: net(source).mean() + net(target).mean(),
        ),
        'TF2 in two dimensions': (
            lambda: stage(maps),
            lambda: stage.run_endpoints(maps.unsqueeze(2)),
        ),
        'bfloat16 autocast': (bfloat16, lambda: net(source)),
    }
    rows = []
    for name, functions in cases.items():
        sides = zip(('ours', 'plain'), functions, strict=True)
        both = {side: timed(partial(backward, f), args.device) for side, f in sides}
        title = f'{name}, I3D of width {width}, {shape[0]} x {shape[1]} x {shape[2]}'
        rows.append(make_row(title, 's', take_turns(both, args.repeats), 'ours'))
    return rows


def rate_row(args: argparse.Namespace) -> dict:
    """GFLOP a second of I3D and of a matrix product; a product and a sum are two."""
    size = choose_size(args)
    config = load_row(size.pair, PLAIN)
    detector = build_network(config, args.device).eval()
    clip = torch.rand(2, 3, clip_length(config), *size.clip, device=args.device)
    side = 256 if args.quick else 4096
    first, second = torch.rand(2, side, side, device=args.device).unbind()
    functions = {
        'matrix product': lambda: first @ second,
        'I3D forward': lambda: detector.clip_backbone(clip),
    }
    with torch.no_grad(), exactness('float32'):
        work = {}
        for name, function in functions.items():
            with FlopCounterMode(display=False) as counter:
                function()
            work[name] = counter.get_total_flops() / 1e9
        seconds = take_turns({k: timed(f, args.device) for k, f in functions.items()}, args.repeats)
    rates = {name: [work[name] / time for time in times] for name, times in seconds.items()}
    extra = {name: dict(gflop=gflop) for name, gflop in work.items()}
    title = f'rate, {args.size}, 2 clips of {" x ".join(map(str, clip.shape[2:]))}, float32'
    return make_row(title, 'GFLOP/s', rates, 'matrix product', extra)


def backward(function: Callable[[], torch.Tensor]) -> None:
    """Forward and backward."""
    function().float().mean().backward()
