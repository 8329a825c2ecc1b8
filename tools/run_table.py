r"""Makes the table of a pair: trains and scores every row with every seed.

    python tools/run_table.py configs/synthetic --seeds 0 1 2 --out work_dirs/table --dry-run
    python tools/run_table.py configs/synthetic --seeds 0 1 2 --out work_dirs/table
    python tools/run_table.py configs/synthetic --out work_dirs/table --collect --publish
    python tools/run_table.py configs/synthetic --out work_dirs/other --restore
    python tools/run_table.py configs/PAIR --out OUT --launcher slurm --gpus-per-run 4 \
        --sbatch-args="--partition=gpu --gres=gpu:4 --cpus-per-task=32 --time=8:00:00"

The same command again resumes what was stopped. See mmstal_da/experiments/README.md.
"""

from mmstal_da.utils.interrupt import INTERRUPTED, Stop, at_start, interruptible

at_start(__name__)

import argparse
import re
import sys
from pathlib import Path

from mmstal_da.errors import ConfigError, UsageError
from mmstal_da.experiments import cells, display, publishing, record, rows
from mmstal_da.experiments.cells import (
    Cell,
    State,
    find_changed,
    iteration_of,
    last_checkpoint,
    state_of,
)
from mmstal_da.experiments.commands import Launcher
from mmstal_da.experiments.fingerprint import Settings
from mmstal_da.experiments.scheduling import Scheduler, Slot, plan_slots
from mmstal_da.experiments.slurm import parse_sbatch_args, run_on_slurm
from mmstal_da.experiments.table import make_table
from mmstal_da.launch.reporting import one_sentence

