"""Runs the steps within a budget: ``python -m gpu_checks OUT MINUTES``; see run_gpu_checks.sh."""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import mmstal_da.registry  # noqa: F401  (and with it the workarounds that MMAction2 needs)
from mmstal_da.utils.io import write_json

from .context import Context
from .plan import STEPS, Step, choose_steps
from .records import PUBLISHED, describe_machine, merged_file, print_table, write_all
from .running import read_result, run_step

RESERVE = 10  # seconds for the last files


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog='run_gpu_checks.sh', description=__doc__)
    parser.add_argument('out', type=Path, metavar='OUT', help='folder of the results')
    parser.add_argument('minutes', type=float, metavar='MINUTES', help='for everything')
    parser.add_argument('--try-on-cpu', action='store_true',
                        help='two iterations of everything on a CPU: tries the steps, measures '
                             'nothing')  # fmt: skip
    parser.add_argument('--steps', nargs='+', metavar='STEP',
                        help=f'only these, of {" ".join(step.name for step in STEPS)}')  # fmt: skip
    parser.add_argument('--again', action='store_true', help='repeat steps that OUT already has')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/gpu_checks'),
                        help='for checkpoints and logs')  # fmt: skip
    args = parser.parse_args(argv)
    if not args.minutes > 0:
        parser.error(f'MINUTES must be more than 0, not {args.minutes}')
    try:
        args.steps = choose_steps(args.steps)
    except ValueError as error:
        parser.error(str(error))
    return args


def run_plan(
    steps: list[Step],
    context: Context,
    machine: dict,
    deadline: float,
    again: bool = False,
    run: Callable[[Step, Context, float], dict] = run_step,
) -> dict[str, dict]:
    """Run the steps that fit, in order; every step is recorded when it ends.

    Args:
        steps: The steps.
        context: What they share.
        machine: Result of :func:`describe_machine`; a step that was ok on the same machine is not
            repeated.
        deadline: As a value of ``time.monotonic()``.
        again: Repeat such steps too.
        run: Runs one step.

    Returns:
        Step to record.
    """
    merged = merged_file(context.out, machine['card'])
    origin = {key: machine[key] for key in ('card', 'commit', 'tiny')}
    records = {}
    for step in steps:
        file = context.out / 'steps' / f'{step.name}.json'
        before = read_result(file)
        if (
            before
            and not again
            and before['status'] == 'ok'
            and {key: before[key] for key in origin} == origin
        ):
            print(f'{step.name}: done before (--again repeats it)', flush=True)
            records[step.name] = before
            write_all(context.out, merged, machine, records)
            continue
        left = deadline - time.monotonic() - RESERVE
        if left < 60 * step.needs:
            reason = (
                f'{max(left, 0) / 60:.1f} minutes of the budget are left, it needs {step.needs:g}'
            )
            record = dict(
                step=step.name, what=step.what, status='skipped', seconds=0.0, reason=reason
            )
        else:
            # a busy CPU may need longer
            limit = left if context.tiny else min(60 * step.limit, left)
            print(f'{step.name}: {step.what}; at most {limit / 60:.1f} minutes', flush=True)
            record = run(step, context, limit)
        records[step.name] = {**record, **origin}
        write_json(file, records[step.name])
        write_all(context.out, merged, machine, records)
        reason = f': {record["reason"]}' if 'reason' in record else ''
        print(
            f'{step.name}: {record["status"]} after {record["seconds"]:.0f} s{reason}', flush=True
        )
    return records


def main(argv: list[str] | None = None) -> int:
    """Run, print; the exit status is 1 if a step failed, 2 if nothing can run."""
    args = parse_args(argv)
    deadline = time.monotonic() + 60 * args.minutes
    if not args.try_on_cpu and not torch.cuda.is_available():
        print(
            'run_gpu_checks.sh: torch finds no CUDA device (torch.cuda.is_available() is False, '
            f'torch {torch.__version__}). To try the script without one: --try-on-cpu',
            file=sys.stderr,
        )
        return 2
    # the steps end together with this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    work = args.work_dir / ('try_on_cpu' if args.try_on_cpu else 'gpu')
    context = Context(args.out.resolve(), work.resolve(), args.try_on_cpu)
    machine = describe_machine(args.try_on_cpu)
    records = run_plan(args.steps, context, machine, deadline, args.again)
    print_table(machine, records)
    merged = merged_file(args.out, machine['card'])
    print(f'everything is in {merged}')
    if args.try_on_cpu:
        print('a trial on a CPU: its numbers say nothing, do not publish them')
    else:
        print(f'to publish it: mkdir -p {PUBLISHED} && cp {merged} {PUBLISHED}/')
    bad = [name for name, record in records.items() if record['status'] in ('failed', 'timed out')]
    if bad:
        print(f'not ok: {", ".join(bad)}; logs in {work}', file=sys.stderr)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
