r"""Plots the training curves of one or several work directories into one PNG.

Usage::

    python tools/analysis_tools/plot_curves.py work_dirs/source_only work_dirs/full \
        --names "source only" adapted --out curves.png
"""

import argparse
import sys

from mmstal_da.visualization.curves import plot_curves, save_figure
from mmstal_da.visualization.scalars import read_run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('runs', nargs='+', help='work directories, or scalars.json files')
    parser.add_argument('--names', nargs='+', help='names for the legend, one per run')
    parser.add_argument('--out', required=True, help='PNG file')
    parser.add_argument('--title', default='')
    parser.add_argument('--window', type=int, help='logged points in a running mean; 1 for none')
    args = parser.parse_args(argv)
    if args.names and len(args.names) != len(args.runs):
        parser.error(f'{len(args.names)} --names for {len(args.runs)} runs')
    if args.window is not None and args.window < 1:
        parser.error(f'--window is at least 1, not {args.window}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Plot; returns the exit status."""
    args = parse_args(argv)
    names = args.names or [None] * len(args.runs)
    try:
        runs = [read_run(path, name) for path, name in zip(args.runs, names, strict=True)]
        save_figure(plot_curves(runs, args.window, args.title), args.out)
    except (ValueError, FileNotFoundError) as error:
        print(f'plot_curves: {error}', file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
