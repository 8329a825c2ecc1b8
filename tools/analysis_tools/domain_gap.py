r"""How far apart source and target are in a detector's features, with and without adaptation.

Usage::

    python tools/analysis_tools/domain_gap.py configs/synthetic/full.py \
        work_dirs/source_only/iter_300.pth work_dirs/full/iter_300.pth

A freshly trained linear probe (logistic regression on standardised features, cross-validated by
video) recognises the domain of a key frame from SF, TF1 and TF2. It prints its accuracy (0.5 is
guessing) and the proxy A-distance 2 (1 - 2 error) with a 95 % interval over videos. The
discriminators of the training are no measure of this: features can escape a discriminator and still
be far apart. It writes, into --out:

    domain_gap.json                    the numbers
    pca.png, tsne.png                  the features, a column per checkpoint
    features_<name>.npz                SF, TF1, TF2, domain, video, frame

A checkpoint is read with the config that it carries, so rows can be mixed; data and test pipeline
are those of CONFIG. No labels are read, neither of the target nor of the source.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, DictAction
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmstal_da.apis.propose import load_own_detector
from mmstal_da.errors import UsageError, VideoError
from mmstal_da.evaluation.domain_gap.embedding import METHODS, embed
from mmstal_da.evaluation.domain_gap.features import (
    DOMAIN_NAMES,
    PLACES,
    Features,
    domain_batches,
    extract,
)
from mmstal_da.evaluation.domain_gap.probe import Probe, probe_domains
from mmstal_da.launch.checkpoints import check_checkpoint
from mmstal_da.launch.config import load_config
from mmstal_da.register import register_all_modules
from mmstal_da.utils.io import write_json
from mmstal_da.visualization.curves import save_figure
from mmstal_da.visualization.embedding_figure import embedding_figure
from mmstal_da.visualization.scalars import row_names


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of a pair of domains')
    parser.add_argument('checkpoints', nargs='+', help='one or more, a file or a URL each')
    parser.add_argument('--names', nargs='+', help='names, one per checkpoint')
    parser.add_argument('--out', default='work_dirs/domain_gap', help='folder')
    parser.add_argument('--source-split', help='(default: the one that is trained on)')
    parser.add_argument('--target-split', help='(default: the one that is adapted on)')
    parser.add_argument('--videos', type=int, default=100, help='most videos of a domain')
    parser.add_argument('--per-video', type=int, default=2, help='key frames of a video')
    parser.add_argument('--folds', type=int, default=5, help='of the cross-validation')
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--workers', type=int, default=2, help='processes that decode')
    parser.add_argument('--seed', type=int, default=0, help='of folds, bootstrap and t-SNE')
    parser.add_argument('--no-pictures', action='store_true')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override values'
    )
    args = parser.parse_args(argv)
    if args.names and len(set(args.names)) != len(args.checkpoints):
        parser.error(f'{len(set(args.names))} different --names: {len(args.checkpoints)} needed')
    if min(args.videos, args.per_video, args.batch_size) < 1 or args.folds < 2:
        parser.error('--videos, --per-video and --batch-size are at least 1, --folds 2')
    return args


def features_of(cfg: Config, checkpoint: str, name: str, args: argparse.Namespace) -> Features:
    """Features of both domains under one checkpoint."""
    detector = load_own_detector(checkpoint, cfg)
    splits = dict(source=args.source_split, target=args.target_split)
    batches = {}
    for domain in DOMAIN_NAMES:
        loader = domain_batches(
            cfg, domain, splits[domain], args.videos, args.per_video, args.batch_size, args.workers
        )
        bar = dict(console=Console(stderr=True), transient=True)
        batches[domain] = track(loader, f'{name}, {domain}', **bar)
    return extract(detector, batches)


def report(probes: dict[str, dict[str, Probe]]) -> Table:
    """The probes as a table."""
    table = Table(box=box.SIMPLE)
    for column in ('checkpoint', 'features', 'probe accuracy', 'proxy A-distance', '95 %'):
        table.add_column(
            column, justify='left' if column in ('checkpoint', 'features') else 'right'
        )
    for name, places in probes.items():
        for place, probe in places.items():
            interval = f'{probe.low:.2f} to {probe.high:.2f}'
            table.add_row(name, place, f'{probe.accuracy:.3f}', f'{probe.distance:.2f}', interval)
    return table


def draw(
    features: dict[str, Features],
    probes: dict[str, dict[str, Probe]],
    out: Path,
    seed: int,
) -> list[Path]:
    """Write a picture per method; returns their paths."""
    notes = {
        name: {
            place: f'probe {probe.accuracy:.0%}, A-distance {probe.distance:.2f}'
            for place, probe in places.items()
        }
        for name, places in probes.items()
    }
    paths = []
    for method in METHODS:
        points = {
            name: {place: embed(found.at[place], method, seed) for place in PLACES}
            for name, found in features.items()
        }
        title = {'pca': 'Principal components', 'tsne': 't-SNE'}[method]
        domains = [found.domains for found in features.values()]
        path = out / f'{method}.png'
        save_figure(embedding_figure(points, domains, notes, f'{title} of key frames'), path)
        paths.append(path)
    return paths


def names_of(checkpoints: Sequence[str]) -> list[str]:
    """Row and seed of every checkpoint; with its file's name if a run has several."""
    rows = row_names([Path(path).parent for path in checkpoints])
    if len(set(rows)) == len(rows):
        return rows
    return [f'{row}, {Path(path).stem}' for row, path in zip(rows, checkpoints, strict=True)]


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write; returns the exit status."""
    args = parse_args(argv)
    register_all_modules()
    out = Path(args.out)
    names = args.names or names_of(args.checkpoints)
    features: dict[str, Features] = {}
    probes: dict[str, dict[str, Probe]] = {}
    try:
        cfg = load_config(args.config, args.cfg_options)
        checkpoints = [check_checkpoint(path) for path in args.checkpoints]
        out.mkdir(parents=True, exist_ok=True)
        for name, checkpoint in zip(names, checkpoints, strict=True):
            found = features_of(cfg, checkpoint, name, args)
            probes[name] = {
                place: probe_domains(
                    found.at[place], found.domains, found.videos, args.folds, seed=args.seed
                )
                for place in PLACES
            }
            features[name] = found
    except (UsageError, ValueError, OSError, VideoError) as error:
        print(f'domain_gap: {error}', file=sys.stderr)
        return 2
    Console(width=100, soft_wrap=True).print(report(probes))
    any_probe = next(iter(next(iter(probes.values())).values()))
    print('probed on {} source and {} target videos'.format(*any_probe.num_videos))
    for name, found in features.items():
        found.save(out / f'features_{name.replace("/", "_").replace(", ", "_")}.npz')
    record = {
        name: {place: probe.as_dict() for place, probe in places.items()}
        for name, places in probes.items()
    }
    write_json(out / 'domain_gap.json', dict(config=args.config, probes=record))
    written = [] if args.no_pictures else draw(features, probes, out, args.seed)
    for path in (out / 'domain_gap.json', *written):
        print(path)
    return 0


if __name__ == '__main__':
    sys.exit(main())
