r"""Which checkpoint, without labels of the target: label-free scores, and how well they rank.

Usage::

    python tools/analysis_tools/rank_checkpoints.py configs/synthetic/full.py \
        work_dirs/full/iter_*.pth work_dirs/source_only/iter_*.pth --out work_dirs/ranking
    python tools/analysis_tools/rank_checkpoints.py --records work_dirs/ranking
    python tools/analysis_tools/rank_checkpoints.py --dets full=a.npz dn=b.npz

Every checkpoint is run on the config's test videos of the target: PCR, box stability and tube
steadiness (mmstal_da/evaluation/functional/label_free.py). If these videos have labels, the true
mAP is computed from the same predictions; nothing but the comparison reads it. With --source-split,
the checkpoint also gets its mAP on labelled source videos, the usual choice and the baseline to
beat. The table shows Spearman's rank correlation of each score with the true target mAP, and what
choosing by the score costs.

A checkpoint's record is written to --out, and a second start computes only what is missing.
``--dets`` scores files of detections (``test_evaluator.dump``) without a detector: tube steadiness,
and PCR if they were dumped before NMS (--cfg-options model.test_cfg.rcnn.nms.iou_threshold=1
model.test_cfg.rcnn.max_per_img=300).
"""

import argparse
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn, no_grad
from torch.utils.data import DataLoader

from mmstal_da.apis.propose import load_own_detector
from mmstal_da.engine.hooks import LabelFreeViewsHook
from mmstal_da.errors import UsageError, VideoError
from mmstal_da.evaluation.checkpoint_ranking import BASELINE, SCORES, TRUTH, rank_scores
from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.functional import Detections
from mmstal_da.evaluation.functional.label_free import offline_scores
from mmstal_da.evaluation.metrics import LabelFreeMetric
from mmstal_da.launch.checkpoints import check_checkpoint
from mmstal_da.launch.config import load_config
from mmstal_da.register import register_all_modules
from mmstal_da.registry import DATASETS, METRICS
from mmstal_da.utils.io import read_json, write_json
from mmstal_da.utils.values import share
from mmstal_da.visualization.scalars import row_names

MAP = 'frame_mAP@0.5'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help='config of the pair of domains')
    parser.add_argument('checkpoints', nargs='*', help='files of tools/train.py')
    parser.add_argument('--out', default='work_dirs/ranking', help='folder of the records')
    parser.add_argument('--records', help='only print the ranking of the records in this folder')
    parser.add_argument('--dets', nargs='+', metavar='NAME=NPZ', help='score files of detections')
    parser.add_argument(
        '--source-split', help='labelled split of the source that was not trained on'
    )
    parser.add_argument('--videos', nargs='+', help='patterns: only these videos of the target')
    parser.add_argument('--score-thr', type=share, default=0.3, help='of confident detections')
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--workers', type=int, default=2, help='processes that decode')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override values'
    )
    args = parser.parse_args(argv)
    if sum((bool(args.checkpoints), args.records is not None, args.dets is not None)) != 1:
        parser.error('give a config and checkpoints, or --records, or --dets')
    return args


