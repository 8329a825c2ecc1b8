r"""Scores the predictions of several runs on one ground truth, in one table.

    python tools/analysis_tools/compare_runs.py data/synthetic/target.json \
        source-only=work_dirs/source_only/detections.npz adapted=work_dirs/full/detections.npz

The files are those of ``TubeMetric(dump=...)``. They record their split and classes, and whether
background frames count. Runs that differ in these are not compared. ``--figure`` also draws the
same frames once per run. ``--html page.html`` writes the videos where two runs differ most into one
file that any browser plays::

    python tools/analysis_tools/compare_runs.py data/synthetic/target.json source-only=a.npz \
        adapted=b.npz --data-prefix data/synthetic --html page.html
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mmstal_da.errors import VideoError
from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.functional import get_protocol
from mmstal_da.evaluation.functional.bootstrap import paired_bootstrap
from mmstal_da.evaluation.functional.differences import typical_videos, video_differences
from mmstal_da.evaluation.published import publish_detections
from mmstal_da.evaluation.runs import ScoredRun, score_file
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.utils.io import atomic_write
from mmstal_da.utils.values import share
from mmstal_da.visualization import read_detections, write_png
from mmstal_da.visualization.comparison_figure import comparison_figure
from mmstal_da.visualization.comparison_page import Shown, comparison_page

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
    parser.add_argument(
        '--html', metavar='PAGE',
        help='also write one HTML file that plays two runs side by side on the videos where their'
        ' frame-AP differs most',
    )  # fmt: skip
    parser.add_argument(
        '--html-videos', type=int, default=12, metavar='N', help='videos on the page (default 12)'
    )
    parser.add_argument(
        '--html-frames', type=int, default=300, metavar='N',
        help='of a longer video, show the N frames where they differ most (default 300)',
    )  # fmt: skip
    parser.add_argument('--data-prefix', default='', help="folder of the videos' paths")
    parser.add_argument('--clips', type=int, default=1, help='clips per class in the figure')
    parser.add_argument(
        '--typical',
        action='store_true',
        help='show the clips in which the last run differs from the first by the median of the'
        ' class, not the first clips of the split',
    )
    parser.add_argument('--score-thr', type=share, default=0.3, help='lowest score in pictures')
    args = parser.parse_args(argv)
    if args.bootstrap < 0 or min(args.clips, args.html_videos, args.html_frames) < 1:
        parser.error(
            '--bootstrap is at least 0, --clips, --html-videos and --html-frames at least 1'
        )
    names = [run.partition('=')[0] for run in args.runs]
    if len(set(names)) < len(names):
        parser.error(f'runs need names of their own, not {" ".join(names)}')
    if args.html and len(names) != 2:
        parser.error(f'--html shows two runs, not {len(names)}')
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


def draw(args: argparse.Namespace, scored: dict[str, ScoredRun]) -> np.ndarray:
    """The figure of all runs, with one row per run."""
    first, *_, last = scored.values()
    result = first.result
    annotation = load_annotation(args.ann_file)
    videos = annotation.split(result['split'])
    runs = {}
    for run in args.runs:
        name, _, path = run.partition('=')
        runs[name] = read_detections(path, videos, result['labels'])
    order = None
    if args.typical:
        differences = video_differences(
            first.dets, last.dets, first.truth, get_protocol(args.protocol), first.background_frames
        )
        names = [
            [first.truth.videos[video] for video in videos]
            for videos in typical_videos(differences, first.truth)
        ]
        order = dict(zip(first.truth.labels, names, strict=True))
    return comparison_figure(
        annotation,
        args.data_prefix,
        result['split'],
        runs,
        args.clips,
        args.score_thr,
        order=order,
    )


def write_page(args: argparse.Namespace, runs: dict[str, ScoredRun]) -> None:
    """Write the page of the videos where two runs differ most."""
    first, second = runs.values()
    differences = video_differences(
        first.dets, second.dets, first.truth, get_protocol(args.protocol), first.background_frames
    )
    annotation = load_annotation(args.ann_file)
    videos = annotation.split(first.result['split'])
    files = dict(run.partition('=')[::2] for run in args.runs)
    class_map = load_detections(next(iter(files.values()))).meta.get('class_map')
    shown = Shown(
        annotation,
        args.data_prefix,
        {name: read_detections(path, videos, first.truth.labels) for name, path in files.items()},
        class_map or {},
        first.background_frames,
        args.score_thr,
        args.html_frames,
    )
    page = comparison_page(
        shown,
        [run.result for run in runs.values()],
        differences[: args.html_videos],
        first.truth.videos,
        len(differences),
    )
    with atomic_write(args.html) as file:
        file.write(page)


def read_runs(args: argparse.Namespace) -> dict[str, ScoredRun]:
    """Score the files of all runs.

    Raises:
        ValueError: One cannot be scored, or two are not of the same frames and classes.
    """
    runs = {}
    for run in args.runs:
        name, _, path = run.partition('=')
        runs[name] = score_file(path, args.ann_file, get_protocol(args.protocol))
    first = next(iter(runs.values())).result
    for name, run in runs.items():
        keys = ('split', 'labels', 'n_frames')
        differing = [key for key in keys if run.result[key] != first[key]]
        if differing:
            raise ValueError(f'{name} has other {", ".join(differing)}')
    return runs


def compare(args: argparse.Namespace) -> None:
    """Score the runs, print their table, and write what is asked for."""
    runs = read_runs(args)
    results = {name: run.result for name, run in runs.items()}
    first = next(iter(results.values()))
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
    if args.keep_detections:
        for name, facts in keep_detections(args, runs).items():
            results[name] = dict(results[name], detections=facts)
    if args.out:
        with atomic_write(args.out) as file:
            json.dump(results, file, indent=1)
        print(args.out)
    if args.figure:
        write_png(args.figure, draw(args, runs))
        print(args.figure)
    if args.html:
        write_page(args, runs)
        print(args.html)


def main(argv: list[str] | None = None) -> int:
    """Compare; returns the exit status."""
    args = parse_args(argv)
    try:
        compare(args)
    except (ValueError, OSError, VideoError) as error:
        print(f'compare_runs: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
