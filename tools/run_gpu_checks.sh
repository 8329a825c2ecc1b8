#!/usr/bin/env bash
# Measures this project on a machine with a GPU, as much as fits into a number of minutes:
#
#   bash tools/run_gpu_checks.sh OUT MINUTES [--steps STEP ...] [--again] [--work-dir DIR]
#   bash tools/run_gpu_checks.sh OUT MINUTES --try-on-cpu      two iterations of everything, no GPU
#
# Most useful first: the tests marked `gpu`; the training step at 20 x 256 px, compared with SlowOnly
# and SlowFast, in float32 and bfloat16; the loader's rate compared with the step's; four rows of
# jhmdb_to_foggy from pretrained weights, seed 0. Every step has a time limit and is written to
# OUT/steps when it ends. OUT/<card>_<date>.json holds all steps, OUT/summary.json one line for each.
# The same command again repeats only the steps that are not ok, and continues a stopped training.
# Exit status: 0; 1 if a step failed or was stopped; 2 without CUDA or with wrong arguments. If data
# or weights are missing, the step is skipped and says what is missing.
#
# To a machine without network, copy:
# - wheels of missing packages, for its Python (`pip download --only-binary=:all: --python-version
#   ...` elsewhere; mmcv-lite, mmdet, mmaction2, mmengine, av and what they import; nothing is
#   compiled). There: `pip install --no-index --no-deps --target .site *.whl`; this script finds
#   .site;
# - data/jhmdb/foggy.json and the clips of its ten classes, in data/jhmdb/videos as released or in
#   data/jhmdb_packed/<class>/<clip>.mp4, re-encoded with the same frames in a sixth of the size
#   (H.264; say so with the numbers, because the pixels are not the originals);
# - data/weights/*.pth (tools/get_weights.py). They take a third of the size with convolutions stored
#   in 16 bits and without the layers that no config reads (layer4, fc, logits); say so as well. Do
#   not store batch norm in 16 bits: a variance of ResNet-50 is too large for them;
# - the commit, if git is not copied: MMSTAL_DA_COMMIT=$(git rev-parse HEAD).
# Only OUT/*.json must be copied back: checkpoints and logs stay in the work dir.
#
# PYTHON chooses the interpreter (default: python, else python3, of the active environment).
set -euo pipefail
started_in=$PWD
cd "$(dirname "$0")/.."
# OUT is relative to the folder in which the script was called
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
