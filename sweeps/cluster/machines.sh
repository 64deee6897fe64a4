#!/bin/bash
# A few machines that reach each other by ssh: sweeps/cluster/machines.sh first second third -- table1
# The clone and .venv are at the same path on all of them, with the same Python; the store is a folder that all of them mount.
# The first one needs the images (PRESYN_DATA, or a way to the internet); machines with GPUs, a driver for torch's CUDA.
set -euo pipefail

hosts=()
while [[ $# -gt 0 && $1 != -- ]]; do
    hosts+=("$1")
    shift
done
if [[ ${#hosts[@]} -eq 0 || ${1:-} != -- ]]; then
    echo "usage: $0 HOST [HOST ...] -- WORDS FOR PRESYN" >&2
    exit 2
fi
shift

here=$(pwd)
store=${PRESYN_STORE:-$here/.presyn}
token=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n') # Ray listens on all interfaces; this keeps others out
head=${hosts[0]}

on() { # run words on a host, with the token in the environment and not in the list of processes
    local host=$1
    shift
    # shellcheck disable=SC2029  # the words are meant to be put together here
    ssh "$host" "cd '$here' && read -r RAY_AUTH_TOKEN && export RAY_AUTH_TOKEN RAY_AUTH_MODE=token && $*" <<<"$token"
}

stop() {
    for host in "${hosts[@]}"; do
        on "$host" .venv/bin/ray stop --grace-period 10 >/dev/null 2>&1 || true
    done
}
trap stop EXIT

on "$head" .venv/bin/ray start --head --port 6379 --disable-usage-stats >/dev/null
for host in "${hosts[@]:1}"; do
    on "$host" .venv/bin/ray start --address "$head:6379" --disable-usage-stats >/dev/null
done
settings=""
for name in PRESYN_DATA PRESYN_CHECKPOINTS PRESYN_DEVICE MLFLOW_TRACKING_URI MLFLOW_EXPERIMENT_NAME; do
    [[ -z ${!name:-} ]] || settings+="$name=$(printf '%q' "${!name}") "
done
on "$head" "$settings PRESYN_STORE='$store' RAY_ADDRESS=auto .venv/bin/presyn $(printf '%q ' "$@")"
