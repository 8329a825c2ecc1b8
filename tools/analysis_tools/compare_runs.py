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
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.functional import get_protocol
from mmstal_da.evaluation.functional.bootstrap import paired_bootstrap
from mmstal_da.evaluation.published import publish_detections
from mmstal_da.evaluation.runs import ScoredRun, score_file
from mmstal_da.tubes.annotation import load_annotation
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
    parser.add_argument(
        '--keep-detections', action='store_true',
        help='also write the rounded detections of each run beside --out, to be published with it',
    )  # fmt: skip
    parser.add_argument('--per-class', action='store_true', help='also AP by class')
    parser.add_argument(
        '--bootstrap', type=int, default=0, metavar='N',
        help='also differences to the first run, with intervals of N draws of the test videos',
    )  # fmt: skip
    parser.add_argument('--figure', metavar='PNG', help='also draw a row of frames for every run')
    parser.add_argument('--data-prefix', default='', help="folder of the videos' paths")
    parser.add_argument('--clips', type=int, default=1, help='clips per class in the figure')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score in the figure')
    args = parser.parse_args(argv)
    if args.bootstrap < 0 or args.clips < 1:
        parser.error('--bootstrap is at least 0, --clips at least 1')
    if args.keep_detections and not args.out:
        parser.error('--keep-detections goes with --out')
    for run in args.runs:
        if not all(run.partition('=')):
            parser.error(f'a run is NAME=DETS, not {run!r}')
    return args


def class_table(results: dict[str, dict], key: str) -> Table:
    """AP by class, a column per run, and the difference of each to the first."""
    names = list(results)
    table = Table(title=f'{key.replace("_", "-")} by class')
    table.add_column('')
    for name in names:
        table.add_column(name, justify='right')
    for name in names[1:]:
        table.add_column(f'{name} - {names[0]}', justify='right')
    for number, label in enumerate(results[names[0]]['labels']):
        values = [results[name][key][number] for name in names]
        cells = ['-' if value is None else f'{value:.1f}' for value in values]
        differences = [
            '-' if None in (value, values[0]) else f'{value - values[0]:+.1f}'
            for value in values[1:]
        ]
        table.add_row(label, *cells, *differences)
    return table


def bootstrap_table(runs: dict[str, ScoredRun], protocol: str, rounds: int) -> tuple[Table, list]:
    """Differences to the first run with their intervals over test videos."""
    names, first = list(runs), next(iter(runs.values()))
    found = paired_bootstrap(
        [run.dets for run in runs.values()],
        first.truth,
        get_protocol(protocol),
        first.background_frames,
        rounds,
    )
    table = Table(
        title=f'difference to {names[0]}, points',
        caption=f'95% interval of {rounds} draws of the {len(first.truth.videos)} test videos;'
        ' seeds of training are not in it',
    )
    table.add_column('')
    for metric in found[0]:
        table.add_column(metric.replace('_', '-'), justify='right')
    for name, metrics in zip(names[1:], found, strict=True):
        table.add_row(
            name,
            *(
                f'{m["difference"]:+.1f} ({m["low"]:+.1f} to {m["high"]:+.1f})'
                for m in metrics.values()
            ),
        )
    return table, found


def keep_detections(args: argparse.Namespace, runs: dict[str, ScoredRun]) -> dict[str, dict]:
    """Write the rounded detections of each run beside ``--out``; name -> what they give."""
    facts = {}
    for run in args.runs:
        name, _, path = run.partition('=')
        if '/' in name:
            raise ValueError(
                f'--keep-detections writes a file of the name of each run, not {name!r}'
            )
        file = load_detections(path)
        found = publish_detections(file, runs[name], args.ann_file, args.protocol)
        out = Path(args.out)
        place = out.with_name(f'{out.stem}_{name}.npz')
        with atomic_write(place, 'wb') as npz:
            npz.write(found.content)
        print(place)
        facts[name] = {'file': place.name, **found.facts}
    return facts


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
    runs = {}
    try:
        for run in args.runs:
            name, _, path = run.partition('=')
            runs[name] = score_file(path, args.ann_file, get_protocol(args.protocol))
    except (ValueError, OSError) as error:
        print(f'compare_runs: {error}', file=sys.stderr)
        return 2
    results = {name: run.result for name, run in runs.items()}
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
    console = Console(width=100)
    console.print(table)
    if args.per_class:
        console.print(class_table(results, 'frame_AP@0.5'))
        console.print(class_table(results, 'video_AP@0.5'))
    if args.bootstrap and len(runs) > 1:
        table, differences = bootstrap_table(runs, args.protocol, args.bootstrap)
        console.print(table)
        for name, found in zip(list(results)[1:], differences, strict=True):
            results[name] = dict(results[name], bootstrap=found)
    if args.out:
        if args.keep_detections:
            try:
                kept = keep_detections(args, runs)
            except (ValueError, OSError) as error:
                print(f'compare_runs: {error}', file=sys.stderr)
                return 2
            for name, facts in kept.items():
                results[name] = dict(results[name], detections=facts)
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
