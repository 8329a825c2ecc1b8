r"""Milliseconds per clip from file to packed clip, in one process.

Our training pipeline of a size beside MMAction2's own transforms that do the same: <reader>Init,
<reader>Decode, Resize, Flip, ColorJitter, FormatShape, PackActionInputs. Both get the same frames
of the same key frames, without labels. "difference" is the largest one between the decoded frames
of MMAction2's reader and of ours, in grey levels: 0 for PyAV, which both use. Decord brings an
FFmpeg of its own: its frames of clips of JHMDB and of rendered ones are the same, those of UCF101
differ by up to 2.

Then ways to read a clip from a video: exactness and time (benchmarks/readers.py). With --memory N
our pipeline loads N clips one after the other, and the last row is the memory of the process on the
way. Without VIDEO some are rendered.
"""

import argparse
import importlib.util
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from gpu_checks.networks import CONFIGS, load_row
from mmengine.config import Config
from mmengine.dataset import Compose

from mmstal_da.datasets.draws import seeded
from mmstal_da.register import register_all_modules
from mmstal_da.registry import TRANSFORMS
from mmstal_da.video.reader import count_frames

from .common import SIZES, choose_size, make_row, render_video, take_turns, timed
from .readers import readers_row

REPEATS = 5
OURS = 'ours'
# what AugmentClip and ColorJitter both have, with AugmentClip's defaults
STRENGTHS = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``loader``."""
    parser.add_argument('videos', nargs='*', type=Path, metavar='VIDEO')
    parser.add_argument('--size', choices=SIZES, help='default 112px, with --quick narrow')
    parser.add_argument('--clips', type=int, help='random clips per video; default 20')
    parser.add_argument('--clip-len', type=int, default=20, help="of the readers' clips")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--memory', type=int, metavar='N', default=0, help='memory over N clips, at least 4'
    )


def run(args: argparse.Namespace) -> list[dict]:
    """Pipelines without and with colour, and the readers."""
    register_all_modules()
    size = choose_size(args)
    args.clips = args.clips or (2 if args.quick else 20)
    with tempfile.TemporaryDirectory() as folder:
        videos = args.videos or [
            render_video(Path(folder) / f'{n}.mp4', size.video, 24 if args.quick else 100, n)
            for n in range(1 if args.quick else 3)
        ]
        samples = draw_samples(videos, args.clips, args.seed)
        own = load_row(size.pair, 'full').train_dataloader.dataset.source.pipeline
        rows = [
            pipelines_row(name, pipeline, samples, args.repeats)
            for name, pipeline in pipelines(own, args.size).items()
        ]
        rows.append(readers_row(videos, args.clips, args.clip_len, args.repeats, args.seed))
        if args.memory:
            rows.append(memory_row(args.size, own, samples, args.memory))
        return rows


def pipelines(own: Sequence[dict], size: str) -> dict[str, list[dict]]:
    """Name -> our training pipeline: without and with colour; the name says which configs use."""
    plain = [stage for stage in own if stage['type'] != 'AugmentClip']
    colour = Config.fromfile(CONFIGS / '_base_/datasets/pair_112px.py').colour
    resized = any(stage['type'].endswith('Resize') for stage in own)
    name = f'{size}: resize, flip' if resized else f'{size}: flip'
    names = [name, f'{name}, colour']
    names[len(own) > len(plain)] += ' (as in the configs)'
    return {names[0]: plain, names[1]: [*plain[:-1], colour, plain[-1]]}


def counterpart(pipeline: Sequence[dict], reader: str) -> list[dict]:
    """MMAction2's transforms for one of our pipelines, from the frames' numbers on.

    Args:
        pipeline: Ours: sampling, decoding, augmentation, packing.
        reader: ``'PyAV'`` or ``'Decord'``.
    """
    stages = [dict(type=f'mmaction.{reader}Init'), dict(type=f'mmaction.{reader}Decode')]
    for stage in pipeline[2:-1]:
        if stage['type'] == 'AugmentClip':
            strengths = {key: stage.get(key, value) for key, value in STRENGTHS.items()}
            stage = dict(type='mmaction.ColorJitter', **strengths)
        stages.append(stage)
    shape = dict(type='mmaction.FormatShape', input_format='NCTHW', collapse=True)
    return [*stages, shape, dict(type='mmaction.PackActionInputs')]


def readers() -> list[str]:
    """MMAction2's readers that are installed; its configs use decord."""
    return ['Decord', 'PyAV'] if importlib.util.find_spec('decord') else ['PyAV']


