"""Test a model: python tools/test.py CONFIG CHECKPOINT."""

from mmstal_da.utils.interrupt import INTERRUPTED, at_start, interruptible

at_start(__name__)

import argparse
import sys

from mmengine.config import Config, DictAction

import mmstal_da.registry  # noqa: F401  (and with it the workarounds that MMAction2 needs)
from mmstal_da.errors import UsageError
from mmstal_da.launch.checkpoints import check_checkpoint
from mmstal_da.launch.checks import INFER, check_config
from mmstal_da.launch.config import (
    LAUNCHERS,
    load_config,
    set_launcher,
    set_work_dir,
)
from mmstal_da.launch.reporting import one_sentence
from mmstal_da.launch.runner import build_runner, start
from mmstal_da.launch.stopping import PlaceInTest, through_launcher


def make_parser() -> argparse.ArgumentParser:
    """MMAction2's flags. A flag overrides --cfg-options, and these override the config."""
    parser = argparse.ArgumentParser(description='Test a model')
    parser.add_argument('config', help='config file, of this project or of MMAction2')
    parser.add_argument('checkpoint', help='checkpoint, a file or a URL')
    parser.add_argument(
        '--work-dir', help='folder for the log and the metrics (default: work_dirs/<config name>)'
    )
    parser.add_argument('--dump', metavar='PKL', help='write the predictions to this pickle file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override values of the config, e.g. test_dataloader.batch_size=2 '
        'key="[a,b]" key="[(a,b),(c,d)]" (no spaces within a value)',
    )
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--interval', type=int, default=1, help='draw every n-th sample')
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds that a window stays open'
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='job launcher')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0)
    return parser


def set_visualization(cfg: Config, args: argparse.Namespace) -> None:
    """Turn the config's visualization hook on.

    Raises:
        UsageError: The config has none.
    """
    if 'visualization' not in (cfg.get('default_hooks') or {}):
        raise UsageError(
            f'--show and --show-dir: {args.config} has no visualization hook; add '
            '--cfg-options default_hooks.visualization.type=VisualizationHook'
        )
    cfg.default_hooks.visualization.update(
        enable=True,
        show=args.show,
        wait_time=args.wait_time,
        out_dir=args.show_dir,
        interval=args.interval,
    )


def add_dump(cfg: Config, path: str) -> None:
    """Add a metric that writes the predictions to a pickle file.

    Raises:
        UsageError: The name does not end in .pkl or .pickle.
    """
    if not path.endswith(('.pkl', '.pickle')):
        raise UsageError(f'--dump writes a .pkl or .pickle file, not {path}')
    evaluator = cfg.test_evaluator
    evaluators = list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]
    cfg.test_evaluator = [*evaluators, dict(type='DumpResults', out_file_path=path)]


def make_config(args: argparse.Namespace) -> Config:
    """The config that the command line asks for.

    Raises:
        UsageError: It asks for something impossible.
    """
    cfg = load_config(args.config, args.cfg_options)
    if not (cfg.get('test_dataloader') and cfg.get('test_evaluator')):
        raise UsageError(f'{args.config} has no test (test_dataloader, test_evaluator); {INFER}')
    set_work_dir(cfg, args.config, args.work_dir)
    cfg.load_from = check_checkpoint(args.checkpoint)
    cfg.resume = False
    if args.show or args.show_dir is not None:
        set_visualization(cfg, args)
    if args.dump is not None:
        add_dump(cfg, args.dump)
    set_launcher(cfg, args.launcher, args.local_rank)
    return cfg


def main() -> int:
    parser = make_parser()
    with interruptible(__file__) as stop, one_sentence('test.py'):
        args = parser.parse_args()
        place = PlaceInTest()
        stop.where, stop.command = place.where, through_launcher(stop.command)
        cfg = make_config(args)
        check_config(cfg, 'test')
        runner = build_runner(cfg, testing=True)
        runner.register_hook(place)
        start(runner, 'test')
        return 0
    return INTERRUPTED


if __name__ == '__main__':
    sys.exit(main())
