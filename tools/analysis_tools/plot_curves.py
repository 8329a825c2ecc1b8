r"""Plots the training curves of one or several work directories into one PNG.

Usage::

    python tools/analysis_tools/plot_curves.py work_dirs/source_only work_dirs/full \
        --names "source only" adapted --out curves.png
    python tools/analysis_tools/plot_curves.py work_dirs/table_a/*/seed0 --out curves.png
    python tools/analysis_tools/plot_curves.py --dry-run configs/synthetic/full.py

With ``--dry-run`` it plots learning rates and lambda of configs, before any training.
"""

import argparse
import sys
from pathlib import Path

from mmstal_da.errors import UsageError
from mmstal_da.visualization.curves import plot_curves, save_figure
from mmstal_da.visualization.scalars import Run, read_run, row_names


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('runs', nargs='+', help='work directories, or scalars.json files')
    parser.add_argument('--names', nargs='+', help='names for the legend, one per run')
    parser.add_argument(
        '--out', help='PNG file; a dry run has work_dirs/<config name>/planned_curves.png'
    )
    parser.add_argument('--title', default='')
    parser.add_argument('--window', type=int, help='logged points in a running mean; 1 for none')
    parser.add_argument(
        '--dry-run', action='store_true', help='the arguments are configs; nothing is trained'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        help='with --dry-run: override values of the configs',
    )
    args = parser.parse_args(argv)
    if args.names and len(args.names) != len(args.runs):
        parser.error(f'{len(args.names)} --names for {len(args.runs)} runs')
    if args.window is not None and args.window < 1:
        parser.error(f'--window is at least 1, not {args.window}')
    if args.cfg_options and not args.dry_run:
        parser.error('--cfg-options belongs to --dry-run')
    if args.out is None:
        if not args.dry_run:
            parser.error('--out is missing')
        args.out = f'work_dirs/{Path(args.runs[0]).stem}/planned_curves.png'
    return args


def plan(configs: list[str], names: list[str], options: list[str] | None) -> list[Run]:
    """The curves that configs would have, and a line on each of them to the terminal."""
    from mmengine.config import DictAction  # torch is loaded for a dry run only

    from mmstal_da.launch.config import load_config
    from mmstal_da.launch.dry_run import planned_curves

    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    values = parser.parse_args(['--cfg-options', *options] if options else []).cfg_options
    runs = []
    for path, name in zip(configs, names, strict=True):
        run = Run(name, train=planned_curves(load_config(path, values)))
        runs.append(run)
        for key, points in run.train.items():
            top, begin = max(points, key=lambda point: point[1]), points[0]
            print(
                f'{name}: {key} {begin[1]:.3g} at iteration {begin[0]}, highest {top[1]:.3g} at '
                f'{top[0]}, {points[-1][1]:.3g} at {points[-1][0]}'
            )
    return runs


def main(argv: list[str] | None = None) -> int:
    """Plot; returns the exit status."""
    args = parse_args(argv)
    names = args.names or row_names(args.runs)
    try:
        if args.dry_run:
            runs = plan(args.runs, names, args.cfg_options)
        else:
            runs = [read_run(path, name) for path, name in zip(args.runs, names, strict=True)]
        save_figure(plot_curves(runs, args.window, args.title), args.out)
    except (ValueError, OSError, UsageError) as error:
        print(f'plot_curves: {error}', file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
