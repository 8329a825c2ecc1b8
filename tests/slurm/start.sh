#!/usr/bin/env bash
# Starts a Slurm of one node on this machine, without systemd: bash tests/slurm/start.sh FOLDER
# Needs root and Debian's packages slurm-wlm and munge. It prints the lines that a shell has to
# source; stop.sh ends it. Configuration, keys, logs and process ids stay in FOLDER.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$folder"
mkdir -p munge state spool
chmod 755 . munge

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }
host=$(uname -n | cut -d. -f1)
cat > slurm.conf <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
KillWait=20
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(env -u OMP_NUM_THREADS nproc) State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
touch cgroup.conf

(umask 077 && head -c 1024 /dev/urandom > munge/key)
munged --force --socket="$folder/munge/socket" --key-file="$folder/munge/key" \
    --log-file="$folder/munge/log" --pid-file="$folder/munged.pid" \
    --seed-file="$folder/munge/seed" 2> munged.err || { cat munged.err >&2; exit 1; }
export SLURM_CONF=$folder/slurm.conf
slurmctld
slurmd -N "$host"
for _ in $(seq 100); do
    if [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ]; then
        echo "export SLURM_CONF=$SLURM_CONF"
        exit 0
    fi
    sleep 0.2
done
tail -n 20 slurmctld.log slurmd.log munge/log >&2
bash "$(dirname "${BASH_SOURCE[0]}")/stop.sh" "$folder"
echo 'Slurm did not start' >&2
exit 1
