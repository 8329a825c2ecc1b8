r"""Times the evaluator and one that goes detection by detection, on the same input.

Usage::

    # both evaluators, the results compared
    python tools/analysis_tools/benchmark_evaluation.py --videos 100
    # only our evaluator, at the size of UCF101-24's test set, for growing numbers of detections
    python tools/analysis_tools/benchmark_evaluation.py --videos 910 --per-frame 2.3 10 30 100 \
        --skip-straightforward
    # real ground truth
    python tools/analysis_tools/benchmark_evaluation.py --gt data/ucf101_24/ucf101_24.json

Detections are made from the ground truth. Every tube is found twice; each copy has its own quality
of boxes, scores and misses. False positives of any class occur anywhere. Times are from arrays to
numbers.
"""

import argparse
import json
import resource
import sys
import time

import numpy as np

from mmstal_da.evaluation.functional import (
    PROTOCOLS,
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.utils.io import atomic_write
from mmstal_da.utils.safe_pickle import load_pickle
from tests import reference_evaluator as per_detection


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--gt', help='ACT pickle or annotation file; made up without it')
    parser.add_argument('--split', default='test', help='split of an annotation file')
    parser.add_argument('--videos', type=int, default=50, help='number of made-up videos')
    parser.add_argument('--frames', type=int, default=175, help='their mean length')
    parser.add_argument('--classes', type=int, default=24, help='their number of classes')
    parser.add_argument(
        '--per-frame', type=float, nargs='+', default=[2.3], help='mean detections per frame'
    )
    parser.add_argument('--protocol', choices=sorted(PROTOCOLS), default='act')
    parser.add_argument('--skip-straightforward', action='store_true', help='time ours only')
    parser.add_argument('--repeat', type=int, default=3, help='runs of ours; the best counts')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', metavar='JSON', help='write the times to this file')
    return parser.parse_args(argv)


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


def time_ours(dets: np.ndarray, gt: dict, protocol, repeat: int) -> tuple[float, float, dict]:
    """Seconds and CPU seconds of the best run, with checks of the input, and the result."""
    times = []
    for _ in range(repeat):
        start, cpu = time.perf_counter(), time.process_time()
        truth = parse_ground_truth({k: v for k, v in gt.items() if k != 'test_videos'})
        result = evaluate_detections(parse_detections(dets, truth), truth, protocol)
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    return *min(times), result


def difference(result: dict, other: dict) -> float:
    """Largest difference of any number of two results, in points."""
    pairs = [(np.array(result[key], np.float64), np.array(other[key], np.float64)) for key in other]
    return max(float(np.max(np.nan_to_num(np.abs(a - b)), initial=0)) for a, b in pairs)


def measure(gt: dict, per_frame: float, args: argparse.Namespace) -> dict:
    """One row of the table."""
    protocol = get_protocol(args.protocol)
    dets = make_detections(gt, per_frame, args.seed)
    seconds, cpu_seconds, result = time_ours(dets, gt, protocol, args.repeat)
    row = {
        'videos': len(gt['videos']),
        'frames': int(sum(int(gt['nframes'][name]) for name in gt['videos'])),
        'detections': len(dets),
        'frame_mAP@0.5': result['frame_mAP@0.5'],
        'video_mAP@0.5': result['video_mAP@0.5'],
        'seconds': seconds,
        'cpu_seconds': cpu_seconds,  # the same on a busy machine
        'cpu_seconds_per_million': cpu_seconds / len(dets) * 1e6,
        # Linux counts in KiB
        'peak_memory_gb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }
    if not args.skip_straightforward:
        start, cpu = time.perf_counter(), time.process_time()
        slow = per_detection.evaluate(dets, gt, protocol)
        row['straightforward_seconds'] = time.perf_counter() - start
        row['straightforward_cpu_seconds'] = time.process_time() - cpu
        row['ratio'] = row['straightforward_cpu_seconds'] / cpu_seconds
        row['largest_difference'] = difference(result, slow)
    return row


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    args = parse_args(argv)
    try:
        gt = read_ground_truth(args.gt, args.split) if args.gt else made_up_ground_truth(args)
        rows = []
        for per_frame in args.per_frame:
            rows.append(measure(gt, per_frame, args))
            print(
                ', '.join(
                    f'{key} {value:.4g}' if isinstance(value, float) else f'{key} {value}'
                    for key, value in rows[-1].items()
                ),
                flush=True,
            )
    except (ValueError, OSError) as error:
        print(f'benchmark_evaluation: {error}', file=sys.stderr)
        return 2
    if args.out:
        with atomic_write(args.out) as out:
            json.dump({'protocol': args.protocol, 'seed': args.seed, 'rows': rows}, out, indent=1)
    return 0


if __name__ == '__main__':
    sys.exit(main())
