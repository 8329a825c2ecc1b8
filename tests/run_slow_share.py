"""Runs as many of the slow tests as a time limit allows, in an order that changes by the day.

    python tests/run_slow_share.py --minutes 12

Files of tests are drawn one after the other. No file is begun that has no time left; one that does
not end in time is stopped and named, which is no failure. ``bash tools/run_tests.sh -m slow`` runs
all of them.
"""

import argparse
import datetime
import os
import random
import signal
import subprocess
import sys
import time

LEAST = 60  # seconds that a file must have


def slow_files() -> list[str]:
    """Files with slow tests."""
    command = [sys.executable, '-m', 'pytest', '--collect-only', '-q', '-m', 'slow']
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode not in (0, 5):
        raise SystemExit(f'the slow tests could not be listed:\n{listed.stdout[-3000:]}')
    return sorted({line.split('::')[0] for line in listed.stdout.splitlines() if '::' in line})


def run_file(file: str, seconds: float) -> str:
    """``'passed'``, ``'failed'`` or ``'stopped'``."""
    command = [sys.executable, '-m', 'pytest', '-q', '-m', 'slow', '-n', '2', file]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return 'failed' if process.wait(timeout=seconds) not in (0, 5) else 'passed'
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return 'stopped'


def main(argv: list[str] | None = None) -> int:
    """Run; the exit status is 1 if a test failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--minutes', type=float, required=True)
    parser.add_argument('--day', default=datetime.date.today().isoformat(), help='draws the order')
    args = parser.parse_args(argv)
    end = time.monotonic() + 60 * args.minutes
    files = slow_files()
    random.Random(args.day).shuffle(files)
    results: dict[str, list[str]] = {'passed': [], 'failed': [], 'stopped': []}
    for file in files:
        left = end - time.monotonic()
        if left < LEAST:
            break
        results[run_file(file, left)].append(file)
    done = sum(map(len, results.values()))
    print(f'slow tests of {done} of {len(files)} files were run on {args.day}')
    for how in ('failed', 'stopped'):
        for file in results[how]:
            print(f'  {how}: {file}')
    return int(bool(results['failed']))


if __name__ == '__main__':
    sys.exit(main())
