r"""Writes the proposals of a trained detector's RPN, for detectors that have none of their own.

    python tools/data/dump_proposals.py configs/synthetic/source_only.py \
        work_dirs/source_only/iter_600.pth --out data/proposals/synthetic.npz

One file holds the key frames of the labelled training data and of the test, each as the config's
test pipeline shows them (no flips). See mmstal_da/datasets/proposals.py for its format.
"""

import argparse
from collections.abc import Iterable

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.runner import load_checkpoint
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

import mmstal_da.registry  # noqa: F401  (first: repairs what importing mmaction needs)
from mmstal_da.datasets.proposals import PARTS, FrameProposals, save_proposals
from mmstal_da.domains import trained_parts
from mmstal_da.errors import UsageError
from mmstal_da.evaluation.functional.iou import box_iou
from mmstal_da.launch.config import check_checkpoint, load_config
from mmstal_da.models.detectors import ActionTubeDetector
from mmstal_da.register import register_all_modules
from mmstal_da.registry import DATASETS, MODELS


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
        help="parts to write: the dataset of that dataloader; of 'train' the labelled one",
    )
    parser.add_argument('--out', required=True, help='destination, .npz')
    parser.add_argument(
        '--max-per-frame', type=int, help="most proposals of a frame (default: the config's)"
    )
    parser.add_argument('--batch-size', type=int, default=8, help='key frames at a time')
    parser.add_argument('--workers', type=int, default=2, help='processes that decode')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override values of the config, as in tools/test.py',
    )
    return parser


def part_dataset(cfg: Config, part: str) -> dict:
    """Config of a part's dataset, showing nothing but the key frame.

    Raises:
        UsageError: The config has no such dataset, or none with labels to train on.
    """
    loader = cfg.get(f'{part}_dataloader') or {}
    dataset = loader.get('dataset')
    while dataset is not None and dataset.get('type') != 'ActionTubeDataset':
        if dataset.get('type') == 'DualDomainDataset':
            dataset = next(iter(trained_parts(dataset).values()))  # the labelled one
        else:
            dataset = dataset.get('dataset')  # of a wrapper
    if dataset is None or (part == 'train' and not dataset.get('labelled', True)):
        labelled = 'labelled ' if part == 'train' else ''
        raise UsageError(f'{part}_dataloader has no {labelled}ActionTubeDataset')
    tested = (cfg.get('test_dataloader') or loader).dataset
    pipeline = [dict(stage) for stage in tested.pipeline]
    clips = [stage for stage in pipeline if stage['type'] == 'SampleKeyFrameClip']
    if len(clips) != 1:
        raise UsageError(
            f'the test pipeline has {len(clips)} SampleKeyFrameClip; the RPN needs its key frame'
        )
    clips[0].update(clip_len=1, frame_interval=1)
    return dict(dataset, pipeline=pipeline, test_mode=True)


def load_detector(cfg: Config, checkpoint: str) -> ActionTubeDetector:
    """The config's detector with the checkpoint's weights, ready to predict.

    Raises:
        UsageError: Another kind of model, or weights that do not fit.
    """
    detector = MODELS.build(cfg.model)
    if not isinstance(detector, ActionTubeDetector):
        raise UsageError(
            f'{type(detector).__name__} has no RPN on the key frame; give the config of an'
            ' ActionTubeDetector, such as source_only.py of the pair'
        )
    try:
        load_checkpoint(detector, checkpoint, map_location='cpu', strict=True)
    except RuntimeError as error:
        raise UsageError(f'{checkpoint} is of another model than the config: {error}') from error
    return detector.to(get_device()).eval()


@torch.no_grad()
def propose(
    detector: ActionTubeDetector, batches: Iterable[dict], max_per_frame: int | None = None
) -> FrameProposals:
    """The RPN's proposals of key frames, in pixels of the original videos.

    Args:
        detector: In eval mode.
        batches: ``dict(inputs, data_samples)`` with lists, as the pipeline packs them; clips may
            be the key frame alone, as only SF and the RPN run.
        max_per_frame: Most proposals of a frame; None is ``test_cfg.rpn.max_per_img``.

    Returns:
        (video name, key frame) -> boxes (n, 4) and scores (n,).
    """
    settings = detector.test_cfg.rpn.copy()
    settings.max_per_img = max_per_frame or settings.max_per_img
    proposals = {}
    for batch in batches:
        data = detector.data_preprocessor(batch)
        metas = [sample.metainfo for sample in data['data_samples']]
        maps = detector.backbone(data['inputs']['key_frame'])
        results = detector.rpn_head.predict_by_feat(
            *detector.rpn_head(maps), batch_img_metas=metas, cfg=settings, rescale=True
        )
        for meta, result in zip(metas, results, strict=True):
            proposals[meta['video_name'], int(meta['key_frame'])] = (
                result.bboxes.cpu().numpy(),
                result.scores.cpu().numpy(),
            )
    return proposals


def quality(
    proposals: FrameProposals, actors: dict[tuple[str, int], np.ndarray]
) -> tuple[float, float]:
    """How much of what is to be found a detector on these proposals is shown.

    Args:
        proposals: (video name, key frame) -> boxes (n, 4) as edges, and scores (n,).
        actors: The same keys -> labelled boxes (m, 4), ends inclusive.

    Returns:
        Share of the labelled boxes that a proposal meets at IoU 0.5, and, of the frames with one,
        the share whose proposal of highest score does. NaN without labelled boxes.
    """
    found, best = [], []
    for key, labelled in actors.items():
        boxes, scores = proposals[key]
        if len(labelled) == 0:
            continue
        hits = box_iou(boxes, labelled + np.array([0, 0, 1, 1]), pixel=0) >= 0.5
        found.extend(hits.any(0))
        best.append(len(scores) > 0 and hits[scores.argmax()].any())
    return (np.mean(found), np.mean(best)) if found else (np.nan, np.nan)


def describe(part: str, proposals: FrameProposals, shares: tuple[float, float]) -> str:
    """One line about a part; ``shares`` are of :func:`quality`."""
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


def dump(args: argparse.Namespace) -> None:
    """What the command line asks for."""
    cfg = load_config(args.config, args.cfg_options)
    register_all_modules()
    datasets = {part: DATASETS.build(part_dataset(cfg, part)) for part in dict.fromkeys(args.part)}
    detector = load_detector(cfg, check_checkpoint(args.checkpoint))
    parts = {}
    for part, dataset in datasets.items():
        loader = DataLoader(
            dataset, args.batch_size, num_workers=args.workers, collate_fn=pseudo_collate
        )
        shown = track(loader, part, console=Console(stderr=True), transient=True)
        proposals = propose(detector, shown, args.max_per_frame)
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


def main(argv: list[str] | None = None) -> None:
    parser = make_parser()
    args = parser.parse_args(argv)
    numbers = [args.batch_size, args.max_per_frame or 1]
    if not args.out.endswith('.npz') or np.min(numbers) < 1 or args.max_per_frame == 0:
        parser.error('--out ends in .npz, --batch-size and --max-per-frame are at least 1')
    try:
        dump(args)
    except UsageError as error:
        parser.error(str(error))


if __name__ == '__main__':
    main()
