#!/usr/bin/env bash
# Sets up, lints and runs the tests: bash tools/run_tests.sh [arguments of pytest]
#   bash tools/run_tests.sh -m "not slow"    all but the slow ones, in about two minutes
# Tests on real video need MMSTAL_DA_TEST_DATA, the folder that holds it (see README.md).
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/setup_env.sh
workers=$(env -u OMP_NUM_THREADS nproc) # with OMP_NUM_THREADS nproc would count threads
# for tiny networks a second thread costs more than it gains, above all if other processes run
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
python -m ruff check .
python -m ruff format --check .
python -m mypy mmstal_da
# one process per core; worksteal keeps most tests of a module, and so its fixtures, in one process
exec python -m pytest -n "$workers" --dist worksteal "$@"
