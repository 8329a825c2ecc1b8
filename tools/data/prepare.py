"""Prepare datasets: convert, export and check annotations.

    python tools/data/prepare.py jhmdb --annotations jhmdb_annot.mat --splits splits/ \
        --frames data/jhmdb/videos --out data/jhmdb --stats stats.json
    python tools/data/prepare.py ucf101_24 --annotations pyannot.pkl \
        --splits ucf101_24_split1_train.txt ucf101_24_split1_test.txt --out data/ucf101_24
    python tools/data/prepare.py ucf_sports --annotations ucf_sports_annotations.tar.gz \
        --splits ucfsports_train.txt ucfsports_test.txt --out data/ucf_sports
    python tools/data/prepare.py act --annotations multisports_GT.pkl --out multisports.json
    python tools/data/prepare.py ava --annotations folder_of_csv --out other.json
    python tools/data/prepare.py ava --annotations ava_train_v2.2.csv --label-map list.pbtxt \
        --frames clips_of_15_minutes --start 900 --out ava.json
    python tools/data/prepare.py cvat --annotations downloads/task.zip --frames videos --out mine
    python tools/data/prepare.py coco_video --annotations mine.json --out mine
    python tools/data/prepare.py label_studio --annotations export.json --frames videos --out mine
    python tools/data/prepare.py via --annotations project.json --frames videos --out mine
    python tools/data/prepare.py export act data/jhmdb/jhmdb.json --out JHMDB-GT.pkl
    python tools/data/prepare.py export ava data/jhmdb/jhmdb.json --split train --out ava
    python tools/data/prepare.py export cvat found/clip/tubes.json --out to_correct
    python tools/data/prepare.py export coco_video found/clip/tubes.json --out clip.json
    python tools/data/prepare.py check data/jhmdb/jhmdb.json --frames data/jhmdb/videos

A conversion writes ``OUT/<dataset>.json`` (or OUT itself if it ends in .json), completely or not
at all. The file has the given splits and one of all videos, ``all``. Set the dataset's ``ann_file``
to the file and its ``data_prefix`` to the folder given as ``--frames``. Without ``--frames`` no
videos are searched, and paths are those of the official release.

Exit code: 0 on success, 1 with a message on stderr if nothing could be written or the check has
complaints. Ctrl-C ends it with 130 and a sentence; nothing is written by halves.
"""

from mmstal_da.utils.interrupt import INTERRUPTED, Stop, at_start, interruptible

at_start(__name__)

import argparse
import json
import os
import pickle
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import Annotation, load_annotation, save_annotation, validate
from mmstal_da.tubes.converters import ava, label_studio, via
from mmstal_da.tubes.converters.act import save_act
from mmstal_da.tubes.converters.coco_video import save_coco_video
from mmstal_da.tubes.converters.cvat import save_cvat
from mmstal_da.tubes.converters.frames import (
    link_numbered,
    locate_videos,
    look_up,
    measure,
    named_images,
)
from mmstal_da.tubes.converters.problems import Conversion, Problem, leave_out_off_frame
from mmstal_da.tubes.converters.sources import ACCEPTED, read_source
from mmstal_da.tubes.converters.splits import read_splits
from mmstal_da.tubes.converters.stats import statistics, summary
from mmstal_da.tubes.converters.subset import keep_classes, keep_videos, leave_out_ignored
from mmstal_da.tubes.converters.tracks import Hints
from mmstal_da.tubes.converters.ucf_sports import frame_order, parse_frame_sizes
from mmstal_da.tubes.duplicates import find_duplicates, merge_duplicates
from mmstal_da.tubes.integrity import check_classes, check_tubes, check_videos, similar_names
from mmstal_da.utils import atomic_write
from mmstal_da.utils.io import load_json

