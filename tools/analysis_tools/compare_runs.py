r"""Scores the predictions of several runs on one ground truth, in one table.

    python tools/analysis_tools/compare_runs.py data/synthetic/target.json --split test \
        source-only=work_dirs/source_only/detections.npz adapted=work_dirs/full/detections.npz

The files are those of ``TubeMetric(dump=...)``. They say under which protocol, and with or without
background frames, they were scored; runs that differ in that are not compared.
"""

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table

from mmstal_da.datasets.ground_truth import load_ground_truth
from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.functional import (
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.utils.io import atomic_write

COLUMNS = {
    'frame-mAP@0.5': 'frame_map50',
    'video-mAP@0.2': 'video_map@0.2',
    'video-mAP@0.5': 'video_map@0.5',
    'video-mAP@0.5:0.95': 'video_map5095',
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('ann_file', help='annotation file (mmstal_da.tubes)')
    parser.add_argument('runs', nargs='+', metavar='NAME=DETS', help='name and .npz file of a run')
    parser.add_argument('--split', default='test')
    parser.add_argument('--out', metavar='JSON', help='also write all results to this file')
    args = parser.parse_args(argv)
    for run in args.runs:
        if not all(run.partition('=')):
            parser.error(f'a run is NAME=DETS, not {run!r}')
    return args


def score(path: str, ann_file: str, split: str) -> dict:
    """The results of one file of predictions, under the protocol it names."""
    found = load_detections(path)
    missing = [key for key in ('protocol', 'background_frames') if key not in found.meta]
    if missing or found.labels is None:
        raise ValueError(
            f'{path} does not say its {missing or "classes"}; write it with TubeMetric(dump=...)'
        )
    truth = parse_ground_truth(load_ground_truth(ann_file, split, found.labels, videos=None))
    constants = dict(found.meta['protocol'])
    protocol = get_protocol(constants.pop('name'), **constants)
    dets = parse_detections(found.dets, found.videos, truth)
    return evaluate_detections(dets, truth, protocol, found.meta['background_frames'])


def main(argv: list[str] | None = None) -> int:
    """Score and print; returns the exit status."""
    args = parse_args(argv)
    results = {}
    try:
        for run in args.runs:
            name, _, path = run.partition('=')
            results[name] = score(path, args.ann_file, args.split)
    except (ValueError, OSError) as error:
        print(f'compare_runs: {error}', file=sys.stderr)
        return 2
    kinds = {(r['protocol'], r['background_frames']) for r in results.values()}
    if len(kinds) > 1:
        print(f'compare_runs: runs of different protocols: {sorted(kinds)}', file=sys.stderr)
        return 2
    first = next(iter(results.values()))
    title = f'{args.ann_file}, {args.split}: {first["n_videos"]} videos, {first["n_frames"]} frames'
    table = Table(title=title, caption=f'percent; protocol {first["protocol"]}')
    table.add_column('')
    for column in COLUMNS:
        table.add_column(column, justify='right')
    for name, result in results.items():
        table.add_row(name, *(f'{result[key]:.1f}' for key in COLUMNS.values()))
    Console(width=100).print(table)
    if args.out:
        with atomic_write(args.out) as file:
            json.dump(results, file, indent=1)
        print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
