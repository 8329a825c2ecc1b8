r"""Milliseconds per frame of a video whose frames are all key frames.

- one by one: every clip is loaded for itself (``dataset[i]``), and goes through the model as a
  batch of clips that share nothing;
- together: a batch is loaded at once (``dataset.__getitems__``), and the model gets the frames that
  its clips share;
- fast: what ``tools/infer.py --fast`` does, in batches of --fast-batch-size: every second frame,
  I3D at every sixth, a third of the proposals. Times are per frame of the video.

The row of a training's config, ``full``, from random weights: as many proposals as the config lets
through reach the second stage. With --checkpoint a trained detector. Without VIDEO one is rendered.
"""

import argparse
import copy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from gpu_checks.networks import build_network, load_row
from gpu_checks.training_step import Stopwatch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mmstal_da.apis.inferencer import FAST_KEY_FRAME_STRIDE, make_fast
from mmstal_da.apis.loading import load_trained
from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.tubes.annotation import Annotation, Video, save_annotation
from mmstal_da.video.reader import count_frames

from .common import add_size, choose_size, make_row, render_video, take_turns

REPEATS = 5
ONE_BY_ONE, TOGETHER, FAST = 'one by one', 'together', 'fast'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``infer``."""
    parser.add_argument('video', nargs='?', type=Path, metavar='VIDEO')
    parser.add_argument('--checkpoint', help='of a trained detector, of --size')
    add_size(parser)
    parser.add_argument('--key-frames', type=int, help='how many, from the middle; default 64')
    parser.add_argument('--batch-size', type=int, help="of the first two; default: the config's")
    parser.add_argument('--fast-batch-size', type=int, help='default 32')


def run(args: argparse.Namespace) -> list[dict]:
    """Loading, the model, and both."""
    size = choose_size(args)
    trained = load_trained(args.checkpoint, device=args.device) if args.checkpoint else None
    config = trained.cfg if trained else load_row(size.pair, 'full')
    args.key_frames = args.key_frames or (6 if args.quick else 64)
    own = 3 if args.quick else config.test_dataloader.batch_size
    args.batch_size = args.batch_size or own
    args.fast_batch_size = args.fast_batch_size or (6 if args.quick else 32)
    model = trained.model if trained else build_network(config, args.device).eval()
    with tempfile.TemporaryDirectory() as folder:
        if args.video is None:
            rendered = Path(folder) / 'rendered.mp4'
            video = render_video(rendered, size.video, args.key_frames + 40)
        else:
            video = args.video
        dataset = video_dataset(video, config, Path(folder))
        args.key_frames = min(args.key_frames, len(dataset))
        first = (len(dataset) - args.key_frames) // 2
        found = take_turns(
            sides(dataset, model, range(first, first + args.key_frames), args), args.repeats
        )
    rows = []
    per_frame = 1000 / args.key_frames
    for name, part in {'loading': 0, 'model': 1}.items():
        rounds = {s: [t[part] * per_frame for t in times] for s, times in found.items()}
        rows.append(row(name, rounds, args))
    both = {side: [sum(t) * per_frame for t in times] for side, times in found.items()}
    return [*rows, row('loading and model', both, args)]


def row(name: str, rounds: dict[str, list[float]], args: argparse.Namespace) -> dict:
    """One row, with the batch sizes."""
    extra = {side: dict(batch_size=args.batch_size) for side in (ONE_BY_ONE, TOGETHER)}
    extra[FAST] = dict(batch_size=args.fast_batch_size)
    title = f'{name}, {args.size}, {args.key_frames} key frames'
    return make_row(title, 'ms', rounds, ONE_BY_ONE, extra)


def video_dataset(video: Path, config: Config, folder: Path) -> ActionTubeDataset:
    """Every frame of one video without labels, in the test pipeline of a config.

    Args:
        video: Its file.
        config: A row's config.
        folder: Where the annotation file goes.
    """
    frames = count_frames(video)
    annotation = Annotation('benchmark', ['action'], splits={'test': [video.stem]})
    annotation.videos[video.stem] = Video(str(video.absolute()), frames, None, None)
    save_annotation(annotation, folder / 'video.json')
    return ActionTubeDataset(
        str(folder / 'video.json'),
        split='test',
        pipeline=config.test_dataloader.dataset.pipeline,
        labelled=False,
        test_mode=True,
    )


def sides(
    dataset: ActionTubeDataset,
    model: torch.nn.Module,
    indices: Sequence[int],
    args: argparse.Namespace,
) -> dict[str, Callable[[], tuple[float, float]]]:
    """The three ways; each returns the seconds of loading and of the model."""
    quick = copy.deepcopy(model)
    make_fast(quick)

    def one_by_one() -> tuple[float, float]:
        def load(part: Sequence[int]) -> list[dict]:
            return [dataset[index] for index in part]

        return detect(model, load, split(indices, args.batch_size), args.device)

    def together() -> tuple[float, float]:
        return detect(model, dataset.__getitems__, split(indices, args.batch_size), args.device)

    def fast() -> tuple[float, float]:
        batches = split(indices[::FAST_KEY_FRAME_STRIDE], args.fast_batch_size)
        return detect(quick, dataset.__getitems__, batches, args.device)

    return {ONE_BY_ONE: one_by_one, TOGETHER: together, FAST: fast}


def detect(
    model: torch.nn.Module,
    load: Callable[[Sequence[int]], list[dict]],
    batches: Sequence[Sequence[int]],
    device: str,
) -> tuple[float, float]:
    """Load and detect; returns the seconds of each."""
    loading = detecting = 0.0
    for part in batches:
        with Stopwatch('cpu') as watch:
            samples = load(part)
        loading += watch.seconds
        with torch.no_grad(), Stopwatch(device) as watch:
            model.test_step(pseudo_collate(samples))
        detecting += watch.seconds
    return loading, detecting


def split(indices: Sequence[int], batch_size: int) -> list[Sequence[int]]:
    """The indices in batches; the last one may be smaller."""
    return [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
