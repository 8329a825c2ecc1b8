r"""Writes the proposals of a trained detector's RPN, for detectors without an RPN.

    python tools/data/dump_proposals.py configs/synthetic/source_only.py \
        work_dirs/source_only/iter_300.pth --out data/proposals/synthetic.npz

One file holds the key frames of the labelled training data and of the test data. Both go through
the config's test pipeline (no flips). See mmstal_da/datasets/proposals.py for the format.
"""

from mmstal_da.utils.interrupt import INTERRUPTED, Stop, at_start, interruptible

at_start(__name__)

import argparse
import sys
from collections.abc import Iterable, Iterator

import numpy as np
from mmengine.config import DictAction
from mmengine.dataset import pseudo_collate
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from mmstal_da.apis.propose import load_detector, part_dataset, propose, quality
from mmstal_da.datasets.proposals import PARTS, FrameProposals, save_proposals
from mmstal_da.launch.checkpoints import check_checkpoint
from mmstal_da.launch.config import load_config
from mmstal_da.launch.reporting import as_config_error, one_sentence
from mmstal_da.register import register_all_modules
from mmstal_da.registry import DATASETS


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help="config of a detector of this project, with the pair's data")
    parser.add_argument('checkpoint', help='its checkpoint, a file or a URL')
    parser.add_argument(
        '--part',
        nargs='+',
        choices=PARTS,
        default=['train', 'test'],
        help="parts to write: the dataset of that dataloader; for 'train' the labelled one",
    )
    parser.add_argument('--out', required=True, help='destination, .npz')
    parser.add_argument(
        '--max-per-frame', type=int, help="most proposals of a frame (default: the config's)"
    )
    parser.add_argument('--batch-size', type=int, default=8, help='key frames per batch')
    parser.add_argument('--workers', type=int, default=2, help='processes that decode')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override values of the config, as in tools/test.py',
    )
    return parser


def describe(part: str, proposals: FrameProposals, shares: tuple[float, float]) -> str:
    """One line about a part; ``shares`` come from :func:`quality`."""
    count = sum(len(scores) for _, scores in proposals.values())
    videos = len({video for video, _ in proposals})
    line = (
        f'{part}: {len(proposals)} key frames of {videos} videos,'
        f' {count / max(len(proposals), 1):.1f} proposals each'
    )
    if np.isnan(shares).any():
        return line
    return (
        f'{line}; at IoU 0.5 they hold {shares[0]:.1%} of the labelled boxes,'
        f' the best of a frame is one in {shares[1]:.1%}'
    )


def noting(batches: Iterable, part: str, stop: Stop) -> Iterator:
    """Batches, each noted as where the tool is."""
    for number, batch in enumerate(batches):
        stop.where = f'after batch {number} of {part} (nothing was written)'
        yield batch


def dump(args: argparse.Namespace, stop: Stop) -> None:
    """Do what the command line asks for."""
    cfg = load_config(args.config, args.cfg_options)
    register_all_modules()
    with as_config_error('the data of the config cannot be built'):
        parts = dict.fromkeys(args.part)
        datasets = {part: DATASETS.build(part_dataset(cfg, part)) for part in parts}
    detector = load_detector(cfg, check_checkpoint(args.checkpoint))
    parts = {}
    for part, dataset in datasets.items():
        loader = DataLoader(
            dataset, args.batch_size, num_workers=args.workers, collate_fn=pseudo_collate
        )
        shown = track(loader, part, console=Console(stderr=True), transient=True)
        proposals = propose(detector, noting(shown, part, stop), args.max_per_frame)
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        parts[part] = proposals, {info['video_name']: info['total_frames'] for info in infos}
        actors = {
            (info['video_name'], info['key_frame']): info['gt_bboxes']
            for info in infos
            if 'gt_bboxes' in info
        }
        print(describe(part, proposals, quality(proposals, actors)))
    save_proposals(args.out, parts, dict(config=args.config, checkpoint=args.checkpoint))
    print(f'written to {args.out}')


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    numbers = [args.batch_size, args.max_per_frame or 1]
    if not args.out.endswith('.npz') or np.min(numbers) < 1 or args.max_per_frame == 0:
        parser.error('--out must end in .npz, --batch-size and --max-per-frame be at least 1')
    with interruptible(__file__, argv) as stop, one_sentence('dump_proposals.py'):
        dump(args, stop)
        return 0
    return INTERRUPTED


if __name__ == '__main__':
    sys.exit(main())
