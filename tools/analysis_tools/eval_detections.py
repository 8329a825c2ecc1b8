r"""Scores the detections of any detector: frame-mAP, video-mAP and, on request, its errors.

Usage::

    python tools/analysis_tools/eval_detections.py GT.pkl dets.npz --protocol act --out result.json
    python tools/analysis_tools/eval_detections.py data/ucf101_24/ucf101_24.json dump.npz \
        --errors --plot errors.png
    python tools/analysis_tools/eval_detections.py GT.pkl dets.npz --analysis folder

GT is a pickle in ACT's format (``labels``, ``gttubes``, ``nframes`` and ``test_videos`` or
``videos``) or an annotation file of this project (``.json``). DETS is an ``.npz`` with ``dets``
(M, 8) = video index, frame, label, score, x1, y1, x2, y2, or a pickle of the same. The video index
refers to the file's own ``videos`` if it has them, else to GT's ``videos``, else to the split.
``--analysis`` writes a confusion matrix of the frames' boxes and the precision-recall curves of
frames and tubes: ``confusion.png``, ``curves.png``, both as ``.csv``, and ``analysis.json``.
Files of ``TubeMetric(dump=...)`` also record their split, classes and frames; flags override these.

Published detections also record their protocol, and the numbers of the run they are of. These are
printed beside those that the file gives::

    python tools/analysis_tools/eval_detections.py data/PAIR/target.json \
        configs/PAIR/results/full_seed0.npz
"""

import argparse
import ast
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmstal_da.evaluation.files import DetectionFile, load_detections
from mmstal_da.evaluation.functional import (
    PROTOCOLS,
    Detections,
    GroundTruth,
    analyse_errors,
    confusion_matrix,
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
    precision_recall_curves,
)
from mmstal_da.evaluation.functional.confusion import SCORE_THR
from mmstal_da.evaluation.functional.ground_truth import indexed_videos
from mmstal_da.evaluation.functional.interpolation import interpolate_detections
from mmstal_da.evaluation.report import (
    confusion_csv,
    curves_csv,
    curves_json,
    format_errors,
    format_published,
    format_results,
)
from mmstal_da.tubes.evaluated import load_ground_truth
from mmstal_da.utils.io import atomic_write, write_json
from mmstal_da.utils.safe_pickle import load_pickle


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('gt', help='ground truth: ACT pickle, or annotation file (.json)')
    parser.add_argument('dets', help='detections: .npz or pickle')
    parser.add_argument(
        '--protocol', choices=sorted(PROTOCOLS), help="default: the detections' own, or act"
    )
    parser.add_argument(
        '--set', nargs='+', default=[], metavar='KEY=VALUE', help='constants of the protocol'
    )
    parser.add_argument(
        '--split', help='number of the test split (ACT, default 1), or name (annotation file)'
    )
    parser.add_argument('--classes', nargs='+', help='evaluate these classes, in this order')
    parser.add_argument(
        '--class-map', nargs='+', metavar='OLD=NEW', help='rename classes of an annotation file'
    )
    parser.add_argument('--videos', nargs='+', help='name patterns (annotation file only)')
    parser.add_argument(
        '--background-frames',
        action=argparse.BooleanOptionalAction,
        help='evaluate every frame (default), or only frames with ground truth',
    )
    parser.add_argument(
        '--key-frame-stride', type=int, metavar='N',
        help='score only what was found on the frames 1, 1 + N, ..., and boxes interpolated between'
        " (default: the detections' own stride)",
    )  # fmt: skip
    parser.add_argument(
        '--score-thr', type=float, default=0.0, metavar='S', help='leave out scores of S and less'
    )
    parser.add_argument('--errors', action='store_true', help='analyse the errors')
    parser.add_argument('--plot', metavar='PNG', help='write the error analysis as a picture')
    parser.add_argument(
        '--analysis', metavar='DIR', help='write confusion matrix and precision-recall curves'
    )
    parser.add_argument(
        '--confusion-thr', type=float, default=SCORE_THR, metavar='S',
        help=f'least score in the confusion matrix, after NMS (default {SCORE_THR:g})',
    )  # fmt: skip
    parser.add_argument('--out', metavar='JSON', help='write the result to this file')
    args = parser.parse_args(argv)
    if not 0 <= args.confusion_thr <= 1 or not 0 <= args.score_thr <= 1:
        parser.error('--score-thr and --confusion-thr lie in [0, 1]')
    return args


