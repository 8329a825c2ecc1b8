#!/usr/bin/env bash
# What this project wants to know of a machine with a GPU, as much as fits a number of minutes:
#
#   bash tools/run_gpu_checks.sh OUT MINUTES [--steps STEP ...] [--again] [--work-dir DIR]
#   bash tools/run_gpu_checks.sh OUT MINUTES --try-on-cpu      two iterations of everything, no GPU
#
# Most useful first: the tests marked `gpu`; the training step at 20 x 256 px beside SlowOnly and
# SlowFast in float32 and bfloat16; the loader's rate beside the step's; four rows of jhmdb_to_foggy
# from pretrained weights, seed 0. Every step has a time limit and is written to OUT/steps when it
# ends. OUT/<card>_<date>.json holds them all, OUT/summary.json a line each. The same command again
# repeats only what is not ok yet, and goes on with a training that was stopped.
# Exit status: 0; 1 if a step failed or was stopped; 2 without CUDA or with wrong arguments. A step
# whose data or weights are missing is skipped, and says what it lacks.
#
# On a machine without network, bring along:
# - wheels of what it lacks, for its Python (`pip download --only-binary=:all: --python-version ...`
#   elsewhere; mmcv-lite, mmdet, mmaction2, mmengine, av and what they import; nothing is compiled).
#   There: `pip install --no-index --no-deps --target .site *.whl`; this script finds .site;
# - data/jhmdb/foggy.json and the clips of its ten classes, in data/jhmdb/videos as released or in
#   data/jhmdb_packed/<class>/<clip>.mp4, re-encoded with the same frames in a sixth of the size
#   (H.264; say so with the numbers, the pixels are not the originals);
# - data/weights/*.pth (tools/get_weights.py). Convolutions stored in 16 bits and the layers left out
#   that no config reads (layer4, fc, logits), they take a third; say so as well. Not batch norm: a
#   variance of ResNet-50 is beyond what 16 bits hold;
# - the commit, where git does not travel: MMSTAL_DA_COMMIT=$(git rev-parse HEAD).
# OUT/*.json is all that must come back: checkpoints and logs stay in the work dir.
#
# PYTHON chooses the interpreter (default: python, else python3, of the active environment).
set -euo pipefail
started_in=$PWD
cd "$(dirname "$0")/.."
# OUT is relative to where the script was called
if [[ $# -gt 0 && $1 != /* && $1 != -* ]]; then
    first=$started_in/$1
    shift
    set -- "$first" "$@"
fi
python=$(command -v "${PYTHON:-python}" || command -v python3) || {
    echo 'run_gpu_checks.sh: no python; name one: PYTHON=... bash tools/run_gpu_checks.sh' >&2
    exit 2
}
site=
if [[ -d .site ]]; then site=$PWD/.site:; fi
export PYTHONPATH=$site$PWD:$PWD/tools/analysis_tools${PYTHONPATH:+:$PYTHONPATH}
exec "$python" -m gpu_checks "$@"
