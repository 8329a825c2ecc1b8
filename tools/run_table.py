r"""Makes the table of a pair: trains and scores every row with every seed.

    python tools/run_table.py configs/synthetic --seeds 0 1 2 --out work_dirs/table --dry-run
    python tools/run_table.py configs/synthetic --seeds 0 1 2 --out work_dirs/table
    python tools/run_table.py configs/synthetic --out work_dirs/table --collect --publish
    python tools/run_table.py configs/synthetic --out work_dirs/other --restore

A run lives in OUT/<row>/seed<k>: it is trained to its last iteration, its last checkpoint is scored
on the target's test split, and result.json records it. The same command again goes on where the
last one was stopped: finished runs are kept, begun ones resume from their checkpoint. Several such
commands may work on the same OUT. After every finished run OUT/table.{json,md,png} are rewritten;
they hold all finished runs in OUT and name what is missing.

Rows that read proposals (MMAction2's AVA-style detectors, chosen by --rows) get those of
source_only with the same seed, OUT/source_only/seed<k>/proposals.npz, not those of the file that
their config names. What is missing for it, of the training of source_only too, is done first.

On Slurm a run is a job (needs pip install 'mmstal_da[slurm]'):

    python tools/run_table.py configs/PAIR --out OUT --launcher slurm --gpus-per-run 4 \
        --sbatch-args="--partition=gpu --gres=gpu:4 --cpus-per-task=32 --time=8:00:00"
"""

import argparse
import re
import sys
from pathlib import Path

from mmstal_da.errors import UsageError
from mmstal_da.experiments.cells import (
    Cell,
    State,
    add_proposers,
    find_changed,
    holder,
    make_cells,
    refuse_changed,
    set_aside,
    state_of,
)
from mmstal_da.experiments.commands import Launcher
from mmstal_da.experiments.display import (
    Display,
    describe_state,
    format_seconds,
    makespan,
    rates_of,
)
from mmstal_da.experiments.fingerprint import Settings
from mmstal_da.experiments.publishing import publish, published_results, restore, write_tables
from mmstal_da.experiments.record import (
    check_alike,
    check_settings,
    find_results,
    missing_cells,
)
from mmstal_da.experiments.rows import choose_rows, find_rows
from mmstal_da.experiments.scheduling import Scheduler, Slot, plan_slots
from mmstal_da.experiments.slurm import parse_sbatch_args, run_on_slurm
from mmstal_da.experiments.table import make_table

