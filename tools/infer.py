r"""Finds actions in videos: boxes on frames, linked into tubes.

    python tools/infer.py work_dirs/full/iter_300.pth my_videos/ --out work_dirs/found
    python tools/infer.py work_dirs/full/iter_300.pth 'day1/*.mp4' --key-frame-stride 4
    python tools/infer.py detector.onnx my_videos/    # of tools/export_onnx.py

An input is a file, a folder (searched at any depth), a glob in quotes, a stream's URL, or the
index of a camera. Every video gets a folder of its name in --out, written when it is done:

- ``result.json``: frames, boxes, scores, classes and tubes (see mmstal_da/apis/result.py);
- ``dets.npz``: all detections, as eval_detections.py and render_videos.py read them;
- ``tubes.json``: the tubes as an annotation file of this project, to be trained on;
- ``cvat.xml``, ``coco.json``, ``tubes_act.pkl``: the same for CVAT and in COCO's and ACT's formats;
- ``video.mp4``: the video with its tubes (not of a stream);
- ``frames.jsonl``: of a stream, a line per key frame while it runs; Ctrl-C ends it.

A second start with the same checkpoint and settings goes on with what is missing. Several processes
(torchrun, a Slurm array) share the videos of one --out. A video that cannot be read is named and
skipped, and the exit code is 1.
"""

from mmstal_da.utils.interrupt import INTERRUPTED, Stop, at_start, interruptible

at_start(__name__)

import argparse
import json
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import mmstal_da.registry  # noqa: F401  (first: repairs what importing mmaction needs)
from mmstal_da.apis import ActionTubeInferencer
from mmstal_da.apis.inputs import Clip, find_clips
from mmstal_da.apis.result import frame_json
from mmstal_da.errors import OutputError, UsageError, VideoError
from mmstal_da.evaluation.functional import Detections
from mmstal_da.experiments.fingerprint import digest_file
from mmstal_da.launch.reporting import WRONG_INPUT
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.utils.io import read_json, write_json
from mmstal_da.utils.values import share


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of tools/train.py, a file or a URL; or an ONNX file')
    parser.add_argument('inputs', nargs='+', help='files, folders, globs, URLs, cameras')
    parser.add_argument('--config', help='in place of the one that the checkpoint carries')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/infer'), metavar='DIR')
    parser.add_argument('--score-thr', type=share, default=0.3, help='of what is shown')
    parser.add_argument('--key-frame-stride', type=int, metavar='N',
                        help='look at every N-th frame, interpolate (1; --fast: 2)')  # fmt: skip
    parser.add_argument('--max-gap', type=int, default=1, help='key frames to the next box')
    parser.add_argument('--min-length', type=int, default=15, help='frames of a tube, at least')
    parser.add_argument('--batch-size', type=int, help='key frames at a time (8; --fast: 32)')
    parser.add_argument(
        '--fast', action='store_true',
        help='every second frame, I3D at every sixth, a third of the proposals; not exact',
    )  # fmt: skip
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: what is there)')
    parser.add_argument('--no-video', action='store_true', help='write no video.mp4')
    args = parser.parse_args(argv)
    optional = (args.key_frame_stride, args.batch_size)
    given = [number for number in optional if number is not None]
    if min(args.max_gap, args.min_length, *given) < 1:
        parser.error('--key-frame-stride, --max-gap, --min-length and --batch-size are at least 1')
    return args


