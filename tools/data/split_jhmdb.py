"""Make two domains from JHMDB: clean -> foggy, or static camera -> moving camera.

    python tools/data/split_jhmdb.py foggy --annotations data/jhmdb/jhmdb.json
    python tools/data/split_jhmdb.py static_to_moving --annotations data/jhmdb/jhmdb.json

Writes the splits as lists of video names (``configs/jhmdb_to_foggy/splits/*.txt``; tracked, and the
same for the same seed). Next to the annotation file it writes one of the pair,
``data/jhmdb/foggy.json``. With ``--lists-only`` it makes the pair's annotation file from the
existing lists.
"""

import argparse
import sys
from pathlib import Path

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import load_annotation, save_annotation
from mmstal_da.tubes.jhmdb_pairs import (
    SOURCE_TRAIN,
    TARGET_TEST,
    TARGET_TRAIN,
    foggy,
    static_to_moving,
    with_splits,
)
from mmstal_da.utils import atomic_write
from mmstal_da.utils.io import read_text

PAIRS = {'foggy': foggy, 'static_to_moving': static_to_moving}
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('pair', choices=sorted(PAIRS))
    parser.add_argument('--annotations', type=Path, required=True, metavar='FILE',
                        help='all of JHMDB, as tools/data/prepare.py jhmdb writes it')  # fmt: skip
    parser.add_argument('--out', type=Path, metavar='FILE',
                        help='annotations of the pair (default: <pair>.json next to'
                        ' --annotations)')  # fmt: skip
    parser.add_argument('--lists', type=Path, metavar='DIR',
                        help="folder of the lists (default: the pair's configs)")  # fmt: skip
    parser.add_argument('--lists-only', action='store_true', help='do not make new lists')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Split; complaints go to stderr with exit code 1."""
    args = parse_args(argv)
    folder = f'jhmdb_{"" if args.pair.startswith("static") else "to_"}{args.pair}'
    lists = args.lists or CONFIGS / folder / 'splits'
    out = args.out or args.annotations.with_name(f'{args.pair}.json')
    try:
        annotation = load_annotation(args.annotations)
        if args.lists_only:
            splits = {
                part: read_text(lists / f'{part}.txt').split()
                for part in (SOURCE_TRAIN, TARGET_TRAIN, TARGET_TEST)
            }
        else:
            splits = PAIRS[args.pair](annotation, args.seed)
        pair = with_splits(annotation, splits)
        save_annotation(pair, out)
        for part, names in splits.items():
            if not args.lists_only:
                with atomic_write(lists / f'{part}.txt') as file:
                    file.write(''.join(f'{name}\n' for name in names))
            frames = sum(pair.videos[name].num_frames for name in names)
            print(f'{part}: {len(names)} videos, {frames} frames')
    except (AnnotationError, OSError) as error:
        print(f'split_jhmdb.py: {error}', file=sys.stderr)
        return 1
    print(f'{len(pair.classes)} classes; wrote {out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