def draw_samples(videos: Sequence[Path], clips: int, seed: int) -> list[dict]:
    """Random key frames, as our data set gives them to its pipeline."""
    rng = np.random.default_rng(seed)
    samples = []
    for video in videos:
        frames = count_frames(video)
        samples += [
            dict(
                video_name=video.stem,
                filename=str(video),
                filename_tmpl=None,
                total_frames=frames,
                key_frame=key_frame,
                height=None,
                width=None,
            )
            for key_frame in rng.integers(1, frames + 1, clips).tolist()
        ]
    return samples


def theirs(sample: dict, clip: Callable[[dict], dict]) -> dict:
    """The same sample for MMAction2's transforms, which count frames from 0.

    Args:
        sample: Of :func:`draw_samples`.
        clip: Our ``SampleKeyFrameClip``.
    """
    frames = clip(dict(sample))['frame_inds'] - 1
    return dict(
        filename=sample['filename'],
        frame_inds=frames,
        clip_len=len(frames),
        num_clips=1,
        modality='RGB',
        start_index=0,
    )


def build(stages: Sequence[dict]) -> Compose:
    """Transforms one after the other; ColorJitter draws its order when it is built."""
    with seeded(0):
        return Compose([TRANSFORMS.build(stage) for stage in stages])


def pipelines_row(name: str, pipeline: Sequence[dict], samples: list[dict], repeats: int) -> dict:
    """One row: ours and MMAction2's with every reader; a reader that fails has no times."""
    clip = TRANSFORMS.build(pipeline[0])
    inputs = {OURS: samples}
    stages = {OURS: list(pipeline)}
    for reader in readers():
        side = f'MMAction2, {reader}'
        inputs[side] = [theirs(sample, clip) for sample in samples]
        stages[side] = counterpart(pipeline, reader)
    calls = {side: partial(load_all, build(stages[side]), inputs[side]) for side in stages}
    extra = {}
    for side, call in calls.items():
        extra[side] = dict(clips_per_second=None, difference=None, failed=why_not(side, call))
        if not extra[side]['failed']:
            extra[side]['difference'] = largest_difference(
                stages[OURS], stages[side], samples[:5], inputs[side][:5]
            )
    working = {side: timed(call) for side, call in calls.items() if not extra[side]['failed']}
    rounds: dict[str, list[float]] = {side: [] for side in calls}
    for side, times in take_turns(working, repeats).items():
        rounds[side] = [1000 * seconds / len(samples) for seconds in times]
        extra[side]['clips_per_second'] = 1000 / float(np.median(rounds[side]))
    return make_row(name, 'ms', rounds, OURS, extra)


def memory_row(size: str, pipeline: Sequence[dict], samples: list[dict], number: int) -> dict:
    """MiB of this process after each quarter of the clips; the ratio is the growth since the first.

    Raises:
        ValueError: There are fewer than 4 clips.
    """
    if number < 4:
        raise ValueError(f'--memory takes at least 4 clips, not {number}')
    load = build(pipeline)
    found = {}
    for done in range(1, number + 1):
        load(dict(samples[done % len(samples)]))
        if done % (number // 4) == 0 and len(found) < 4:
            found[f'after {done}'] = [resident_mebibytes()]
    return make_row(f'memory, {size}: as in the configs', 'MiB', found, next(iter(found)))


def resident_mebibytes() -> float:
    """Physical memory of this process; Linux alone tells."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def why_not(side: str, call: Callable[[], object]) -> str:
    """Why MMAction2's transforms fail on these videos; empty if they do not."""
    try:
        call()
    except Exception as error:
        if side == OURS:
            raise
        return type(error).__name__
    return ''


def load_all(pipeline: Compose, samples: Sequence[dict]) -> list[dict]:
    """All samples, with the same draws in every round."""
    with seeded(0):
        return [pipeline(dict(sample)) for sample in samples]


def largest_difference(
    ours: Sequence[dict], other: Sequence[dict], samples: list[dict], other_samples: list[dict]
) -> int:
    """Largest difference of the decoded frames before augmentation, in grey levels."""
    decode = [build(stages[:2]) for stages in (ours, other)]
    largest = 0
    for pair in zip(samples, other_samples, strict=True):
        first, second = (np.stack(d(dict(s))['imgs']) for d, s in zip(decode, pair, strict=True))
        largest = max(largest, int(np.abs(first.astype(np.int16) - second).max()))
    return largest