SEEDS = [0, 1, 2]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('pair', type=Path, help='folder of configs, one row each')
    parser.add_argument('--out', type=Path, required=True, help='folder of the runs and the table')
    parser.add_argument('--seeds', type=int, nargs='+', help='default: 0 1 2; to collect: all')
    parser.add_argument(
        '--rows', nargs='+', help="default: those of the paper's tables; to collect: all"
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='override values of every config; recorded with the results',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision, as of tools/train.py')

    how = parser.add_argument_group('how to run')
    how.add_argument('--launcher', choices=('local', 'slurm'), default='local')
    how.add_argument(
        '--jobs',
        type=int,
        help='runs at a time; default: as many as the GPUs, or the cores, or with Slurm all',
    )
    how.add_argument(
        '--threads', type=int, help='OMP_NUM_THREADS of every process; default: 1 without GPU'
    )
    how.add_argument(
        '--gpus-per-run',
        type=int,
        default=1,
        metavar='N',
        help='processes per run (torchrun); they multiply the batch',
    )
    how.add_argument(
        '--sbatch-args',
        default='',
        metavar='="FLAGS"',
        help='flags for sbatch, in one string; Slurm needs --time among them',
    )
    how.add_argument(
        '--rerun-changed',
        action='store_true',
        help='set runs aside whose config or data has changed since, and run them again',
    )

    instead = parser.add_argument_group('instead of running')
    instead.add_argument(
        '--dry-run', action='store_true', help='list the runs and estimate the time; write nothing'
    )
    instead.add_argument(
        '--restore',
        action='store_true',
        help='put the results beside the configs back into OUT, to go on there (a new machine)',
    )
    instead.add_argument('--collect', action='store_true', help='only rebuild the tables in OUT')
    instead.add_argument(
        '--publish',
        action='store_true',
        help='with --collect: also put results and tables beside the configs',
    )
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
    return args


def settings_of(args: argparse.Namespace) -> Settings:
    """What results hang on beside the configs."""
    return Settings(tuple(args.cfg_options), args.amp, args.gpus_per_run)


def plan(args: argparse.Namespace, cells: int) -> tuple[Launcher, list[Slot]]:
    """How to run so many cells here or on Slurm, which queues all; see :func:`plan_slots`."""
    if args.launcher == 'slurm':
        return Launcher('slurm', args.threads, args.jobs or max(1, cells)), []
    return plan_slots(settings_of(args), args.jobs, args.threads)


def collect(args: argparse.Namespace) -> int:
    """Rebuild the tables from what is in OUT; returns the exit status."""
    results = find_results(args.out, args.rows, args.seeds)
    if not results:
        raise UsageError(f'--collect: no run in {args.out} is finished')
    changed = find_changed(results, find_rows(args.pair))
    if changed:
        files = '\n'.join(f'  {path}' for path in changed)
        raise UsageError(
            f'the configs or the annotation files have changed since these were run:\n{files}\n'
            'run them anew with --rerun-changed, or choose others with --rows and --seeds'
        )
    check_alike(results)
    records = list(results.values())
    rows = args.rows or list(dict.fromkeys(record['row'] for record in records))
    wanted = [(row, seed) for row in rows for seed in args.seeds or ()]
    table = make_table(records, missing_cells(results, wanted))
    files = write_tables(args.out, table, records)
    if args.publish:
        dirty = sum(bool(record['dirty']) for record in records)
        if dirty:
            print(f'run_table: {dirty} results are of a checkout with changes', file=sys.stderr)
        files += publish(args.pair.resolve(), table, records)
    print((args.out / 'table.md').read_text(), *files, sep='\n')
    return 0


def restore_published(args: argparse.Namespace) -> int:
    """Put published results back into OUT; returns the exit status."""
    written, changed = restore(args.pair, args.out, args.rows, args.seeds)
    for path in changed:
        print(f'run_table: left out, its config or data has changed: {path}', file=sys.stderr)
    print(f'{len(written)} results restored', *written, sep='\n')
    return 0 if written else 1


def dry_run(args: argparse.Namespace, states: dict[Cell, State]) -> int:
    """List the cells and estimate the time; returns the exit status."""
    launcher, _ = plan(args, len(states))
    rates = rates_of(find_results(args.out).values(), f'finished runs in {args.out}')
    rates = rates or rates_of(published_results(args.pair), f'{args.pair}/results')
    left = []
    for cell, state in states.items():
        text = describe_state(state, args.rerun_changed)
        who = holder(cell.folder)
        if who:
            text += f' (now run by {who})'
        if state.kind != 'done':
            left.append(rates.seconds(cell, state) if rates else None)
            text += f', {format_seconds(left[-1])}' if left[-1] is not None else ''
        print(f'{cell.row:>14} seed {cell.seed}  {text}')
    jobs = min(launcher.jobs, max(1, len(left)))
    print(f'{len(left)} of {len(states)} runs to do, {jobs} at a time')
    if None in left:
        print('time: unknown, no run is finished yet')
    elif left:
        print(f'time: about {format_seconds(makespan(left, jobs))}, from {rates.source}')
    return 0


def run(args: argparse.Namespace, states: dict[Cell, State]) -> int:
    """Run what is not finished; returns the exit status."""
    refuse_changed(states)
    flags = parse_sbatch_args(args.sbatch_args) if args.launcher == 'slurm' else {}
    configs = find_rows(args.pair)

    def current_results() -> dict[Path, dict]:
        results = find_results(args.out)
        for path in find_changed(results, configs):
            print(
                f'run_table: not in the table, its config or data has changed: {path}',
                file=sys.stderr,
            )
            del results[path]
        if results:
            check_alike(results)
        return results

    def build_tables() -> None:
        results = current_results()
        missing = missing_cells(results, [(cell.row, cell.seed) for cell in states])
        table = make_table(list(results.values()), missing, args.pair.resolve().name)
        write_tables(args.out, table, list(results.values()))

    check_settings(current_results(), settings_of(args))
    build_tables()
    pending = [cell for cell, state in states.items() if state.kind != 'done']
    done = len(states) - len(pending)
    settings = settings_of(args)
    launcher, slots = plan(args, len(pending))
    print(f'{done} of {len(states)} runs are finished; {launcher.jobs} at a time in {args.out}')
    try:
        display = Display(len(states), done, build_tables)
        if args.launcher == 'slurm':
            failures = run_on_slurm(pending, settings, launcher, flags, display)
        else:
            failures = Scheduler(settings, launcher, slots, display).run(pending)
    except KeyboardInterrupt:
        build_tables()  # a run may have been scored since the last one ended
        print('run_table: stopped; the same command goes on from here', file=sys.stderr)
        if args.launcher == 'slurm':
            print('run_table: jobs stay in the queue; scancel ends them', file=sys.stderr)
        return 130
    if failures:
        build_tables()
    print((args.out / 'table.md').read_text())
    for failure in failures:
        print(f'run_table: FAILED  {failure}', file=sys.stderr)
    return 1 if failures else 0


def main(argv: list[str] | None = None) -> int:
    """Do what the command line asks for; returns the exit status."""
    args = parse_args(argv)
    try:
        if args.collect:
            return collect(args)
        if args.restore:
            return restore_published(args)
        if re.search(r'[\s,\'"]', str(args.out.resolve())):
            raise UsageError(f'--out {args.out}: --cfg-options take no path with blanks, , \' or "')
        rows = choose_rows(args.pair, args.rows)
        seeds = list(dict.fromkeys(args.seeds or SEEDS))
        cells = make_cells(args.pair, rows, seeds, args.out, settings_of(args))
        cells = add_proposers(cells, args.pair, args.out, settings_of(args))
        if args.rerun_changed and not args.dry_run:
            for cell in cells:
                if state_of(cell).kind == 'changed':
                    kept = set_aside(cell)
                    print(f'run_table: {cell.name} had another config or data; kept as {kept}')
        states = {cell: state_of(cell) for cell in cells}
        return (dry_run if args.dry_run else run)(args, states)
    except UsageError as error:
        print(f'run_table: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
