#!/usr/bin/env bash
# From a fresh clone to an adapted detector: sets up, makes the synthetic pair of domains, trains
# source-only and adapted at the same time, scores both on the target, renders a target video, plots
# the curves.
#
#   bash tools/quickstart.sh
#
# A second run continues where the first stopped; remove work_dirs/quickstart to begin again.
# MMSTAL_DA_ENV and the other variables of tools/setup_env.sh apply.

cd "$(dirname "$0")/.." || exit 1
source tools/setup_env.sh || exit 1
set -euo pipefail

data=data/synthetic
out=work_dirs/quickstart
mkdir -p "$out"
cores=$(env -u OMP_NUM_THREADS nproc) # with OMP_NUM_THREADS nproc would count threads
# two trainings at once: half of the cores each
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(((cores + 1) / 2))}
export MMSTAL_DA_FRAME_CACHE=${MMSTAL_DA_FRAME_CACHE-300} # MiB: the pair is decoded once

say() { printf '\n[quickstart] %s\n' "$*"; }

# show NAME: prints a short line for every 50 iterations in a tool's log
show() {
    local line found
    while IFS= read -r line; do
        if [[ $line =~ Iter\((train|test)\)\ +\[\ *([0-9]+)/([0-9]+)\].*eta:\ ([0-9:]+) ]]; then
            found="${BASH_REMATCH[1]} ${BASH_REMATCH[2]} of ${BASH_REMATCH[3]}, eta ${BASH_REMATCH[4]}"
            [[ $line =~ \ (loss:\ [0-9.]+) ]] && found="$found, ${BASH_REMATCH[1]}"
            printf '  %-11s  %s\n' "$1" "$found"
        fi
    done
}

# run NAME LOG COMMAND...: the whole output goes to LOG
run() {
    local name=$1 log=$2
    shift 2
    if ! "$@" 2>&1 | tee "$log" | show "$name"; then
        tail -n 25 "$log" >&2
        printf '[quickstart] FAILED: %s; the whole log is %s\n' "$name" "$log" >&2
        return 1
    fi
}

# train_and_test NAME ROW THREADS: THREADS are for the test; the training has OMP_NUM_THREADS
train_and_test() {
    local name=$1 row=$2 threads=$3
    run "$name" "$out/$row.train.log" \
        python tools/train.py "configs/synthetic/$row.py" --work-dir "$out/$row" --seed 0 \
        --resume --no-validate --amp &&
        OMP_NUM_THREADS=$threads run "$name" "$out/$row.test.log" \
            python tools/test.py "configs/synthetic/$row.py" "$(cat "$out/$row/last_checkpoint")" \
            --work-dir "$out/$row/test" --cfg-options "test_evaluator.dump=$out/$row/detections.npz"
}

say "1/3 the synthetic pair: labelled source, unlabelled target, in $data"
python tools/data/make_synthetic.py --out "$data" --workers "$cores"

say '2/3 training on the source alone and with adaptation, then scoring on the target'
train_and_test source-only source_only "$OMP_NUM_THREADS" &
source_only=$!
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
# the adapted training takes twice as long, so the other core is free for its test
train_and_test adapted full "$cores"
wait "$source_only"

say '3/3 results on the target'
python tools/analysis_tools/compare_runs.py "$data/target.json" \
    "source-only=$out/source_only/detections.npz" "adapted=$out/full/detections.npz" \
    --out "$out/results.json" --figure "$out/comparison.png" --data-prefix "$data"
printf '\nrendered target videos (dashed: ground truth, solid: adapted detector):\n'
python tools/analysis_tools/render_videos.py "$data/target.json" --data-prefix "$data" \
    --split test --dets "$out/full/detections.npz" --num 2 --out "$out/videos" 2>"$out/render.log"
printf 'curves:\n'
python tools/analysis_tools/plot_curves.py "$out/source_only" "$out/full" \
    --names source-only adapted --out "$out/curves.png"
