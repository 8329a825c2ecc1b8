r"""Labels the target's training videos with a detector's own tubes.

    python tools/data/pseudo_tubes.py work_dirs/source_only/iter_1200.pth \
        --config configs/synthetic_a/source_only.py --out data/synthetic_a/target_pseudo.json
    python tools/train.py configs/synthetic_a/pseudo.py

The detector looks at every frame of the videos, whose own labels are never read. Its boxes are
linked into tubes. Tubes of a high mean score become labels, one class per actor and frame.
What is plausible but not sure is marked as ignored. The file is an annotation of this project: look
at it with tools/data/browse.py, train on it with train_on='source_and_pseudo', and do it again with
the checkpoint of that training.
"""

from mmstal_da.utils.interrupt import INTERRUPTED, Stop, at_start, interruptible

at_start(__name__)

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from mmengine.config import DictAction
from mmengine.dataset import pseudo_collate
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from mmstal_da.apis.loading import load_trained
from mmstal_da.apis.pseudo import hidden_truth, origin_of, pseudo_annotation
from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.engine.target_videos import detect, unlabelled_target, video_names
from mmstal_da.errors import UsageError
from mmstal_da.evaluation.files import load_detections, save_detections
from mmstal_da.evaluation.functional import Detections, TubeSet
from mmstal_da.evaluation.functional.pseudo_labels import (
    PseudoTubeRule,
    label_quality,
    pseudo_tubes,
)
from mmstal_da.launch.config import load_config
from mmstal_da.launch.reporting import as_config_error, one_sentence
from mmstal_da.register import register_all_modules
from mmstal_da.tubes.annotation import Annotation, load_annotation, save_annotation

RULES = {
    'box_score': 'least score of a box that is linked',
    'tube_score': 'least mean score of a tube that is learnt',
    'min_length': 'its least number of frames',
    'min_steadiness': 'its least steadiness: how well boxes of neighbouring frames agree, 0 to 1',
    'trim_penalty': 'cost of a cut where ends of low score are trimmed; -1 trims nothing',
    'plausible_length': 'least number of frames of a tube that is ignored if it is not learnt',
    'link_iou': 'least IoU of a box with its tube; 1 with lengths of 1: boxes alone',
    'max_gap': 'frames that a tube may miss, plus one; they are filled',
    'same_actor': 'least IoU of two boxes of a frame that mark one actor',
}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a detector of this project, a file or a URL')
    parser.add_argument('--config', help="the pair's config (default: the checkpoint's)")
    parser.add_argument('--out', required=True, type=Path, help='annotation file to write, .json')
    rules = parser.add_argument_group('which tubes become labels')
    for field in fields(PseudoTubeRule):
        rules.add_argument(
            f'--{field.name.replace("_", "-")}',
            type=int if isinstance(field.default, int) else float,
            default=field.default,
            help=f'{RULES[field.name]} (default: {field.default:g})',
        )
    parser.add_argument('--key-frame-stride', type=int, default=1, help='look at every n-th frame')
    parser.add_argument('--batch-size', type=int, default=16, help='key frames per batch')
    parser.add_argument('--workers', type=int, default=1, help='processes that decode')
    parser.add_argument(
        '--detections',
        type=Path,
        help='detections (.npz): written if the file is not there, else read',
    )
    parser.add_argument(
        '--diagnose',
        action='store_true',
        help="compare with the target's own labels; nothing of them enters the file",
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override values of --config, as in tools/test.py',
    )
    return parser


def find(
    args: argparse.Namespace, model, dataset: ActionTubeDataset, names: list[str], stop: Stop
) -> Detections:
    """Run the detector."""
    loader = DataLoader(
        dataset, args.batch_size, num_workers=args.workers, collate_fn=pseudo_collate
    )

    def noted() -> Iterator[dict]:
        shown = track(loader, 'detecting', console=Console(stderr=True), transient=True)
        for number, batch in enumerate(shown):
            stop.where = f'after batch {number} of {len(loader)} (nothing was written)'
            yield batch

    return Detections.concatenate(detect(model, noted(), names))


