#!/usr/bin/env bash
# From a fresh clone to an adapted detector: sets up, makes the synthetic pair of domains, trains
# source-only and adapted, scores both on the target, renders a target video, plots the curves.
#
#   bash tools/quickstart.sh
#
# A second run goes on where the first stopped; remove work_dirs/quickstart to begin anew.
# MMSTAL_DA_ENV and the other variables of tools/setup_env.sh apply.

cd "$(dirname "$0")/.." || exit 1
source tools/setup_env.sh || exit 1
set -euo pipefail

data=data/synthetic
out=work_dirs/quickstart
mkdir -p "$out"
amp=()
if grep -q avx512_bf16 /proc/cpuinfo 2>/dev/null; then
    amp=(--amp) # bfloat16 in the processor: half the time
fi

say() { printf '\n[quickstart] %s\n' "$*"; }

# run NAME LOG COMMAND...: the whole output goes to LOG, iterations are shown
run() {
    local name=$1 log=$2 status=0
    shift 2
    "$@" 2>&1 | tee "$log" | awk -v name="$name" '
        /Iter\((train|test)\)/ {
            match($0, /\[ *[0-9]+\/[0-9]+\]/); line = substr($0, RSTART, RLENGTH)
            if (match($0, /eta: [0-9:]+/)) line = line "  " substr($0, RSTART, RLENGTH)
            if (match($0, / loss: [0-9.]+/)) line = line " " substr($0, RSTART, RLENGTH)
            print "  " name " " line; fflush()
        }' || status=$?
    if [ "$status" != 0 ]; then
        tail -n 25 "$log" >&2
        printf '[quickstart] FAILED: %s; the whole log is %s\n' "$name" "$log" >&2
        exit 1
    fi
}

say "1/4 the synthetic pair: labelled source, unlabelled target, in $data"
python tools/data/make_synthetic.py --out "$data" --workers 2

step=2
for row in source_only full; do
    say "$step/4 ${row//_/-}: training, then scoring on the target's test videos"
    run "train" "$out/$row.train.log" \
        python tools/train.py "configs/synthetic/$row.py" --work-dir "$out/$row" --seed 0 \
        --resume --no-validate "${amp[@]}"
    run "test " "$out/$row.test.log" \
        python tools/test.py "configs/synthetic/$row.py" "$(cat "$out/$row/last_checkpoint")" \
        --work-dir "$out/$row/test" --cfg-options "test_evaluator.dump=$out/$row/detections.npz"
    step=$((step + 1))
done

say "4/4 results on the target"
python tools/analysis_tools/compare_runs.py "$data/target.json" \
    "source-only=$out/source_only/detections.npz" "adapted=$out/full/detections.npz" \
    --out "$out/results.json"
printf '\nrendered target videos (dashed: ground truth, solid: adapted detector):\n'
python tools/analysis_tools/render_videos.py "$data/target.json" --data-prefix "$data" \
    --split test --dets "$out/full/detections.npz" --num 2 --out "$out/videos" 2>"$out/render.log"
printf 'curves:\n'
python tools/analysis_tools/plot_curves.py "$out/source_only" "$out/full" \
    --names source-only adapted --out "$out/curves.png"
