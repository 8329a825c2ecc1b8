"""What all parts share: sides that take turns, rows of medians and ratios, the table, the file."""

import argparse
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from gpu_checks.training_step import Stopwatch
from rich.console import Console
from rich.table import Table

from mmstal_da.experiments.record import describe_environment
from mmstal_da.synthetic.clip import FPS, ClipSettings, render_clip, sample_clip
from mmstal_da.synthetic.domains import Shift
from mmstal_da.utils.collect_env import collect_env
from mmstal_da.utils.io import write_json
from mmstal_da.video.writer import write_video

FORMAT, VERSION = 'mmstal_da.benchmark', 1
# of MMEngine's report: a folder of the machine
LEFT_OUT = ('CUDA_HOME',)
# settings that are recorded elsewhere, or say nothing about the numbers
NO_SETTINGS = ('command', 'part', 'out', 'threads')

Result = TypeVar('Result')


@dataclass(frozen=True)
class Size:
    """A size of networks and clips.

    Attributes:
        pair: The pair whose configs have it.
        clip: Height and width of random clips, in pixels.
        video: Height and width of rendered videos, which the pair's pipeline resizes.
    """

    pair: str
    clip: tuple[int, int]
    video: tuple[int, int]


# videos of 240 x 320 as JHMDB's and UCF101's
SIZES = {
    'paper': Size('jhmdb_to_ucf101', (256, 340), (240, 320)),
    '112px': Size('jhmdb_static_to_moving', (112, 149), (240, 320)),
    'narrow': Size('synthetic_a', (96, 128), (96, 128)),
}


def add_size(parser: argparse.ArgumentParser) -> None:
    """``--size`` and ``--device``."""
    parser.add_argument(
        '--size',
        choices=SIZES,
        help='networks and clips; default 112px, with --quick narrow on the smallest clips',
    )
    parser.add_argument('--device', default='cpu', help='cpu or cuda')


def choose_size(args: argparse.Namespace) -> Size:
    """The size of the arguments; notes its name in them."""
    args.size = args.size or ('narrow' if args.quick else '112px')
    size = SIZES[args.size]
    return Size(size.pair, (32, 48), (48, 64)) if args.quick else size


def set_threads(number: int) -> None:
    """Threads of torch and OpenCV; libraries that decode use one each."""
    torch.set_num_threads(number)
    cv2.setNumThreads(number)


def take_turns(
    functions: Mapping[str, Callable[[], Result]], repeats: int, warm_up: int = 1
) -> dict[str, list[Result]]:
    """What each side returns in every round; they take turns, in another order every round.

    Args:
        functions: Side -> what it does.
        repeats: Number of rounds.
        warm_up: Calls of each before the first round.
    """
    for _ in range(warm_up):
        for function in functions.values():
            function()
    found: dict[str, list[Result]] = {name: [] for name in functions}
    names = list(functions)
    for number in range(repeats):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(functions[name]())
    return found


def timed(function: Callable[[], object], device: str = 'cpu') -> Callable[[], float]:
    """A function that returns the seconds of a call."""

    def run() -> float:
        with Stopwatch(device) as watch:
            function()
        return watch.seconds

    return run


def make_row(
    name: str,
    unit: str,
    rounds: Mapping[str, Sequence[float]],
    reference: str,
    extra: Mapping[str, Mapping] | None = None,
    reference_rounds: Mapping[str, Sequence[float]] | None = None,
) -> dict:
    """One row: the medians of its sides, and their ratios to the reference's.

    Args:
        name: What was done.
        unit: Of the times.
        rounds: Side -> times.
        reference: The side with the ratio 1.
        extra: Side -> further numbers.
        reference_rounds: Side -> times of the reference for the same work, where the side did not
            do all of it.
    """
    sides = {}
    for side, times in rounds.items():
        base = (reference_rounds or {}).get(side, rounds[reference])
        median = statistics.median(times) if times else None
        ratio = None if median is None else median / statistics.median(base)
        sides[side] = dict(median=median, ratio=ratio, **(extra or {}).get(side, {}))
        sides[side]['rounds'] = list(times)
        if base is not rounds[reference]:
            sides[side]['reference_rounds'] = list(base)
    return dict(row=name, unit=unit, reference=reference, sides=sides)


def describe(args: argparse.Namespace, rows: Sequence[dict]) -> dict:
    """The whole result: rows, settings, machine and versions."""
    machine = describe_environment()
    device = getattr(args, 'device', 'cpu')
    gpu = device.startswith('cuda')
    settings = {key: value for key, value in vars(args).items() if key not in NO_SETTINGS}
    return dict(
        format=FORMAT,
        version=VERSION,
        benchmark=args.command,
        settings=settings,
        statistic='median of the rounds, after a warm-up; ratio: to the median of the reference',
        machine=dict(
            processor=machine['cpu'],
            cores=machine['cores'],
            threads=torch.get_num_threads(),
            device=torch.cuda.get_device_name(device) if gpu else device,
            load_average=os.getloadavg()[0],
        ),
        environment={k: v for k, v in collect_env().items() if k not in LEFT_OUT},
        rows=list(rows),
    )


def show(result: Mapping) -> None:
    """Print the rows as one table."""
    machine = result['machine']
    title = f'{machine["processor"]}, {machine["threads"]} threads, {machine["device"]}'
    keys = dict.fromkeys(key for row in result['rows'] for s in row['sides'].values() for key in s)
    more = [key for key in keys if key not in ('median', 'ratio', 'rounds', 'reference_rounds')]
    table = Table(title=f'{title}; median of {result["settings"]["repeats"]}')
    for column in ('', 'side', 'time', 'ratio', *(key.replace('_', ' ') for key in more)):
        left = column in ('', 'side')
        table.add_column(column, justify='left' if left else 'right', no_wrap=column != '')
    for row in result['rows']:
        for number, (name, side) in enumerate(row['sides'].items()):
            time = '' if side['median'] is None else f'{side["median"]:.4g} {row["unit"]}'
            ratio = '' if side['ratio'] is None else f'{side["ratio"]:.2f}'
            cells = [_shown(side.get(key)) for key in more]
            table.add_row('' if number else row['row'], name, time, ratio, *cells)
        table.add_section()
    # in the width of a terminal, a table of many columns loses its numbers
    Console(width=160).print(table, markup=False)


def _shown(value: object) -> str:
    """A cell."""
    if value is None:
        return ''
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def write(path: Path, result: Mapping) -> None:
    """Write the file; paths are written as text."""
    settings = {key: _plain(value) for key, value in result['settings'].items()}
    write_json(path, {**result, 'settings': settings})


def _plain(value: object) -> object:
    """What JSON can hold."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return os.fspath(value) if isinstance(value, Path) else value


def render_video(path: Path, size: tuple[int, int], frames: int, seed: int = 0) -> Path:
    """A rendered actor who waves.

    Args:
        path: File to write.
        size: Height and width in pixels, even.
        frames: Length.
        seed: Of the scene.
    """
    settings = ClipSettings(size[1], size[0], frames, frames)
    clip = sample_clip('wave', np.random.SeedSequence(seed), settings, Shift())
    write_video(path, render_clip(clip)[0], FPS)
    return path
