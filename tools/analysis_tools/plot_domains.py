r"""Draws source and target side by side: a few frames of one clip per class, with boxes.

Usage::

    python tools/analysis_tools/plot_domains.py data/synthetic/source.json \
        data/synthetic/target.json --data-prefix data/synthetic --out domains.png
"""

import argparse
import sys

from mmstal_da.errors import VideoError
from mmstal_da.visualization import write_png
from mmstal_da.visualization.domain_figure import domain_figure

TITLES = ['Source: labelled', 'Target: no labels in training']


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', help='annotation file of the source domain')
    parser.add_argument('target', help='annotation file of the target domain')
    parser.add_argument(
        '--data-prefix', nargs='+', default=[''], help="folder of the videos' paths (one or two)"
    )
    parser.add_argument('--titles', nargs=2, default=TITLES)
    parser.add_argument('--split', default='test')
    parser.add_argument('--classes', nargs='+', help='default: those of the source')
    parser.add_argument('--frames', type=int, default=1, help='frames per clip')
    parser.add_argument('--height', type=int, default=192, help='height of a frame, in pixels')
    parser.add_argument('--out', required=True, help='PNG file')
    args = parser.parse_args(argv)
    if len(args.data_prefix) > 2:
        parser.error('--data-prefix takes one folder, or one per domain')
    return args


def main(argv: list[str] | None = None) -> int:
    """Draw; returns the exit status."""
    args = parse_args(argv)
    prefixes = args.data_prefix if len(args.data_prefix) == 2 else args.data_prefix * 2
    try:
        figure = domain_figure(
            (args.source, args.target),
            prefixes,
            args.titles,
            args.split,
            args.classes,
            args.frames,
            args.height,
        )
        write_png(args.out, figure)
    except (ValueError, OSError, VideoError) as error:
        print(f'plot_domains: {error}', file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