SHOWN = 10  # problems on the terminal; --stats has all


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for dataset, accepted in {**ACCEPTED, 'ava': 'a csv of AVA, or a folder of them'}.items():
        _add_conversion(commands.add_parser(dataset, help=f'convert {accepted}'), dataset, accepted)
    export = commands.add_parser('export', help='write an annotation in another format')
    export.add_argument('format', choices=('act', 'ava', 'cvat', 'coco_video'))
    export.add_argument('annotation', type=Path, metavar='JSON')
    export.add_argument('--split', nargs='+', metavar='SPLIT', help='not for act; default all')
    export.add_argument('--out', type=Path, required=True,
                        help='a .pkl (act), a .json (coco_video), or a folder: ava, or cvat, which'
                        ' writes an .xml per video')  # fmt: skip
    export.add_argument('--tolerance', type=float, default=0.005, metavar='PIXELS',
                        help='cvat: a box this near to the line between its neighbours is no key'
                        ' frame and moves with them when one corrects them'
                        ' (default 0.005)')  # fmt: skip
    check = commands.add_parser('check', help='compare videos with their annotation')
    check.add_argument('annotation', type=Path, metavar='JSON')
    check.add_argument('--frames', type=Path, metavar='DIR',
                       help='folder that paths are relative to, the data_prefix; default: the'
                       ' folder videos/ next to JSON, or else the folder of JSON')  # fmt: skip
    check.add_argument('--report', type=Path, metavar='FILE', help='write a JSON report')
    check.add_argument('--workers', type=int, default=1, metavar='N', help='processes (default 1)')
    args = parser.parse_args(argv)
    if getattr(args, 'only_present', False) and args.frames is None:
        parser.error('--only-present needs --frames')
    if getattr(args, 'link_frames', None) and args.frames is None:
        parser.error('--link-frames needs --frames')
    if args.command == 'export' and args.format == 'act' and args.split:
        parser.error('--split is not for act: the ACT pickle holds all splits')
    if args.command == 'export' and not args.tolerance >= 0:
        parser.error('--tolerance is a number of pixels, at least 0')
    if getattr(args, 'timestamps', None) == 'frames' and (args.fps or args.start is not None):
        parser.error('--fps and --start are for --timestamps seconds')
    fps = getattr(args, 'fps', None)
    if fps is not None and not 0 < fps < float('inf'):
        parser.error('--fps is a positive number')
    if args.command == 'check' and args.workers < 1:
        parser.error('--workers must be at least 1')
    return args