def my_share(clips: list[Clip]) -> list[Clip]:
    """Every so many-th video, where torchrun or a Slurm array started several processes."""
    for rank, size in (
        ('RANK', 'WORLD_SIZE'),
        ('SLURM_ARRAY_TASK_ID', 'SLURM_ARRAY_TASK_COUNT'),
    ):
        if rank in os.environ and size in os.environ:
            first = int(os.environ.get('SLURM_ARRAY_TASK_MIN', 0)) if 'SLURM' in rank else 0
            step = int(os.environ.get('SLURM_ARRAY_TASK_STEP', 1)) if 'SLURM' in rank else 1
            return clips[(int(os.environ[rank]) - first) // step :: int(os.environ[size])]
    return clips


def check_settings(args: argparse.Namespace) -> None:
    """Note in --out what its results are made with.

    Raises:
        UsageError: The results that are there were made with something else.
    """
    made_with = dict(
        checkpoint=args.checkpoint,
        sha256=digest_file(Path(args.checkpoint)) if os.path.isfile(args.checkpoint) else None,
        config=args.config,
        score_thr=args.score_thr,
        key_frame_stride=args.key_frame_stride,
        max_gap=args.max_gap,
        min_length=args.min_length,
        fast=args.fast,
    )
    note = args.out / 'infer.json'
    if note.is_file():
        before = dict(fast=False) | read_json(note)
        changed = [key for key in made_with if key != 'checkpoint']
        changed = [key for key in changed if before.get(key) != made_with[key]]
        if changed:
            raise UsageError(
                f'{note}: the results in {args.out} were made with another {", ".join(changed)};'
                ' give another --out, or remove it'
            )
    else:
        write_json(note, made_with)


def as_input(text: str) -> str | int:
    """A camera's number, if there is no file of that name."""
    return int(text) if text.isdecimal() and not os.path.exists(text) else text


def is_done(clip: Clip, folder: Path) -> bool:
    """Whether the results of a video are there.

    Raises:
        UsageError: They are those of another video with the same name.
    """
    if not all((folder / name).is_file() for name in ('result.json', 'tubes.json')):
        return False
    places = [video.path for video in load_annotation(folder / 'tubes.json').videos.values()]
    if places != [clip.place]:
        raise UsageError(
            f'{folder} has the results of {places[0]}, not of {clip.place}: give another --out, or'
            ' remove it'
        )
    return True


def look_at(inferencer: ActionTubeInferencer, clip: Clip, args: argparse.Namespace) -> str:
    """Write the results of one video; a line about it.

    Raises:
        VideoError, OSError: It cannot be read or written.
    """
    folder = args.out / clip.name
    settings = (args.score_thr, args.key_frame_stride, args.max_gap, args.min_length)
    if clip.is_stream:

        def write(number: int, dets: Detections) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            line = frame_json(number, dets, inferencer.classes, args.score_thr)
            with (folder / 'frames.jsonl').open('w' if number == 1 else 'a') as file:
                file.write(json.dumps(line) + '\n')

        result = inferencer.infer(clip, *settings, write)
    else:
        result = inferencer.infer(clip, *settings)
    inferencer.write(clip, result, args.out, not args.no_video)
    tubes = result.as_tubes()
    if tubes:
        classes = ', '.join(sorted({tube.label for tube in tubes}))
        count = '1 tube' if len(tubes) == 1 else f'{len(tubes)} tubes'
        return f'{folder}: {result.num_frames} frames, {count} of {classes}'
    hint = '; a lower --score-thr shows more' if len(result.tubes) else ''
    return f'{folder}: {result.num_frames} frames, {result.nothing_shown()}{hint}'


def main(argv: list[str] | None = None) -> int:
    """Infer; the exit status is 1 if a video could not be read, 2 for wrong usage."""
    args = parse_args(argv)
    with interruptible(__file__, argv) as stop:
        return infer(args, stop)
    return INTERRUPTED


def infer(args: argparse.Namespace, stop: Stop) -> int:
    """Look at all videos; returns the exit status."""
    try:
        clips = my_share(find_clips([as_input(text) for text in args.inputs]))
        todo = [clip for clip in clips if not is_done(clip, args.out / clip.name)]
        inferencer = ActionTubeInferencer(
            args.checkpoint, args.config, args.device, args.batch_size, args.fast
        )
        args.key_frame_stride = inferencer.stride_of(args.key_frame_stride)
        check_settings(args)
    except (*WRONG_INPUT, OSError) as error:
        print(f'infer.py: {error}', file=sys.stderr)
        return 2
    if len(todo) < len(clips):
        print(f'{len(clips) - len(todo)} of {len(clips)} videos are done already in {args.out}')
    failed = []
    columns = (TextColumn('videos'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task('', total=len(todo))
        for number, clip in enumerate(todo):
            done = len(clips) - len(todo) + number - len(failed)
            stop.where = f'in {clip.name}, with {done} of {len(clips)} videos done in {args.out}'
            try:
                bar.console.print(look_at(inferencer, clip, args), markup=False, highlight=False)
            except (OutputError, VideoError, OSError) as error:
                failed.append(str(error))
                bar.console.print(f'SKIPPED {error}', markup=False, highlight=False)
            bar.advance(task)
    if failed:
        print(f'{len(failed)} of {len(todo)} videos could not be done:', file=sys.stderr)
        print('\n'.join(f'  {message}' for message in failed), file=sys.stderr)
        print('Get them again and start once more: the others are kept.', file=sys.stderr)
    return int(bool(failed))


if __name__ == '__main__':
    sys.exit(main())
