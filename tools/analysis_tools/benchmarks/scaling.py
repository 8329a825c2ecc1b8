r"""Training with several processes and threads: milliseconds per clip of all processes together.

A side "2 x 1" is two processes of one thread. Every process takes steps of our full model on n
random clips of each domain, and gradients are averaged over the processes (gloo), as torchrun does
it in a training. So two processes see twice as many clips in a step. All processes are started
before the timing; those of other sides wait. A time is that of the slowest process.
"""

import argparse
import os
import statistics
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing as mp
from gpu_checks.networks import build_network, clip_length, load_row, make_batch
from gpu_checks.training_step import make_optimizer, take_step
from mmengine.model import MMDistributedDataParallel

from .common import SIZES, choose_size, make_row, set_threads, take_turns, timed

REPEATS = 5
ROW = 'full'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``scaling``."""
    parser.add_argument('--size', choices=SIZES, help='default 112px, with --quick narrow')
    parser.add_argument('--clips', type=int, help="n, clips per domain; default: the config's")
    parser.add_argument(
        '--layouts',
        nargs='+',
        type=layout,
        metavar='PxT',
        help='processes x threads of each; default: 1x1, then all cores as threads and as'
        ' processes',
    )


def layout(text: str) -> tuple[int, int]:
    """``'2x1'`` -> (2, 1): two processes of one thread."""
    try:
        processes, threads = map(int, text.split('x'))
    except ValueError:
        processes = threads = 0
    if min(processes, threads) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not PROCESSESxTHREADS, such as 2x1')
    return processes, threads


def run(args: argparse.Namespace) -> list[dict]:
    """One row.

    Raises:
        OSError: A process failed; with its traceback.
    """
    size = choose_size(args)
    cores = os.cpu_count() or 1
    layouts = list(dict.fromkeys(args.layouts or [(1, 1), (1, cores), (cores, 1)]))
    args.layouts = [f'{processes}x{threads}' for processes, threads in layouts]
    own = 1 if args.quick else load_row(size.pair, ROW).train_dataloader.batch_size
    args.clips = args.clips or own
    work = (size.pair, size.clip, 2 * args.clips)
    with started(layouts, work) as groups:
        seconds = take_turns(groups, args.repeats)
    rounds, extra = {}, {}
    for (processes, threads), (side, times) in zip(layouts, seconds.items(), strict=True):
        clips = processes * 2 * args.clips
        rounds[side] = [1000 * time / clips for time in times]
        per_second = 1000 / statistics.median(rounds[side])
        extra[side] = dict(processes=processes, threads=threads, clips_per_second=per_second)
    name = f'training, {args.size}, {2 * args.clips} clips of {size.clip[0]} x {size.clip[1]} px'
    return [make_row(f'{name} per process', 'ms', rounds, next(iter(rounds)), extra)]


@contextmanager
def started(
    layouts: Sequence[tuple[int, int]], work: tuple
) -> Iterator[dict[str, Callable[[], float]]]:
    """Start the processes of all sides; yields side -> function that returns seconds of a round."""
    context = mp.get_context('spawn')
    pipes: list[Connection] = []
    processes = []
    groups = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, threads in layouts:
            side = f'{number} x {threads}'
            store = str(Path(folder) / side)
            members = []
            for rank in range(number):
                here, there = context.Pipe()
                arguments = (there, store, rank, number, threads, work)
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
                there.close()
                processes.append(process)
                members.append(here)
            pipes += members
            groups[side] = _round(side, members)
        try:
            yield groups
        finally:
            for pipe in pipes:
                pipe.close()  # a process that reads its end stops
            for process in processes:
                process.join(timeout=20)
                process.kill()


def _round(side: str, members: Sequence[Connection]) -> Callable[[], float]:
    """A function that has all processes of a side take their steps."""

    def run() -> float:
        for member in members:
            with suppress(BrokenPipeError):  # it has ended, and said why
                member.send(True)
        found = []
        for member in members:
            try:
                found.append(member.recv())
            except EOFError:
                found.append('it sent nothing; was it killed for its memory?')
        for answer in found:
            if isinstance(answer, str):
                raise OSError(f'a process of {side} ended: {answer}')
        return max(found)

    return run


def _work(
    pipe: Connection, store: str, rank: int, processes: int, threads: int, work: tuple
) -> None:
    """In a process: steps whenever the parent asks, until it closes the pipe."""
    set_threads(threads)
    try:
        dist.init_process_group(
            'gloo', init_method=f'file://{store}', rank=rank, world_size=processes
        )
        answers = _rounds(work, rank)
        while True:
            pipe.recv()
            pipe.send(next(answers))
    except EOFError:
        return
    except Exception:
        pipe.send(traceback.format_exc())
        raise


def _rounds(work: tuple, rank: int) -> Iterator[float]:
    """Seconds of one round after the other."""
    pair, size, clips = work
    config = load_row(pair, ROW)
    detector = build_network(config, 'cpu')
    model = MMDistributedDataParallel(module=detector, broadcast_buffers=False)
    optimizer = make_optimizer(detector, config, 'float32')
    batch = make_batch(config, clips, size, clip_length(config), seed=rank)
    seconds = timed(partial(take_step, model, batch, optimizer))
    while True:
        dist.barrier()
        yield seconds()
