#!/usr/bin/env bash
# Ends the Slurm of start.sh and its jobs: bash tests/slurm/stop.sh FOLDER
set -uo pipefail
folder=$(cd "$1" && pwd)
export SLURM_CONF=$folder/slurm.conf
jobs=$(timeout 10 squeue --noheader --format=%A 2> /dev/null)
if [ -n "$jobs" ]; then
    # shellcheck disable=SC2086
    timeout 10 scancel --signal=KILL --full $jobs 2> /dev/null
    timeout 10 scancel $jobs 2> /dev/null
    sleep 1
fi
for name in slurmd slurmctld munged; do
    pid=$(cat "$folder/$name.pid" 2> /dev/null) || continue
    kill "$pid" 2> /dev/null
    for _ in $(seq 50); do
        kill -0 "$pid" 2> /dev/null || break
        sleep 0.1
    done
    kill -9 "$pid" 2> /dev/null
done
exit 0