def read(path: Path, names: list[str], classes: list[str]) -> Detections:
    """Detections of the same videos and classes.

    Raises:
        UsageError: They are of others.
    """
    file = load_detections(path)
    if (file.videos, file.labels) != (names, classes):
        raise UsageError(
            f'{path} holds detections of other videos or classes than this target; remove it, or'
            ' give another --detections'
        )
    return Detections.from_rows(file.dets)


def rule_of(args: argparse.Namespace) -> PseudoTubeRule:
    """The rule that the flags ask for.

    Raises:
        UsageError: A value is out of range.
    """
    values = {field.name: getattr(args, field.name) for field in fields(PseudoTubeRule)}
    if values['trim_penalty'] == -1:
        values['trim_penalty'] = None
    values['max_gap'] *= args.key_frame_stride
    try:
        return PseudoTubeRule(**values)
    except ValueError as error:
        raise UsageError(str(error)) from error


def describe(annotation: Annotation, learnt: TubeSet, ignored: TubeSet) -> list[str]:
    """What was chosen, by class."""
    lines = []
    for label, name in enumerate(annotation.classes):
        of_class = [(found.label == label).sum() for found in (learnt, ignored)]
        lines.append(f'  {name}: {of_class[0]} tubes to learn, {of_class[1]} ignored')
    with_tube = sum(any(not tube.ignored for tube in t) for t in annotation.tubes.values())
    lines.append(f'{with_tube} of {len(annotation.videos)} videos have a tube to learn')
    return lines


def refuse_labels(out: Path) -> None:
    """See that no labels of a person are overwritten.

    Raises:
        UsageError: The destination is another file than one of pseudo-labels.
    """
    if out.exists() and (out.is_dir() or load_annotation(out, with_tubes=False).pseudo is None):
        raise UsageError(
            f'--out {out} is there and holds no pseudo-labels, so it is not overwritten; give'
            ' another name'
        )


def run(args: argparse.Namespace, stop: Stop) -> None:
    """Do what the command line asks for."""
    rule = rule_of(args)
    refuse_labels(args.out)
    register_all_modules()
    given = load_config(args.config, args.cfg_options) if args.config else None
    trained = load_trained(args.checkpoint, given)
    cfg = trained.cfg
    with as_config_error('the target of the config cannot be built'):
        dataset = unlabelled_target(cfg, args.key_frame_stride)
    names, classes = video_names(dataset), list(trained.classes)
    if args.detections is not None and args.detections.exists():
        dets = read(args.detections, names, classes)
    else:
        dets = find(args, trained.model, dataset, names, stop)
        if args.detections is not None:
            meta = dict(dataset=dataset.ann_file, split=dataset.split, checkpoint=args.checkpoint)
            save_detections(args.detections, dets, names, classes, meta)
    learnt, ignored = pseudo_tubes(dets, rule)
    if not len(learnt):
        raise UsageError(
            f'no tube has a mean score of {rule.tube_score:g} on {rule.min_length} frames, so there'
            ' is nothing to train on: lower --tube-score or --min-length, or give a better'
            ' checkpoint'
        )
    origin = origin_of(args.checkpoint, rule, args.key_frame_stride)
    annotation = pseudo_annotation(dataset, learnt, ignored, classes, origin)
    save_annotation(annotation, args.out)
    print('\n'.join([f'wrote {args.out}', *describe(annotation, learnt, ignored)]))
    if args.diagnose:
        quality = label_quality(learnt, ignored, hidden_truth(cfg, names, classes))
        print("against the target's own labels, boxes one by one:")
        for key, value in quality.items():
            text = 'none' if math.isnan(value) else f'{value:.1f}%'
            print(f'  {key}: {value if isinstance(value, int) else text}')


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.out.suffix != '.json' or min(args.batch_size, args.key_frame_stride) < 1:
        parser.error('--out must end in .json, --batch-size and --key-frame-stride be at least 1')
    if args.cfg_options and not args.config:
        parser.error('--cfg-options overrides values of --config, which is not given')
    with interruptible(__file__, argv) as stop, one_sentence('pseudo_tubes.py'):
        run(args, stop)
        return 0
    return INTERRUPTED


if __name__ == '__main__':
    sys.exit(main())