def _add_conversion(parser: argparse.ArgumentParser, dataset: str, accepted: str) -> None:
    """Arguments of one dataset."""
    add = parser.add_argument
    add('--annotations', type=Path, required=True, metavar='PATH', help=accepted)
    add('--splits', nargs='+', default=[], metavar='[NAME=]PATH',
        help='lists of video names, NAME by default the last part of the file name, as in'
        ' ..._train.txt; or official <class>_test_split<k>.txt of JHMDB and folders of'
        ' them')  # fmt: skip
    add('--frames', type=Path, metavar='DIR',
        help='folder of the videos or folders of images, searched at any depth')  # fmt: skip
    add('--only-present', action='store_true', help='leave out videos that --frames lacks')
    add('--frame-sizes', type=Path, metavar='FILE',
        help='JSON of {video: [width, height]}, if the source has no sizes')  # fmt: skip
    add('--classes', nargs='+', metavar='CLASS', help='keep only these classes')
    add('--merge-duplicates', action='store_true',
        help='merge tubes of a class that mark the same boxes; else they are reported')  # fmt: skip
    add('--out', type=Path, required=True, metavar='DIR',
        help=f'folder for {dataset}.json, or a .json file')  # fmt: skip
    add('--stats', type=Path, metavar='FILE', help='write counts and problems as JSON')
    if dataset == 'ucf_sports':
        add('--link-frames', type=Path, metavar='DIR',
            help="make folders of links 000001.jpg, ... to the images, because UCF-Sports names"
            ' them after its footage')  # fmt: skip
    if dataset == 'via':
        add('--fps', type=float, metavar='N',
            help='frames per second of videos that --frames does not hold')  # fmt: skip
        add('--label-attribute', metavar='NAME',
            help='attribute that is the class; default: one called label, class, action, activity'
            ' or category, or the only one')  # fmt: skip
    if dataset == 'ava':
        add('--label-map', type=Path, metavar='FILE', help='the .pbtxt, if it is elsewhere')
        add('--timestamps', choices=('seconds', 'frames'),
            help="what the csv counts: AVA's seconds, or frames from 1; needed where it is not"
            ' certain')  # fmt: skip
        add('--fps', type=float, metavar='N',
            help='frames per second of all videos, for seconds; default: those of'
            ' --frames')  # fmt: skip
        add('--start', type=float, metavar='S',
            help="second at which the video files begin: 900 for AVA's clips of 15 minutes (default"
            ' if all timestamps are in 900 to 1800), 0 for whole films')  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run a command; complaints go to stderr with exit code 1."""
    args = parse_args(argv)
    command = {'export': export, 'check': check}.get(args.command, convert)
    with interruptible(__file__, argv) as stop:
        try:
            return command(args, stop)
        # ValueError: the readers of .mat and .pkl also raise it for files of another kind
        except (ValueError, OSError, pickle.UnpicklingError) as error:
            print(f'prepare.py: {error}', file=sys.stderr)
            return 1
    return INTERRUPTED


def convert(args: argparse.Namespace, stop: Stop) -> int:
    """Write the annotation of a dataset."""
    out = args.out if args.out.suffix == '.json' else args.out / f'{args.command}.json'
    stop.where = f'while it read {args.annotations} ({out} was not written)'
    sizes = {}
    if args.frame_sizes:
        sizes = parse_frame_sizes(load_json(args.frame_sizes), str(args.frame_sizes))
    frames, absent = args.frames, 0
    if args.command == 'ava':
        hints = hints_of(args, sizes)
        absent = len(hints.absent)
        options = ava.AvaOptions(args.label_map, None, args.timestamps, args.start, args.fps)
        conversion = ava.convert(args.annotations, [], hints, options)
    else:
        images = {}
        if args.command == 'ucf_sports' and frames:
            images = {
                name: sorted(paths, key=lambda path: frame_order(path.stem))
                for name, paths in named_images(frames).items()
            }
        stems = {name: [path.stem for path in paths] for name, paths in images.items()}
        hints = hints_of(args, sizes)
        absent = len(hints.absent)
        conversion = read_source(args.command, args.annotations, stems, hints)
        if getattr(args, 'link_frames', None):
            for name in conversion.annotation.videos:
                if name in images:
                    link_numbered(images[name], args.link_frames / name)
            frames = args.link_frames
    annotation = conversion.annotation
    read_splits(annotation, args.splits, conversion.problems)
    if args.classes:
        annotation = keep_classes(annotation, args.classes)
    announced = len(annotation.videos) + absent
    if frames:
        annotation = locate_videos(annotation, frames, args.only_present)
    for name, video in annotation.videos.items():
        if video.width is None and name in sizes:
            video.width, video.height = sizes[name]
    narrow(conversion, annotation)
    if frames:
        stop.where = f'while it looked at the videos in {frames} ({out} was not written)'
        measure(conversion, frames)
    examine(conversion, args)
    annotation.splits.setdefault('all', list(annotation.videos))
    save_annotation(annotation, out)
    stop.where = f'after it wrote {out}'
    counts = statistics(conversion)
    if args.stats:
        with atomic_write(args.stats) as file:
            json.dump(counts, file, indent=1, ensure_ascii=False)
            file.write('\n')
    report(conversion, counts, out)
    if len(annotation.videos) < announced:
        print(f'left out: {announced - len(annotation.videos)} videos that {frames} lacks')
    return 0


def hints_of(args: argparse.Namespace, sizes: dict[str, tuple[int, int]]) -> Hints:
    """What the command line and the videos say where the format does not."""
    videos_of = {
        'ava': ava.videos_of, 'label_studio': label_studio.videos_of, 'via': via.videos_of,
    }.get(args.command)  # fmt: skip
    hints = Hints()
    if videos_of is not None and args.frames is not None and args.annotations.exists():
        videos = videos_of(args.annotations)
        hints = look_up(videos, args.frames, args.only_present) if videos else hints
    hints.sizes = {**sizes, **hints.sizes}
    hints.any_fps = getattr(args, 'fps', None)
    hints.label_attribute = getattr(args, 'label_attribute', None)
    return hints


def examine(conversion: Conversion, args: argparse.Namespace) -> None:
    """Note what is odd about the result: duplicates, boxes off the frame, names that look alike."""
    annotation, problems = conversion.annotation, conversion.problems
    validate(annotation, str(args.annotations))
    if args.command == 'ava' and args.start is None and conversion.kind.endswith('from 900'):
        ava.refuse_whole_films(annotation, str(args.annotations))
    if args.merge_duplicates:
        for name, count in merge_duplicates(annotation).items():
            text = f'{count} tubes mark the same boxes as others of their class'
            problems.append(Problem(name, text, 'merged'))
    for name, tubes in annotation.tubes.items():
        for first, second in find_duplicates(tubes):
            text = f'tubes {first} and {second} mark the same boxes'
            done = 'both kept; --merge-duplicates merges them'
            problems.append(Problem(name, text, done, tubes[first].label))
    for first, second in similar_names(annotation.classes):
        text = f'classes {first!r} and {second!r} differ only in case, blanks or signs'
        problems.append(Problem(next(iter(annotation.videos)), text, 'both kept'))
    leave_out_off_frame(conversion, str(args.annotations))


def narrow(conversion: Conversion, annotation: Annotation) -> None:
    """Remove problems of videos and classes that were left out on request."""
    read, conversion.annotation = conversion.annotation, annotation
    gone = set(read.videos) - set(annotation.videos)
    classes = set(read.classes) - set(annotation.classes)
    conversion.problems = [
        problem
        for problem in conversion.problems
        if problem.video not in gone and problem.label not in classes
    ]


def report(conversion: Conversion, counts: dict, out: Path) -> None:
    """Print what was read and written."""
    annotation = conversion.annotation
    print(f'wrote {out}')
    print(
        f'read {counts["source"]}: {counts["videos"]} videos, {counts["tubes"]} tubes,'
        f' {counts["boxes"]} boxes ({counts["boxes_written"]} written),'
        f' {len(annotation.classes)} classes'
    )
    print('\n'.join(summary(annotation)))
    unsized = sum(video.width is None for video in annotation.videos.values())
    if unsized:
        print(
            f'{unsized} videos without a size: their boxes refer to the video as it decodes'
            ' (--frames or --frame-sizes give sizes)'
        )
    uncounted = len(conversion.counted & set(annotation.videos))
    if uncounted:
        print(
            f'{uncounted} videos of unknown length: num_frames is the last annotated frame'
            ' (--frames counts them)'
        )
    if conversion.problems:
        print(f'{len(conversion.problems)} problems:')
        print('\n'.join(f'  {problem}' for problem in conversion.problems[:SHOWN]))
    if len(conversion.problems) > SHOWN:
        print(f'  ... {len(conversion.problems) - SHOWN} more: --stats FILE lists all')


def export(args: argparse.Namespace, stop: Stop) -> int:
    """Write an annotation in another format."""
    stop.where = f'while it exported {args.annotation} to {args.out}'
    annotation = load_annotation(args.annotation)
    ignored = leave_out_ignored(annotation)
    one = {'act': (save_act, '.pkl'), 'coco_video': (save_coco_video, '.json')}.get(args.format)
    if one and args.out.is_dir():
        raise AnnotationError(f'--out {args.out} is a folder: give the {one[1]} file')
    if args.split and args.format != 'ava':
        names = {name for split in args.split for name in annotation.split(split)}
        annotation = keep_videos(annotation, list(names))
        annotation.splits = {split: annotation.split(split) for split in args.split}
    if one:
        one[0](annotation, args.out)
        files = [args.out]
    elif args.format == 'cvat':
        files = save_cvat(annotation, args.out, args.tolerance)
    else:
        files = ava.save_ava(annotation, args.out, args.split)
    print('\n'.join(f'wrote {file}' for file in files))
    if ignored:
        print(f'left out: {ignored} tubes that are ignored in these pseudo-labels')
    return 0


def check(args: argparse.Namespace, stop: Stop) -> int:
    """Decode every video; exit code 1 if anything is wrong."""
    annotation = load_annotation(args.annotation)
    folder = args.frames
    if folder is None:
        beside = args.annotation.parent / 'videos'
        folder = beside if beside.is_dir() else args.annotation.parent
    if not folder.is_dir():
        raise AnnotationError(f'no folder {str(folder)!r}: --frames names the folder of the videos')
    start = time.perf_counter()
    complaints = check_classes(annotation) + check_tubes(annotation)
    columns = TextColumn('checking'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task('', total=len(annotation.videos))
        for number, (_, complaint) in enumerate(check_videos(annotation, folder, args.workers)):
            of = f'{len(annotation.videos)} videos of {args.annotation}'
            stop.where = f'after {number + 1} of {of} (no report was written)'
            if complaint is not None:
                complaints.append(complaint)
            bar.advance(task)
    seconds = time.perf_counter() - start
    for complaint in complaints:
        print(complaint)
    print(
        f'{args.annotation}: {len(annotation.videos)} videos in {os.fspath(folder)},'
        f' {len(complaints)} complaints ({seconds:.1f} s)'
    )
    if args.report:
        content = dict(
            annotation=str(args.annotation),
            frames=str(folder),
            videos=len(annotation.videos),
            seconds=round(seconds, 1),
            complaints=[complaint.to_json() for complaint in complaints],
        )
        with atomic_write(args.report) as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
            file.write('\n')
    return int(bool(complaints))


if __name__ == '__main__':
    sys.exit(main())
