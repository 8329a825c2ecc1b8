"""Step ``step_time``: the training step of the paper's networks, of SlowOnly and of SlowFast.

Random clips of short side 256 px, as in the rows of the paper's size (20 frames; SlowOnly and
SlowFast 24), and random weights. The networks take turns, in another order every round, so that
changes in the machine's speed affect all.
"""

import gc
import statistics
import traceback
from collections.abc import Mapping

import torch
from mmengine.config import Config

from .context import Context
from .networks import build_network, clip_length, load_row, make_batch
from .training_step import (
    PRECISIONS,
    Stopwatch,
    exactness,
    make_optimizer,
    peak_mebibytes,
    reset_peak,
    take_step,
)

PAIR, OURS = 'jhmdb_to_ucf101', ('full', 'source_only')
THEIRS = ('slowonly', 'slowfast')
SIZE = (256, 341)  # JHMDB's 240 x 320 at short side 256
CLIPS = (2, 8)  # per step, for all networks; half of `full`'s are the target's
ROUNDS, WARM_UP = 12, 3


def run(name: str, context: Context) -> None:
    """Measure every precision with every number of clips; each result is saved immediately."""
    configs = {row: load_row(PAIR, row) for row in OURS + THEIRS}
    size, clips, rounds, warm_up = SIZE, CLIPS, ROUNDS, WARM_UP
    precisions = PRECISIONS[::-1]  # bfloat16 first
    if context.tiny:
        size, clips, rounds, warm_up = (32, 48), (2,), 2, 0
        precisions = ('bfloat16', 'float32')
    result = dict(
        height_and_width=size,
        frames={row: clip_length(config) for row, config in configs.items()},
        rounds=rounds,
        statistic='median over the rounds',
        blocks=[],
    )
    failed = 0
    for number in clips:
        for precision in precisions:
            block = dict(precision=precision, clips=number)
            try:
                block['networks'] = compare(
                    configs, precision, number, size, context.device, rounds, warm_up
                )
            except RuntimeError as error:  # out of memory, or a missing operator
                traceback.print_exc()
                block['error'] = f'{type(error).__name__}: {str(error).splitlines()[0]}'
                failed += not isinstance(error, torch.OutOfMemoryError)
            if 'error' in block:  # at this point the networks of the failed attempt are freed
                gc.collect()
                torch.cuda.empty_cache()
            print(block, flush=True)
            result['blocks'].append(block)
            context.save(name, result)
    if failed:
        raise RuntimeError(f'{failed} of {len(result["blocks"])} blocks failed, see above')


def compare(configs: Mapping[str, Config], *arguments) -> dict[str, dict]:
    """:func:`measure`, and the ratio of our time to the others'."""
    networks = measure(configs, *arguments)
    for row in OURS:
        for other in THEIRS:
            networks[row][f'time_over_{other}'] = paired_ratio(
                networks[row]['seconds_of_rounds'], networks[other]['seconds_of_rounds']
            )
    return networks


def measure(
    configs: Mapping[str, Config],
    precision: str,
    clips: int,
    size: tuple[int, int],
    device: str,
    rounds: int,
    warm_up: int,
) -> dict[str, dict]:
    """Time the training steps of some networks that take turns.

    Args:
        configs: Name to config.
        precision: One of ``PRECISIONS``.
        clips: Clips per step.
        size: Height and width of the clips.
        device: The device.
        rounds: Timed steps of every network.
        warm_up: Steps before the timing.

    Returns:
        Name to ``seconds_per_step`` (median), ``seconds_per_clip``, ``clips_per_second``,
        ``peak_mib`` (with weights and optimiser; None on a CPU) and ``seconds_of_rounds``.
    """
    prepared, peaks = {}, {}
    with exactness(precision):
        for name, config in configs.items():
            before = reset_peak(device)
            model = build_network(config, device)
            batch = make_batch(config, clips, size, clip_length(config))
            prepared[name] = model, batch, make_optimizer(model, config, precision)
            for _ in range(warm_up):
                take_step(*prepared[name])
            peaks[name] = peak_mebibytes(device, above=before)
        seconds = {name: [] for name in prepared}
        for number in range(rounds):
            order = list(prepared)
            for name in order[number % len(order) :] + order[: number % len(order)]:
                with Stopwatch(device) as watch:
                    take_step(*prepared[name])
                seconds[name].append(watch.seconds)
    return {name: summary(seconds[name], clips, peaks[name]) for name in prepared}


def summary(seconds: list[float], clips: int, peak: float | None) -> dict:
    """Summary of one network's rounds."""
    median = statistics.median(seconds)
    return dict(
        seconds_per_step=round(median, 5),
        seconds_per_clip=round(median / clips, 5),
        clips_per_second=round(clips / median, 2),
        peak_mib=peak,
        seconds_of_rounds=[round(value, 5) for value in seconds],
    )


def paired_ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the rounds' ratios."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return round(statistics.median(ratios), 3)
