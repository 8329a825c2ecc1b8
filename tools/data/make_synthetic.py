"""Makes the synthetic pair of domains: videos and annotation files of source and target.

    python tools/data/make_synthetic.py --out data/synthetic

The same arguments give the same bytes with any number of workers. If the folder already holds the
pair, it is not changed. What a killed run left is removed at the next start.
"""

import argparse
import os
import signal
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields, replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmstal_da.synthetic import (
    ACTIONS,
    PRESETS,
    OutputExistsError,
    Shift,
    SyntheticConfig,
    generate,
)

COUNTS = ('source_train', 'source_test', 'target_train', 'target_test')
CLIP_NUMBERS = {
    'width': (int, 'frame width in pixels, even'),
    'height': (int, 'frame height in pixels, even'),
    'min_frames': (int, 'least number of frames of an action'),
    'max_frames': (int, 'largest number of frames of an action'),
    'second_actor': (float, 'probability of a second actor'),
    'distractor': (float, 'probability of a bouncing ball'),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments; missing values come from the preset."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', required=True, help='output folder, e.g. data/synthetic')
    parser.add_argument('--preset', choices=sorted(PRESETS), default='default')
    parser.add_argument('--seed', type=int, help='seed of everything random (default 0)')
    parser.add_argument(
        '--classes', nargs='+', metavar='CLASS', help=f'of {", ".join(sorted(ACTIONS))}'
    )
    for name in COUNTS:
        domain, split = name.split('_')
        parser.add_argument(_flag(name), type=int, help=f'{split} clips of the {domain}')
    for name, (kind, text) in CLIP_NUMBERS.items():
        parser.add_argument(_flag(name), type=kind, help=text)
    for item in fields(Shift):
        parser.add_argument(
            f'--shift-{item.name}',
            type=float,
            metavar='[0,1]',
            help=f'strength of the shift in {item.name}',
        )
    parser.add_argument(
        '--untrimmed',
        action=argparse.BooleanOptionalAction,
        help='add background frames before and after the actions of target clips',
    )
    parser.add_argument('--workers', type=int, default=1, help='processes (default 1)')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a pair made with other parameters'
    )
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f'--workers must be at least 1, not {args.workers}')
    return args


def build_config(args: argparse.Namespace) -> SyntheticConfig:
    """The preset, changed by the arguments that were given."""
    preset = PRESETS[args.preset]
    clip = replace(preset.clip, **_given(args, [*CLIP_NUMBERS, 'untrimmed']))
    strengths = _given(args, [f'shift_{item.name}' for item in fields(Shift)])
    shift = replace(preset.shift, **{key[len('shift_') :]: v for key, v in strengths.items()})
    changes = _given(args, ['seed', *COUNTS])
    if args.classes is not None:
        changes['classes'] = tuple(args.classes)
    return replace(preset, clip=clip, shift=shift, **changes)


def main(argv: list[str] | None = None) -> int:
    """Make the pair; returns the exit status."""
    args = parse_args(argv)
    console = Console()
    began = time.perf_counter()
    try:
        config = build_config(args)
        with Progress(
            TextColumn('rendering clips'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        ) as bar:
            task = bar.add_task('clips', total=None)
            made = generate(
                args.out,
                config,
                workers=args.workers,
                overwrite=args.overwrite,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except (OutputExistsError, ValueError, OSError, BrokenProcessPool) as error:
        print(f'make_synthetic: {error}', file=sys.stderr)
        return 2
    if not made:
        print(f'{args.out} is up to date: made with these parameters already')
        return 0
    counts = {name: getattr(config, name) for name in COUNTS}
    print(
        f'{args.out}: source {counts["source_train"]} + {counts["source_test"]} clips, '
        f'target {counts["target_train"]} + {counts["target_test"]} (train + test), '
        f'classes {", ".join(config.classes)}; {time.perf_counter() - began:.0f} s'
    )
    for domain in ('source', 'target'):
        print(f'  {os.path.join(args.out, domain)}.json')
    return 0


def _flag(name: str) -> str:
    return '--' + name.replace('_', '-')


def _given(args: argparse.Namespace, names: list[str]) -> dict:
    """The arguments of these names that were given."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


if __name__ == '__main__':
    # end as on an interruption: remove the unfinished folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
