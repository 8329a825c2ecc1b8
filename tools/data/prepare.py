"""Turn a public annotation file into the project's annotation format.

    python tools/data/prepare.py jhmdb --annotations jhmdb_annot.mat \
        --splits jhmdb_split1_train.txt jhmdb_split1_test.txt --frames clips --out data/jhmdb
    python tools/data/prepare.py ucf101_24 --annotations pyannot.pkl \
        --splits ucf101_24_split1_train.txt ucf101_24_split1_test.txt --out data/ucf101_24

Writes ``OUT/<dataset>.json`` (or OUT itself if it ends in .json), whole or not at all. Beside
the splits given there is one of all videos, ``all``. Set the dataset's ``ann_file`` to the file
and its ``data_prefix`` to the folder given as ``--frames``. Without ``--frames`` no video is
looked for, and paths are those of the official release.
"""

import argparse
import pickle
import sys
from pathlib import Path

from mmstal_da.datasets.annotation import save_annotation
from mmstal_da.datasets.converters.common import add_split, keep_classes, locate_videos, summary
from mmstal_da.datasets.converters.jhmdb import from_annot_mat
from mmstal_da.datasets.converters.ucf101_24 import from_pyannot

READERS = {'jhmdb': from_annot_mat, 'ucf101_24': from_pyannot}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('dataset', choices=sorted(READERS))
    parser.add_argument('--annotations', type=Path, required=True, metavar='FILE',
                        help='jhmdb_annot.mat or pyannot.pkl')  # fmt: skip
    parser.add_argument('--splits', nargs='+', default=[], metavar='[NAME=]FILE',
                        help='lists of video names; NAME is by default the last part of the'
                        ' file name, as in ..._train.txt')  # fmt: skip
    parser.add_argument('--frames', type=Path, metavar='DIR',
                        help='folder of the videos, searched at any depth')  # fmt: skip
    parser.add_argument('--only-present', action='store_true',
                        help='leave out videos that --frames lacks')  # fmt: skip
    parser.add_argument('--classes', nargs='+', metavar='CLASS',
                        help='keep only these classes')  # fmt: skip
    parser.add_argument('--out', type=Path, required=True, metavar='DIR',
                        help='folder for <dataset>.json, or a .json file')  # fmt: skip
    args = parser.parse_args(argv)
    if args.only_present and args.frames is None:
        parser.error('--only-present needs --frames')
    return args


def main(argv: list[str] | None = None) -> int:
    """Convert; complaints go to stderr with exit code 1."""
    args = parse_args(argv)
    out = args.out if args.out.suffix == '.json' else args.out / f'{args.dataset}.json'
    try:
        annotation = READERS[args.dataset](args.annotations)
        for split in args.splits:
            name, _, path = split.rpartition('=')
            add_split(annotation, name or Path(path).stem.split('_')[-1], path)
        if args.classes:
            annotation = keep_classes(annotation, args.classes)
        announced = len(annotation.videos)
        if args.frames:
            annotation = locate_videos(annotation, args.frames, args.only_present)
        annotation.splits.setdefault('all', list(annotation.videos))
        save_annotation(annotation, out)
    # ValueError: also files of another kind, as the readers of .mat and .pkl find them
    except (ValueError, OSError, pickle.UnpicklingError) as error:
        print(f'prepare.py: {error}', file=sys.stderr)
        return 1
    print('\n'.join([f'wrote {out}', *summary(annotation)]))
    if len(annotation.videos) < announced:
        print(f'left out: {announced - len(annotation.videos)} videos that {args.frames} lacks')
    return 0


if __name__ == '__main__':
    sys.exit(main())
