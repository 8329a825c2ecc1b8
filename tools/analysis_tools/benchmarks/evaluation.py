r"""Our evaluator beside one that goes detection by detection, on the same input.

    # both evaluators, the results compared
    python tools/analysis_tools/benchmark.py eval --videos 100
    # only our evaluator, at the size of UCF101-24's test set, for growing numbers of detections
    python tools/analysis_tools/benchmark.py eval --videos 910 --per-frame 2.3 10 30 100 \
        --skip-straightforward
    # real ground truth
    python tools/analysis_tools/benchmark.py eval --gt data/ucf101_24/ucf101_24.json

Detections are made from the ground truth. Every tube is found twice; each copy has its own quality
of boxes, scores and misses. False positives of any class occur anywhere. Times are from arrays to
numbers. CPU seconds are the same on a busy machine.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmstal_da.evaluation.functional import (
    PROTOCOLS,
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.utils.safe_pickle import load_pickle

from .common import make_row, take_turns

REPEATS = 3
OURS, OTHER = 'ours', 'detection by detection'
ROOT = Path(__file__).resolve().parents[3]
MAPS = ('frame_mAP@0.5', 'video_mAP@0.5')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``eval``."""
    parser.add_argument('--gt', help='ACT pickle or annotation file; made up without it')
    parser.add_argument('--split', default='test', help='split of an annotation file')
    parser.add_argument('--videos', type=int, help='number of made-up videos; default 50')
    parser.add_argument('--frames', type=int, help='their mean length; default 175')
    parser.add_argument('--classes', type=int, default=24, help='their number of classes')
    parser.add_argument(
        '--per-frame', type=float, nargs='+', default=[2.3], help='mean detections per frame'
    )
    parser.add_argument('--protocol', choices=sorted(PROTOCOLS), default='act')
    parser.add_argument('--skip-straightforward', action='store_true', help='time ours only')
    parser.add_argument('--seed', type=int, default=0)


def run(args: argparse.Namespace) -> list[dict]:
    """Two rows for every number of detections: seconds, and CPU seconds.

    Raises:
        ValueError: The ground truth is not one.
    """
    args.videos = args.videos or (3 if args.quick else 50)
    args.frames = args.frames or (40 if args.quick else 175)
    gt = read_ground_truth(args.gt, args.split) if args.gt else made_up_ground_truth(args)
    return [row for per_frame in args.per_frame for row in measure(gt, per_frame, args)]


