#!/usr/bin/env bash
# Train on several GPUs of one or more machines, or in several processes on CPUs:
#   bash tools/dist_train.sh CONFIG PROCESSES [flags of tools/train.py]
# NNODES, NODE_RANK, MASTER_ADDR and PORT choose the machines (default: this one alone).
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
config=$1
processes=$2
shift 2
exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
