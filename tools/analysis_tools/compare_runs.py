r"""Scores the predictions of several runs on one ground truth, in one table.

    python tools/analysis_tools/compare_runs.py data/synthetic/target.json \
        source-only=work_dirs/source_only/detections.npz adapted=work_dirs/full/detections.npz

The files are those of ``TubeMetric(dump=...)``. They record their split and classes, and whether
background frames count. Runs that differ in these are not compared. ``--figure`` also draws the
same frames once per run.
"""

import argparse
import json
import sys

import numpy as np
from rich.console import Console
from rich.table import Table

from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.functional import (
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.tubes.evaluated import load_ground_truth
from mmstal_da.utils.io import atomic_write
from mmstal_da.visualization import read_detections, write_png
from mmstal_da.visualization.comparison_figure import comparison_figure

COLUMNS = ('frame_mAP@0.5', 'video_mAP@0.2', 'video_mAP@0.5', 'video_mAP@0.5:0.95')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('ann_file', help='annotation file (mmstal_da.tubes)')
    parser.add_argument('runs', nargs='+', metavar='NAME=DETS', help='name and .npz file of a run')
    parser.add_argument('--protocol', default='act', help='act or voc')
    parser.add_argument('--out', metavar='JSON', help='also write all results to this file')
    parser.add_argument('--figure', metavar='PNG', help='also draw a row of frames for every run')
    parser.add_argument('--data-prefix', default='', help="folder of the videos' paths")
    parser.add_argument('--clips', type=int, default=1, help='clips per class in the figure')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score in the figure')
    args = parser.parse_args(argv)
    for run in args.runs:
        if not all(run.partition('=')):
            parser.error(f'a run is NAME=DETS, not {run!r}')
    return args


def score(path: str, ann_file: str, protocol: str) -> dict:
    """The results of one file of predictions, on the split and classes recorded in it."""
    found = load_detections(path)
    if not {'split', 'background_frames'} <= found.meta.keys() or found.labels is None:
        raise ValueError(
            f'{path} does not record its split and frames; write it with TubeMetric(dump=...)'
        )
    choice = {key: found.meta.get(key) for key in ('class_map', 'videos')}
    truth = load_ground_truth(ann_file, found.meta['split'], found.labels, **choice)
    truth = parse_ground_truth(truth)
    dets = parse_detections(found.dets, truth, found.videos, found.labels)
    background = found.meta['background_frames']
    result = evaluate_detections(dets, truth, get_protocol(protocol), background)
    return dict(result, split=found.meta['split'])


def draw(args: argparse.Namespace, result: dict) -> np.ndarray:
    """The figure of all runs, with one row per run."""
    annotation = load_annotation(args.ann_file)
    videos = annotation.split(result['split'])
    runs = {}
    for run in args.runs:
        name, _, path = run.partition('=')
        runs[name] = read_detections(path, videos, result['labels'])
    return comparison_figure(
        annotation, args.data_prefix, result['split'], runs, args.clips, args.score_thr
    )


def main(argv: list[str] | None = None) -> int:
    """Score and print; returns the exit status."""
    args = parse_args(argv)
    results = {}
    try:
        for run in args.runs:
            name, _, path = run.partition('=')
            results[name] = score(path, args.ann_file, args.protocol)
    except (ValueError, OSError) as error:
        print(f'compare_runs: {error}', file=sys.stderr)
        return 2
    first = next(iter(results.values()))
    for name, result in results.items():
        differing = [k for k in ('split', 'labels', 'n_frames') if result[k] != first[k]]
        if differing:
            print(f'compare_runs: {name} has other {", ".join(differing)}', file=sys.stderr)
            return 2
    counts = f'{first["n_videos"]} videos, {first["n_frames"]} frames'
    title = f'{args.ann_file}, {first["split"]}: {counts}'
    table = Table(title=title, caption=f'percent; protocol {first["protocol"]}')
    table.add_column('')
    for column in COLUMNS:
        table.add_column(column.replace('_', '-'), justify='right')
    for name, result in results.items():
        values = (result[key] for key in COLUMNS)
        table.add_row(name, *('-' if value is None else f'{value:.1f}' for value in values))
    Console(width=100).print(table)
    if args.out:
        with atomic_write(args.out) as file:
            json.dump(results, file, indent=1)
        print(args.out)
    if args.figure:
        try:
            write_png(args.figure, draw(args, first))
        except (ValueError, OSError) as error:
            print(f'compare_runs: {error}', file=sys.stderr)
            return 2
        print(args.figure)
    return 0


if __name__ == '__main__':
    sys.exit(main())
