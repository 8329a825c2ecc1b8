r"""Measures the speed of this project beside what one would use in its place, as ratios.

    python tools/analysis_tools/benchmark.py train --size 112px --out train.json
    python tools/analysis_tools/benchmark.py infer --size 112px
    python tools/analysis_tools/benchmark.py loader
    python tools/analysis_tools/benchmark.py eval --videos 910
    python tools/analysis_tools/benchmark.py scaling --size 112px
    python tools/analysis_tools/benchmark.py ops --threads 1

The sides of a row take turns in one run, after a warm-up of each, so changes in the machine's speed
affect all. Times are medians of the rounds, and ratios are those of the medians.
"""

import argparse
import importlib
import sys
from pathlib import Path

# subcommand -> its module in benchmarks/, what it measures
PARTS = {
    'train': ('train', "a training step, beside MMAction2's detectors; memory"),
    'infer': ('infer', 'key frames of a video: one by one, together, fast'),
    'loader': ('loader', "from file to packed clip, beside MMAction2's transforms; video readers"),
    'eval': ('evaluation', 'the evaluator, beside one that goes detection by detection'),
    'scaling': ('scaling', 'training with several processes and threads'),
    'ops': ('ops', "RoIAlign and NMS, beside torchvision's and compiled mmcv's"),
}


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Command-line arguments; only the part that is named is imported."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='|'.join(PARTS))
    named = next((word for word in argv if not word.startswith('-')), None)
    for name, (module, text) in PARTS.items():
        command = commands.add_parser(
            name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_argument('--repeats', type=positive, help='timed rounds')
        command.add_argument('--threads', type=positive, help='of torch and OpenCV; default: all')
        command.add_argument('--quick', action='store_true', help='tiny sizes: only to see it work')
        command.add_argument('--out', type=Path, metavar='JSON', help='write the numbers here')
        if name == named:
            part = importlib.import_module(f'benchmarks.{module}')
            command.description = part.__doc__
            command.set_defaults(part=part)
            part.add_arguments(command)
    return parser.parse_args(argv)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'at least 1, not {text}')
    return number


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write; returns the exit status."""
    args = parse_args(sys.argv[1:] if argv is None else argv)
    from benchmarks import common

    if args.repeats is None:
        args.repeats = 2 if args.quick else args.part.REPEATS
    if args.threads:
        common.set_threads(args.threads)
    try:
        rows = args.part.run(args)
    except (ValueError, OSError) as error:
        print(f'benchmark.py {args.command}: {error}', file=sys.stderr)
        return 2
    result = common.describe(args, rows)
    common.show(result)
    if args.out:
        common.write(args.out, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