SEEDS = [0, 1, 2]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('pair', type=Path, help='folder of configs, one row each')
    add('--out', type=Path, required=True, help='folder of the runs and the table')
    add('--seeds', type=int, nargs='+', help='default: 0 1 2; to collect: all')
    add('--rows', nargs='+', help="default: those of the paper's tables; to collect: all")
    help = 'override values of every config; recorded with the results'
    add('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help=help)
    add('--amp', action='store_true', help='mixed precision, as in tools/train.py')

    add = parser.add_argument_group('how to run').add_argument
    add('--launcher', choices=('local', 'slurm'), default='local')
    help = 'runs at a time; default: as many as the GPUs, or the cores, or with Slurm all'
    add('--jobs', type=int, help=help)
    add('--threads', type=int, help='OMP_NUM_THREADS of every process; default: 1 without GPU')
    help = 'processes per run (torchrun); they multiply the batch'
    add('--gpus-per-run', type=int, default=1, metavar='N', help=help)
    help = 'flags for sbatch, in one string; --time must be among them'
    add('--sbatch-args', default='', metavar='="FLAGS"', help=help)
    help = 'set runs aside whose config or data has changed, and run them again'
    add('--rerun-changed', action='store_true', help=help)

    add = parser.add_argument_group('instead of running').add_argument
    help = 'list the runs and estimate the time; write nothing'
    add('--dry-run', action='store_true', help=help)
    help = 'put published results back into OUT, to go on there (a new machine)'
    add('--restore', action='store_true', help=help)
    add('--collect', action='store_true', help='only rebuild the tables in OUT')
    help = "with --collect: also put results and tables into the configs' folder"
    add('--publish', action='store_true', help=help)
    return parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments, and ``settings`` made of them."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.publish and not args.collect:
        parser.error('--publish goes with --collect')
    if args.dry_run + args.collect + args.restore > 1:
        parser.error('choose one of --dry-run, --collect and --restore')
    for name in ('jobs', 'threads', 'gpus_per_run'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} is at least 1')
    if any(seed < 0 for seed in args.seeds or ()):
        parser.error('--seeds are not negative')
    args.settings = Settings(tuple(args.cfg_options), args.amp, args.gpus_per_run)
    return args


def plan(args: argparse.Namespace, runs: int) -> tuple[Launcher, list[Slot]]:
    """How to do so many runs: here, or on Slurm, which queues all; see :func:`plan_slots`."""
    if args.launcher == 'slurm':
        return Launcher('slurm', args.threads, args.jobs or max(1, runs)), []
    return plan_slots(args.settings, args.jobs, args.threads)


def warn(text: str) -> None:
    """Print to stderr."""
    print(f'run_table: {text}', file=sys.stderr)


def collect(args: argparse.Namespace) -> int:
    """Rebuild the tables from what is in OUT; returns the exit status."""
    results = record.find_results(args.out, args.rows, args.seeds)
    if not results:
        raise UsageError(f'--collect: no run in {args.out} is finished')
    changed = find_changed(results, rows.find_rows(args.pair))
    if changed:
        files = '\n'.join(f'  {path}' for path in changed)
        raise UsageError(
            f'the configs or the annotation files of these runs have changed:\n{files}\n'
            'run them again with --rerun-changed, or choose others with --rows and --seeds'
        )
    record.check_alike(results)
    records = list(results.values())
    names = args.rows or list(dict.fromkeys(result['row'] for result in records))
    wanted = [(row, seed) for row in names for seed in args.seeds or ()]
    failed = record.failed_cells(args.out, args.rows, args.seeds)
    table = make_table(records, record.missing_cells(results, wanted), failed=failed)
    files = publishing.write_tables(args.out, table, records)
    if args.publish:
        dirty = sum(bool(result['dirty']) for result in records)
        if dirty:
            warn(f'{dirty} results are of a checkout with changes')
        detections = {
            (result['row'], result['seed']): path.with_name('detections.npz')
            for path, result in results.items()
        }
        pair = args.pair.resolve()
        files += publishing.publish(pair, table, records, detections, warn)
    print((args.out / 'table.md').read_text(), *files, sep='\n')
    return 0


def restore(args: argparse.Namespace) -> int:
    """Put published results back into OUT; returns the exit status."""
    written, changed = publishing.restore(args.pair, args.out, args.rows, args.seeds)
    for path in changed:
        warn(f'left out, its config or data has changed: {path}')
    print(f'{len(written)} results restored', *written, sep='\n')
    return 0 if written else 1


def dry_run(args: argparse.Namespace, states: dict[Cell, State]) -> int:
    """List the cells and estimate the time; returns the exit status."""
    launcher, _ = plan(args, len(states))
    finished = record.find_results(args.out).values()
    rates = display.rates_of(finished, f'finished runs in {args.out}') or display.rates_of(
        publishing.published_results(args.pair), f'{args.pair}/results'
    )
    left = []
    for cell, state in states.items():
        text = display.describe_state(state, args.rerun_changed)
        who = cells.holder(cell.folder)
        if who:
            text += f' (now run by {who})'
        if state.kind != 'done':
            left.append(rates.seconds(cell, state) if rates else None)
            text += f', {display.format_seconds(left[-1])}' if left[-1] is not None else ''
        print(f'{cell.row:>14} seed {cell.seed}  {text}')
    jobs = min(launcher.jobs, max(1, len(left)))
    print(f'{len(left)} of {len(states)} runs to do, {jobs} at a time')
    if None in left:
        print('time: unknown until a run is finished')
    elif left:
        seconds = display.makespan(left, jobs)
        print(f'time: about {display.format_seconds(seconds)}, from {rates.source}')
    return 0


def run(args: argparse.Namespace, states: dict[Cell, State], stop: Stop) -> int:
    """Run what is not finished; returns the exit status."""
    cells.refuse_changed(states)
    on_slurm = args.launcher == 'slurm'
    flags = parse_sbatch_args(args.sbatch_args) if on_slurm else {}
    configs = rows.find_rows(args.pair)

    def build_tables() -> None:
        results = record.find_results(args.out)
        for path in find_changed(results, configs):
            warn(f'not in the table, its config or data has changed: {path}')
            del results[path]
        if results:
            record.check_alike(results)
        record.check_settings(results, args.settings)
        missing = record.missing_cells(results, [(cell.row, cell.seed) for cell in states])
        failed = record.failed_cells(args.out)
        table = make_table(list(results.values()), missing, args.pair.resolve().name, failed)
        publishing.write_tables(args.out, table, list(results.values()))

    build_tables()
    pending = [cell for cell, state in states.items() if state.kind != 'done']
    done = len(states) - len(pending)
    launcher, slots = plan(args, len(pending))
    print(f'{done} of {len(states)} runs are finished; {launcher.jobs} at a time in {args.out}')
    shown = display.Display(len(states), done, build_tables)
    scheduler = Scheduler(args.settings, launcher, slots, shown)
    try:
        if on_slurm:
            failures = run_on_slurm(pending, args.settings, launcher, flags, shown)
        else:
            failures = scheduler.run(pending)
    except KeyboardInterrupt:
        build_tables()  # a run may have been scored since the last one ended
        stop.where = f'with {shown.done} of {len(states)} runs finished'
        if on_slurm:
            stop.where += ' (jobs stay in the queue, scancel ends them)'
        elif scheduler.stopped:
            stop.where += f', in {"; ".join(map(describe_stopped, scheduler.stopped))}'
        raise
    if failures:
        build_tables()
    print((args.out / 'table.md').read_text())
    for failure in failures:
        warn(f'FAILED  {failure}')
    return 1 if failures else 0


def describe_stopped(stopped: tuple[Cell, str]) -> str:
    """A row that was interrupted: what it was at, and from where it goes on."""
    cell, stage = stopped
    saved = iteration_of(last_checkpoint(cell.folder))
    text = f'{cell.name} ({stage}'
    if stage == 'train':
        text += (
            f', {saved} of {cell.max_iters} iterations saved' if saved else ', nothing saved yet'
        )
    return f'{text})'


def main(argv: list[str] | None = None) -> int:
    """Do what the command line asks for; returns the exit status."""
    args = parse_args(argv)
    with interruptible(__file__, argv) as stop, one_sentence('run_table.py'):
        return do(args, stop)
    return INTERRUPTED


def do(args: argparse.Namespace, stop: Stop) -> int:
    """Do what the command line asks for; returns the exit status."""
    try:
        if args.collect or args.restore:
            return (collect if args.collect else restore)(args)
        if re.search(r'[\s,\'"]', str(args.out.resolve())):
            raise UsageError(f'--out {args.out}: --cfg-options take no path with blanks, , \' or "')
        configs = rows.choose_rows(args.pair, args.rows)
        seeds = list(dict.fromkeys(args.seeds or SEEDS))
        wanted = cells.make_cells(args.pair, configs, seeds, args.out, args.settings)
        wanted = cells.add_makers(wanted, args.pair, args.out, args.settings)
        for cell in wanted if args.rerun_changed and not args.dry_run else ():
            if state_of(cell).kind == 'changed':
                kept = cells.set_aside(cell)
                print(f'run_table: {cell.name} had another config or data; kept as {kept}')
        states = {cell: state_of(cell) for cell in wanted}
        return dry_run(args, states) if args.dry_run else run(args, states, stop)
    except (ConfigError, UsageError) as error:
        warn(str(error))
        return 2


if __name__ == '__main__':
    sys.exit(main())
