"""Train a model: python tools/train.py CONFIG."""

from mmstal_da.utils.interrupt import INTERRUPTED, at_start, interruptible

at_start(__name__)

import argparse
import sys

from mmengine.config import Config, DictAction

import mmstal_da.registry  # noqa: F401  (and with it the workarounds that MMAction2 needs)
from mmstal_da.errors import UsageError
from mmstal_da.launch.checks import check_config
from mmstal_da.launch.config import (
    LAUNCHERS,
    load_config,
    set_amp,
    set_launcher,
    set_randomness,
    set_resume,
    set_work_dir,
)
from mmstal_da.launch.reporting import one_sentence
from mmstal_da.launch.runner import build_runner, start
from mmstal_da.launch.stopping import TrainingStop
from mmstal_da.launch.weights import check_weights


def make_parser() -> argparse.ArgumentParser:
    """MMAction2's flags. A flag overrides --cfg-options, and these override the config."""
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='config file, of this project or of MMAction2')
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, or without value from the last in the work dir',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 on a GPU, bfloat16 on a CPU that has it',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not evaluate during the training'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the batch size over the config's "
        'auto_scale_lr.base_batch_size',
    )
    parser.add_argument('--seed', type=int, help="random seed; overrides the config's")
    parser.add_argument(
        '--diff-rank-seed', action='store_true', help='another seed in every process'
    )
    parser.add_argument(
        '--deterministic', action='store_true', help='deterministic cuDNN algorithms'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override values of the config, e.g. optim_wrapper.optimizer.lr=0.1 '
        'key="[a,b]" key="[(a,b),(c,d)]" (no spaces within a value)',
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='job launcher')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0)
    return parser


def make_config(args: argparse.Namespace) -> Config:
    """The config that the command line asks for.

    Raises:
        UsageError: It asks for something impossible.
    """
    cfg = load_config(args.config, args.cfg_options)
    set_work_dir(cfg, args.config, args.work_dir)
    set_randomness(cfg, args.seed, args.deterministic, args.diff_rank_seed)
    set_resume(cfg, args.resume)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        set_amp(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UsageError(
                f'--auto-scale-lr: {args.config} does not give the batch size of its learning '
                'rate; add --cfg-options auto_scale_lr.base_batch_size=N'
            )
        cfg.auto_scale_lr.enable = True
    set_launcher(cfg, args.launcher, args.local_rank)
    return cfg


def main() -> int:
    parser = make_parser()
    with interruptible(__file__) as stop, one_sentence('train.py'):
        args = parser.parse_args()
        cfg = make_config(args)
        check_config(cfg, 'train')
        check_weights(cfg)
        runner = build_runner(cfg)
        training = TrainingStop(runner, stop.command)
        stop.where, stop.command = training.where, training.command
        start(runner, 'train')
        return 0
    return INTERRUPTED


if __name__ == '__main__':
    sys.exit(main())