def parse_assignments(items: Sequence[str], flag: str) -> dict[str, str]:
    """``['a=b']`` as ``{'a': 'b'}``."""
    for item in items:
        if '=' not in item:
            raise ValueError(f'{flag}: expected KEY=VALUE, not {item!r}')
    return dict(item.split('=', 1) for item in items)


def parse_constants(items: Sequence[str]) -> dict:
    """Constants of a protocol: numbers, tuples and None as Python writes them, else text."""
    constants = {}
    for key, value in parse_assignments(items, '--set').items():
        try:
            constants[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            constants[key] = value
    return constants


class Truth(NamedTuple):
    """Ground truth, and the names that detections may use."""

    truth: GroundTruth
    videos: list[str]  # names for a video index, unless the detections have names
    labels: list[str]  # likewise for a label
    known_videos: set[str]
    known_labels: set[str]
    origin: dict


@contextmanager
def about(path: str) -> Iterator[None]:
    """Name the file in errors about its content."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        text = str(error) if isinstance(error, ValueError) else f'not as expected: {error!r}'
        if path in text:
            raise
        raise ValueError(f'{path}: {text}') from error


def read_act(args: argparse.Namespace) -> Truth:
    """Ground truth from a pickle in ACT's format."""
    for flag in ('class_map', 'videos'):
        if getattr(args, flag):
            raise ValueError(f'--{flag.replace("_", "-")} goes with an annotation file (.json)')
    gt = load_pickle(args.gt)
    if not isinstance(gt, dict):
        raise ValueError(f'{args.gt}: ground truth is a dict, not a {type(gt).__name__}')
    try:
        split = int(args.split or 1)
    except ValueError as error:
        raise ValueError(f'--split is a number for {args.gt}, not {args.split!r}') from error
    with about(args.gt):
        truth = parse_ground_truth(gt, split, args.classes)
        videos, labels = indexed_videos(gt, split), [str(label) for label in gt['labels']]
        known = {*map(str, gt['nframes']), *videos}
    origin = dict(dataset=str(gt.get('dataset', Path(args.gt).stem)), split=split)
    return Truth(truth, videos, labels, known, set(labels), origin)


def read_annotation(args: argparse.Namespace, meta: dict) -> Truth:
    """Ground truth from an annotation file; ``meta`` gives what the flags do not."""
    renamed = args.class_map and parse_assignments(args.class_map, '--class-map')
    split = args.split or meta.get('split')
    if split is None:
        raise ValueError(f'--split names the split of {args.gt} to evaluate')
    with about(args.gt):
        gt = load_ground_truth(
            args.gt,
            split,
            args.classes or meta.get('classes'),
            renamed or meta.get('class_map'),
            args.videos or meta.get('videos'),
        )
        truth = parse_ground_truth(gt)
    origin = dict(dataset=gt['dataset'], split=split)
    known_labels = {*gt['all_labels'], *truth.labels}
    return Truth(truth, gt['split_videos'], truth.labels, set(gt['nframes']), known_labels, origin)


def refuse_unknown_names(file: DetectionFile, gt: Truth) -> None:
    """Names in the file of detections must occur in the ground truth."""
    for kind, own, known in (
        ('videos', file.videos, gt.known_videos),
        ('labels', file.labels, gt.known_labels),
    ):
        unknown = sorted(set(own or ()) - known)
        if unknown:
            raise ValueError(
                f'the detections name {len(unknown)} {kind} that the ground truth does not have, '
                f'such as {unknown[:3]}'
            )


def between_key_frames(dets: Detections, args: argparse.Namespace, meta: dict) -> Detections:
    """The detections on key frames, with boxes interpolated between them."""
    own = int(meta.get('key_frame_stride', 1))
    stride = own if args.key_frame_stride is None else args.key_frame_stride
    if stride < 1 or stride % own:
        raise ValueError(
            f'--key-frame-stride is a multiple of {own}, the stride of {args.dets}, not {stride}'
        )
    if stride == 1:
        return dets
    return interpolate_detections(dets.take(np.flatnonzero((dets.frame - 1) % stride == 0)), stride)


def score(dets: Detections, truth: GroundTruth, args: argparse.Namespace, meta: dict) -> dict:
    """The result, with the error analysis if requested."""
    background = args.background_frames
    if background is None:
        background = meta.get('background_frames', True)
    constants = {} if args.protocol else meta.get('constants', {})
    name = args.protocol or meta.get('protocol', 'act')
    protocol = get_protocol(name, **{**constants, **parse_constants(args.set)})
    result = evaluate_detections(dets, truth, protocol, background)
    if args.analysis:
        setting = (dets, truth, protocol, background)
        write_analysis(args, setting)
    if args.errors or args.plot:
        result['errors'] = analyse_errors(dets, truth, protocol, background)
    return result


def write_analysis(args: argparse.Namespace, setting: tuple) -> None:
    """Write the files of ``--analysis``."""
    from mmstal_da.visualization.confusion_plot import plot_confusion
    from mmstal_da.visualization.curves import save_figure
    from mmstal_da.visualization.recall_plot import plot_precision_recall

    folder, (_, truth, protocol, _) = Path(args.analysis), setting
    matrix = confusion_matrix(*setting, args.confusion_thr)
    curves = precision_recall_curves(*setting)
    labels, name = truth.labels, Path(args.dets).name
    title = f'{name}, {protocol.name}: boxes of score {args.confusion_thr:g} or more'
    save_figure(plot_confusion(matrix, labels, title), folder / 'confusion.png')
    title = f'{name}, {protocol.name}: boxes at IoU {protocol.frame_iou:g}, tubes at 0.5'
    save_figure(plot_precision_recall(curves, labels, title), folder / 'curves.png')
    texts = {
        'confusion.csv': confusion_csv(matrix, labels),
        'curves.csv': curves_csv(curves, labels),
    }
    for file, text in texts.items():
        with atomic_write(folder / file) as out:
            out.write(text)
    confusion = {
        'rows': [*labels, 'background'],
        'columns': [*labels, 'missed'],
        'matrix': matrix.tolist(),
        'iou': protocol.frame_iou,
        'score_thr': args.confusion_thr,
    }
    content = {'detections': name, 'protocol': protocol.name, 'constants': protocol.as_dict()}
    content |= {'confusion': confusion, 'curves': curves_json(curves, labels)}
    write_json(folder / 'analysis.json', content)
    for file in ('confusion.png', 'confusion.csv', 'curves.png', 'curves.csv', 'analysis.json'):
        print(folder / file)


def run(args: argparse.Namespace) -> dict:
    """Read, check and score."""
    start = time.perf_counter()
    file = load_detections(args.dets)
    gt = read_annotation(args, file.meta) if args.gt.endswith('.json') else read_act(args)
    if not len(gt.truth.tubes):
        raise ValueError(f'{args.gt}: no tube in the {len(gt.truth.videos)} videos to evaluate')
    loaded = time.perf_counter()
    with about(args.dets):
        refuse_unknown_names(file, gt)
        names = file.videos or gt.videos, file.labels or gt.labels
        dets = parse_detections(file.dets, gt.truth, *names)
    dets = between_key_frames(dets, args, file.meta)
    checked = time.perf_counter()
    if args.score_thr > 0:
        dets = dets.take(np.flatnonzero(dets.score > args.score_thr))
    result = {**gt.origin, **score(dets, gt.truth, args, file.meta)}
    if 'published' in file.meta:
        result['published'] = file.meta['published']
        recorded = file.meta['annotation']
        if hashlib.sha256(Path(args.gt).read_bytes()).hexdigest() != recorded['sha256']:
            print(
                f'eval_detections: {args.gt} is another version of {recorded["file"]} than the one'
                ' that the detections were published with',
                file=sys.stderr,
            )
    evaluation = result['seconds']['total']
    result['seconds'] = {
        'read': loaded - start,
        'check': checked - loaded,
        'evaluate': evaluation,
        'total': checked - loaded + evaluation,
    }
    return result


def main(argv: list[str] | None = None) -> int:
    """Score; returns the exit status."""
    args = parse_args(argv)
    try:
        result = run(args)
        report(args, result)
    except (ValueError, OSError) as error:
        print(f'eval_detections: {error}', file=sys.stderr)
        return 2
    return 0


def report(args: argparse.Namespace, result: dict) -> None:
    """Print the result, then write what was asked for."""
    print(format_results(result))
    if 'published' in result:
        print(format_published(result))
    if 'errors' in result:
        print(format_errors(result['errors']))
    print(f'{result["seconds"]["total"]:.2f} s from arrays to numbers')
    if args.plot:
        from mmstal_da.visualization.error_plot import save_error_plot

        save_error_plot(result['errors'], args.plot, f'{result["dataset"]}, {result["protocol"]}')
    if args.out:
        with atomic_write(args.out) as out:
            json.dump(result, out, indent=1, allow_nan=False)
            out.write('\n')


if __name__ == '__main__':
    sys.exit(main())
