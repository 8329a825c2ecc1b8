"""List a folder of videos without labels as an annotation file: all that a target domain needs.

    python tools/data/index_videos.py data/mine/videos --out data/mine/mine.json
    python tools/data/index_videos.py data/mine/videos --out data/mine/mine.json \
        --splits train=train.txt test=test.txt

The folder is searched at any depth, in the order of the names. A video is a file that FFmpeg
reads, or a folder of images numbered 1, 2, 3, …; its name is its path without the extension. Every
video and image is decoded once, because containers often claim a wrong number of frames, and to
find what is damaged. The file has no tubes. It has a split of all videos, ``all``, and those of the
lists of names (one name per line). In a dataset's config, give the file as ``ann_file`` and the
folder as ``data_prefix``.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from mmstal_da.tubes.annotation import save_annotation
from mmstal_da.tubes.converters.splits import add_split, split_of_file
from mmstal_da.tubes.index import index_videos


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='folder of videos or of folders of images')
    parser.add_argument('--out', type=Path, required=True, metavar='JSON')
    parser.add_argument('--splits', nargs='+', default=[], metavar='[NAME=]FILE',
                        help='lists of video names; NAME is by default the last part of the'
                        ' file name, as in ..._train.txt')  # fmt: skip
    parser.add_argument('--name', help='name of the dataset (default: the last two parts of the'
                        " folder's path); in datasets of one name, videos with the same name are"
                        ' the same video')  # fmt: skip
    parser.add_argument('--skip-unreadable', action='store_true',
                        help='leave out videos that cannot be read, and say which')  # fmt: skip
    parser.add_argument('--workers', type=int, default=1, help='processes that decode')
    args = parser.parse_args(argv)
    if args.out.suffix != '.json':
        parser.error(f'--out must be a .json file, not {args.out}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Write the file; complaints go to stderr with exit code 1."""
    args = parse_args(argv)
    others: list[Path] = []
    try:
        annotation, errors = index_videos(
            args.folder, args.name, args.skip_unreadable, args.workers, others
        )
        for split in args.splits:
            name, _, path = split.rpartition('=')
            add_split(annotation, name or split_of_file(path), path, every=True)
        save_annotation(annotation, args.out)
    except (ValueError, OSError) as error:
        print(f'index_videos.py: {error}', file=sys.stderr)
        return 1
    for error in errors:
        print(f'left out: {error}')
    if others:
        kinds = Counter(path.suffix.lower() or path.name for path in others).most_common(5)
        shown = ', '.join(f'{number} {kind}' for kind, number in kinds)
        print(f'passed over: {len(others)} files that are no videos ({shown}), such as {others[0]}')
    print(f'wrote {args.out}')
    for name, names in annotation.splits.items():
        frames = sum(annotation.videos[video].num_frames for video in names)
        print(f'{name}: {len(names)} videos, {frames} frames')
    return 0


if __name__ == '__main__':
    sys.exit(main())
