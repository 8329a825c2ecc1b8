r"""Renders videos with their ground truth (dashed green) and detections (solid, class and score).

    python tools/analysis_tools/render_videos.py data/synthetic/target.json \
        --data-prefix data/synthetic --split test --dets work_dirs/x/dets.npz --out work_dirs/x/vis

Prints the path of every file it writes.
"""

import argparse
import os
import sys
from collections import Counter
from fnmatch import fnmatchcase
from operator import itemgetter

import numpy as np
from rich.progress import track

from mmstal_da.errors import VideoError
from mmstal_da.evaluation.functional import Detections, get_protocol, tubes_of
from mmstal_da.tubes.annotation import Annotation, load_annotation
from mmstal_da.utils.values import share
from mmstal_da.visualization import (
    WRITERS,
    contact_sheet,
    detection_overlays,
    ground_truth_overlays,
    read_detections,
    render_video,
    tube_overlays,
    write_png,
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('ann_file', help='annotation file (mmstal_da.tubes)')
    parser.add_argument('--data-prefix', default='', help="folder of the videos' paths")
    parser.add_argument('--split', default='test')
    parser.add_argument('--dets', help='detections, .npz as TubeMetric(dump=...) writes them')
    parser.add_argument('--out', required=True, help='output folder')
    parser.add_argument('--videos', nargs='+', metavar='GLOB', help='patterns of video names')
    parser.add_argument(
        '--num',
        type=int,
        default=4,
        help='largest number of videos, from each class folder in turn (0: all)',
    )
    parser.add_argument(
        '--formats',
        nargs='+',
        choices=[*WRITERS, 'png'],
        default=['mp4'],
        help='png is a contact sheet of --sheet-frames frames',
    )
    parser.add_argument('--sheet-frames', type=int, default=6)
    parser.add_argument('--score-thr', type=share, default=0.3)
    parser.add_argument(
        '--nms-iou', type=share, default=0.5, help='show only the best of boxes that overlap more'
    )
    parser.add_argument(
        '--tubes', action='store_true', help='link the detections and show tubes with their scores'
    )
    parser.add_argument('--min-length', type=int, help='shortest tube with --tubes, in frames')
    parser.add_argument('--no-gt', action='store_true', help='do not draw the ground truth')
    parser.add_argument('--class-map', nargs='+', default=[], metavar='FILE=MODEL')
    parser.add_argument('--max-frames', type=int, default=300, help='render only the first ones')
    parser.add_argument('--min-height', type=int, default=384, help='enlarge smaller frames')
    args = parser.parse_args(argv)
    if args.num < 0 or min(args.sheet_frames, args.max_frames, args.min_height) < 1:
        parser.error(
            '--num is at least 0, --sheet-frames, --max-frames and --min-height at least 1'
        )
    return args


def choose_videos(
    annotation: Annotation, split: str, globs: list[str] | None, num: int
) -> list[str]:
    """Names of the videos to render: ``num`` of a split, from each folder of names in turn."""
    names = annotation.split(split)
    if globs:
        names = [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]
        if not names:
            raise ValueError(f'no video of split {split!r} matches {globs}')
    if not names:
        raise ValueError(f'split {split!r} is empty')
    turn = Counter()
    rounds = []
    for name in names:
        folder = name.rpartition('/')[0]
        rounds.append(turn[folder])
        turn[folder] += 1
    names = [name for _, name in sorted(zip(rounds, names, strict=True), key=itemgetter(0))]
    return names[:num] if num else names


def main(argv: list[str] | None = None) -> int:
    """Render; returns the exit status."""
    args = parse_args(argv)
    try:
        paths = render(args)
    except (ValueError, OSError, VideoError) as error:
        print(f'render_videos: {error}', file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


def render(args: argparse.Namespace) -> list[str]:
    """Render according to the arguments; returns the paths written."""
    annotation = load_annotation(args.ann_file, with_tubes=not args.no_gt)
    for pair in args.class_map:
        if '=' not in pair:
            raise ValueError(f'--class-map takes pairs FILE=MODEL, not {pair!r}')
    class_map = dict(pair.split('=', 1) for pair in args.class_map)
    classes = list(dict.fromkeys(class_map.get(name, name) for name in annotation.classes))
    names = choose_videos(annotation, args.split, args.videos, args.num)
    file, tubes = None, None
    if args.dets is not None:
        file = read_detections(args.dets, annotation.split(args.split), classes)
        classes = file.classes
        if args.tubes:
            changes = {} if args.min_length is None else {'min_length': args.min_length}
            shown = [index for index, name in enumerate(file.videos) if name in names]
            chosen = file.dets[np.isin(file.dets[:, 0], shown)]
            tubes = tubes_of(Detections.from_rows(chosen), get_protocol('act', **changes))
    paths = []
    for name in track(names, description='rendering videos', transient=True):
        predictions = {}
        if file is not None and name in file.videos:
            index = file.videos.index(name)
            if tubes is None:
                predictions = detection_overlays(
                    file.dets, index, classes, args.score_thr, args.nms_iou
                )
            else:
                predictions = tube_overlays(tubes, index, classes, args.score_thr)
        truth = ground_truth_overlays(annotation.tubes.get(name, ()), class_map)
        video = annotation.videos[name]
        numbers = range(1, min(video.num_frames, args.max_frames) + 1)
        if len(numbers) < video.num_frames:
            print(f'{name}: the first {len(numbers)} of {video.num_frames} frames (--max-frames)')
        frames = render_video(
            video,
            args.data_prefix,
            predictions,
            truth,
            classes,
            title=name,
            numbers=numbers,
            min_height=args.min_height,
        )
        stem = os.path.join(args.out, name.replace('/', '__'))
        for ending in args.formats:
            path = f'{stem}.{ending}'
            if ending == 'png':
                chosen = np.linspace(0, len(frames) - 1, args.sheet_frames).round().astype(int)
                write_png(path, contact_sheet([frames[i] for i in chosen], min(3, len(chosen))))
            else:
                WRITERS[ending](path, frames, video.fps or 25)
            paths.append(path)
    return paths


if __name__ == '__main__':
    sys.exit(main())
