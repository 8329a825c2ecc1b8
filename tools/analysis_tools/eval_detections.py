r"""Scores the detections of any detector: frame-mAP, video-mAP and, on request, its errors.

Usage::

    python tools/analysis_tools/eval_detections.py GT.pkl dets.npz --protocol act --out result.json
    python tools/analysis_tools/eval_detections.py data/ucf101_24/ucf101_24.json dump.npz \
        --errors --plot errors.png

GT is a pickle in ACT's format (``labels``, ``gttubes``, ``nframes`` and ``test_videos`` or
``videos``) or an annotation file of this project (``.json``). DETS is an ``.npz`` with ``dets``
(M, 8) = video index, frame, label, score, x1, y1, x2, y2, or a pickle of the same. The video index
refers to the file's own ``videos`` if it has them, else to GT's ``videos``, else to the split.
Files of ``TubeMetric(dump=...)`` also record their split, classes and frames; flags override these.
"""

import argparse
import ast
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mmstal_da.evaluation.files import DetectionFile, load_detections
from mmstal_da.evaluation.functional import (
    PROTOCOLS,
    Detections,
    GroundTruth,
    analyse_errors,
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.evaluation.functional.ground_truth import indexed_videos
from mmstal_da.evaluation.report import format_errors, format_results
from mmstal_da.utils.io import atomic_write
from mmstal_da.utils.safe_pickle import load_pickle


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('gt', help='ground truth: ACT pickle, or annotation file (.json)')
    parser.add_argument('dets', help='detections: .npz or pickle')
    parser.add_argument('--protocol', choices=sorted(PROTOCOLS), default='act')
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
    parser.add_argument('--errors', action='store_true', help='analyse the errors')
    parser.add_argument('--plot', metavar='PNG', help='write the error analysis as a picture')
    parser.add_argument('--out', metavar='JSON', help='write the result to this file')
    return parser.parse_args(argv)


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
    # the package of the datasets loads torch, which takes longer than scoring
    from mmstal_da.tubes.evaluated import load_ground_truth

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


def score(dets: Detections, truth: GroundTruth, args: argparse.Namespace, meta: dict) -> dict:
    """The result, with the error analysis if requested."""
    background = args.background_frames
    if background is None:
        background = meta.get('background_frames', True)
    protocol = get_protocol(args.protocol, **parse_constants(args.set))
    result = evaluate_detections(dets, truth, protocol, background)
    if args.errors or args.plot:
        result['errors'] = analyse_errors(dets, truth, protocol, background)
    return result


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
    checked = time.perf_counter()
    result = {**gt.origin, **score(dets, gt.truth, args, file.meta)}
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
    except (ValueError, OSError) as error:
        print(f'eval_detections: {error}', file=sys.stderr)
        return 2
    print(format_results(result))
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
    return 0


if __name__ == '__main__':
    sys.exit(main())