def made_up_ground_truth(args: argparse.Namespace) -> dict:
    """One or two wandering boxes of the video's class, on the middle part of the video."""
    rng = np.random.default_rng(args.seed)
    gt = {'labels': [f'class {c}' for c in range(args.classes)], 'nframes': {}, 'gttubes': {}}
    for v in range(args.videos):
        name, label = f'video {v:04d}', v % args.classes
        frames = int(rng.integers(args.frames // 3, args.frames * 5 // 3 + 1))
        gt['nframes'][name] = frames
        tubes = []
        for _ in range(rng.integers(1, 3)):
            first, last = np.sort(rng.integers(1, frames + 1, 2))
            steps = np.arange(first, last + 1)
            corner = rng.uniform(0, 200, 2) + np.cumsum(rng.normal(0, 1, (len(steps), 2)), 0)
            corner = np.clip(np.round(corner), 0, 250)
            tubes.append(np.column_stack((steps, corner, corner + rng.integers(25, 70, 2))))
        gt['gttubes'][name] = {label: tubes}
    gt['videos'] = list(gt['nframes'])
    return gt


def read_ground_truth(path: str, split: str) -> dict:
    """An ACT pickle's first split, or a split of an annotation file, with ``videos``."""
    if path.endswith('.json'):
        from mmstal_da.tubes.evaluated import load_ground_truth  # loads torch

        return load_ground_truth(path, split)
    gt = load_pickle(path)
    return gt if 'videos' in gt else {**gt, 'videos': list(gt['test_videos'][0])}


def make_detections(gt: dict, per_frame: float, seed: int) -> np.ndarray:
    """(M, 8) float32 detections, by video and frame."""
    rng = np.random.default_rng(seed)
    parts = []
    for v, name in enumerate(gt['videos']):
        frames = int(gt['nframes'][name])
        rows = []
        for label, tubes in gt['gttubes'].get(name, {}).items():
            for tube in (tube for tube in tubes for _ in range(2)):
                tube = tube[rng.random(len(tube)) < rng.uniform(0.85, 1)]
                size = np.tile(tube[:, 3:] - tube[:, 1:3] + 1, 2)
                boxes = tube[:, 1:] + rng.normal(0, rng.uniform(0.02, 0.12), size.shape) * size
                score = np.clip(rng.normal(rng.uniform(0.3, 1), 0.2, len(tube)), 1e-4, 1)
                columns = (np.full(len(tube), v), tube[:, 0], np.full(len(tube), label), score)
                rows.append(np.column_stack((*columns, boxes)))
        count = max(round(per_frame * frames) - sum(len(part) for part in rows), 0)
        corner = rng.uniform(0, 250, (count, 2))
        columns = (
            np.full(count, v),
            rng.integers(1, frames + 1, count),
            rng.integers(0, len(gt['labels']), count),
            np.clip(rng.beta(1, 6, count), 1e-4, 1),
        )
        rows.append(np.column_stack((*columns, corner, corner + rng.uniform(8, 100, (count, 2)))))
        video = np.concatenate(rows)
        video[:, 6:] = np.maximum(video[:, 6:], video[:, 4:6])
        parts.append(video[np.argsort(video[:, 1], kind='stable')].astype(np.float32))
    return np.concatenate(parts)


def measure(gt: dict, per_frame: float, args: argparse.Namespace) -> list[dict]:
    """The rows of one number of detections."""
    dets = make_detections(gt, per_frame, args.seed)
    protocol = get_protocol(args.protocol)
    results = {OURS: evaluate_ours(dets, gt, protocol)}
    # of the whole process, before the other side needs more; Linux counts in KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    sides = {OURS: evaluate_ours}
    if not args.skip_straightforward:
        sides[OTHER] = straightforward()

    def timed(side: str) -> Callable[[], tuple[float, float]]:
        def run() -> tuple[float, float]:
            start, cpu = time.perf_counter(), time.process_time()
            results[side] = sides[side](dets, gt, protocol)
            return time.perf_counter() - start, time.process_time() - cpu

        return run

    times = take_turns({side: timed(side) for side in sides}, args.repeats)
    frames = sum(int(gt['nframes'][name]) for name in gt['videos'])
    extra = {side: {k: results[side][k] for k in MAPS} for side in sides}
    extra[OURS]['peak_memory_gb'] = peak
    if OTHER in sides:
        extra[OTHER]['largest_difference'] = difference(results[OURS], results[OTHER])
    rows = []
    for unit, part in {'s': 0, 'CPU s': 1}.items():
        rounds = {side: [pair[part] for pair in pairs] for side, pairs in times.items()}
        for side, values in rounds.items():
            extra[side]['seconds_per_million'] = float(np.median(values)) / len(dets) * 1e6
        name = f'{args.protocol}, {len(dets):,} detections'
        rows.append(make_row(name, unit, rounds, OURS, extra))
        rows[-1].update(videos=len(gt['videos']), frames=frames, detections=len(dets))
    return rows


def evaluate_ours(dets: np.ndarray, gt: dict, protocol: object) -> dict:
    """Our evaluator, with checks of the input."""
    truth = parse_ground_truth({k: v for k, v in gt.items() if k != 'test_videos'})
    return evaluate_detections(parse_detections(dets, truth), truth, protocol)


def straightforward() -> Callable[[np.ndarray, dict, object], dict]:
    """The evaluator that goes detection by detection; it is one of a checkout's tests.

    Raises:
        OSError: This is no checkout.
    """
    if not (ROOT / 'tests/reference_evaluator.py').is_file():
        raise OSError(
            f'{ROOT} lacks tests/reference_evaluator.py: run this in a checkout, or add'
            ' --skip-straightforward'
        )
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from tests import reference_evaluator

    return reference_evaluator.evaluate


def difference(result: dict, other: dict) -> float:
    """Largest difference of any number of two results, in points."""
    pairs = [(np.array(result[key], np.float64), np.array(other[key], np.float64)) for key in other]
    return max(float(np.max(np.nan_to_num(np.abs(a - b)), initial=0)) for a, b in pairs)