def target_data(cfg: Config, args: argparse.Namespace) -> tuple[dict, list[dict]]:
    """Config of the target's test videos, and of the metrics.

    Raises:
        UsageError: The config has no test.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    if not dataset:
        raise UsageError('the config has no test_dataloader with videos of the target')
    metrics: list[dict] = [dict(type='LabelFreeMetric', score_thr=args.score_thr)]
    truth = cfg.get('test_evaluator')
    if dataset.get('labelled', True) and truth and truth.get('type') == 'TubeMetric':
        metrics.append(dict(truth))
    if args.videos:
        dataset = dict(dataset, videos=args.videos)
        metrics[1:] = [dict(metric, videos=args.videos) for metric in metrics[1:]]
    return dict(dataset), metrics


def source_data(cfg: Config, split: str) -> tuple[dict, list[dict]]:
    """Config of labelled source videos that were not trained on, and of their metric."""
    dataset = (cfg.train_dataloader.get('dataset') or {}).get('source')
    if not dataset:
        raise UsageError('train_dataloader.dataset has no source; leave out --source-split')
    if split == dataset.get('split'):
        raise UsageError(f'--source-split {split!r} is what was trained on; name another one')
    pipeline = cfg.test_dataloader.dataset.pipeline
    keys = ('ann_file', 'data_root', 'classes', 'class_map', 'videos')
    metric = {key: dataset[key] for key in keys if dataset.get(key) is not None}
    metric.update(type='TubeMetric', split=split, background_frames=False)
    return dict(dataset, split=split, pipeline=pipeline, test_mode=True), [metric]


@no_grad()
def evaluate(
    detector: nn.Module, dataset: dict, metrics: list[dict], title: str, args: argparse.Namespace
) -> dict:
    """Predict every key frame and compute the metrics."""
    built = DATASETS.build(dataset)
    scorers = [METRICS.build(metric) for metric in metrics]
    views = any(isinstance(scorer, LabelFreeMetric) for scorer in scorers)
    detector.test_observer = LabelFreeViewsHook().observe if views else None
    loader = DataLoader(built, args.batch_size, num_workers=args.workers, collate_fn=pseudo_collate)
    for batch in track(loader, title, console=Console(stderr=True), transient=True):
        samples = [sample.to_dict() for sample in detector.test_step(batch)]
        for scorer in scorers:
            scorer.process(batch, samples)
    detector.test_observer = None
    results: dict = {}
    for scorer in scorers:
        results.update(scorer.evaluate(len(built)))
    return results


def record_of(cfg: Config, checkpoint: str, name: str, run: str, args: argparse.Namespace) -> dict:
    """Scores of one checkpoint."""
    detector = load_own_detector(checkpoint, cfg)
    found = evaluate(detector, *target_data(cfg, args), f'{name}, target', args)
    record = dict(name=name, run=run, checkpoint=str(checkpoint))
    record.update({k: found.get(f'label_free/{k}') for k in SCORES if k != BASELINE})
    record[TRUTH] = found.get(MAP)
    if args.source_split:
        found = evaluate(detector, *source_data(cfg, args.source_split), f'{name}, source', args)
        record[BASELINE] = found.get(MAP)
    return {key: _finite(value) for key, value in record.items()}


def _finite(value):
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def make_records(args: argparse.Namespace) -> list[dict]:
    """Records of all checkpoints, those that are there already from their files."""
    cfg = load_config(args.config, args.cfg_options)
    settings = dict(
        config=args.config,
        videos=args.videos,
        score_thr=args.score_thr,
        source_split=args.source_split,
    )
    checkpoints = [Path(check_checkpoint(path)) for path in args.checkpoints]
    runs = row_names([path.parent for path in checkpoints])
    records = []
    for path, run in zip(checkpoints, runs, strict=True):
        name = f'{run}, {path.stem}'
        file = Path(args.out) / f'{name.replace("/", "_").replace(", ", "_")}.json'
        known = read_json(file) if file.is_file() else {}
        if known.get('settings') != settings or known.get('checkpoint') != str(path):
            known = dict(record_of(cfg, str(path), name, run, args), settings=settings)
            write_json(file, known)
        records.append(known)
    return records


def read_records(folder: str) -> list[dict]:
    """Records of a folder.

    Raises:
        UsageError: There are none.
    """
    files = sorted(Path(folder).glob('*.json'))
    if not files:
        raise UsageError(f'no records in {folder}; make them with a config and checkpoints')
    return [read_json(file) for file in files]


def score_files(items: Iterable[str], score_thr: float) -> list[dict]:
    """Offline scores of files of detections."""
    records = []
    for item in items:
        name, equals, path = item.partition('=')
        name, path = (name, path) if equals else (Path(item).parent.name, item)
        file = load_detections(path)
        dets = Detections.from_rows(file.dets)
        records.append(dict(name=name, run=name, **offline_scores(dets, score_thr=score_thr)))
    return records


def records_table(records: list[dict]) -> Table:
    """The scores of every checkpoint."""
    table = Table(box=box.SIMPLE)
    table.add_column('checkpoint')
    columns = [k for k in (TRUTH, *SCORES) if any(r.get(k) is not None for r in records)]
    for column in columns:
        table.add_column(column, justify='right')
    for record in records:
        table.add_row(record['name'], *(_number(record, column) for column in columns))
    return table


def _number(record: Mapping, key: str) -> str:
    value = record.get(key)
    if value is None:
        return '-'
    return f'{value:.1f}' if key.endswith('mAP') else f'{value:.3f}'


def ranking_table(records: list[dict]) -> Table:
    """How every score ranks the checkpoints."""
    table = Table(box=box.SIMPLE, title='against the true frame-mAP@0.5 of the target')
    for column in ('score', 'checkpoints', 'Spearman', 'within runs', 'chosen', 'mAP', 'lost'):
        table.add_column(column, justify='left' if column in ('score', 'chosen') else 'right')
    for row in rank_scores(records):
        correlations = ('-' if v is None else f'{v:+.2f}' for v in (row.spearman, row.within))
        name = f'{row.score} (baseline)' if row.score == BASELINE else row.score
        table.add_row(
            name, str(row.count), *correlations, row.chosen, f'{row.chosen_map:.1f}',
            f'{row.regret:.1f}',
        )  # fmt: skip
    return table


def main(argv: list[str] | None = None) -> int:
    """Score, rank and print; returns the exit status."""
    args = parse_args(argv)
    register_all_modules()
    try:
        if args.dets:
            records = score_files(args.dets, args.score_thr)
        else:
            records = read_records(args.records) if args.records else make_records(args)
    except (UsageError, ValueError, OSError, VideoError) as error:
        print(f'rank_checkpoints: {error}', file=sys.stderr)
        return 2
    console = Console(width=120, soft_wrap=True)
    console.print(records_table(records))
    if any(record.get(TRUTH) is not None for record in records):
        console.print(ranking_table(records))
        if len(records) < 10:
            print(f'{len(records)} checkpoints: too few to say that one score ranks better')
    else:
        print('no labels of the target, so the scores cannot be compared with its mAP')
    return 0


if __name__ == '__main__':
    sys.exit(main())
