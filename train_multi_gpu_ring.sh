#!/usr/bin/env bash
# Train with N GPUs of this machine, one process each:
#
#   ./train_multi_gpu_ring.sh 3 --data_path=folds/fold_0 --model=resnet34 --batch_size=16 --epochs=90
#   ./train_multi_gpu_ring.sh --elastic 2:4 --data_path=folds/fold_0       2 to 4 processes, which may die and come
#
# Flags are those of tgs_train.py; --batch_size is per process. Paths are relative to where you are.
# Interpreter: $PYTHON, else .venv/bin/python beside this script, else python3.
#
# An elastic ring goes on without a process that has died and takes in new ones at the end of an epoch. On this
# machine it starts one anew a while after it has died. For other machines let $HOST_DISCOVERY be a command that
# prints a line "host:processes" for each that is there at the moment; it is asked every second. $NETWORK_INTERFACES
# (eth0,ib0) names the networks that join them; without it Horovod looks for them, which takes two hosts at the start.
# Exit codes: those of tgs_train.py; 1 when the ring broke.
set -euo pipefail

fail() { printf '%s\n' "$*" >&2 && exit 2; }
usage() { fail "usage: train_multi_gpu_ring.sh N | --elastic MIN:MAX, then any flag of tgs_train.py"; }

MIN='' MAX=''
if [ "${1:-}" = --elastic ]; then
    [[ ${2:-} =~ ^([1-9][0-9]{0,3}):([1-9][0-9]{0,3})$ ]] || usage
    MIN=${BASH_REMATCH[1]} MAX=${BASH_REMATCH[2]}
    ((MIN <= MAX)) || fail "error: --elastic $2: the first number is the least, the second the most processes"
    shift 2
else
    [[ ${1:-} =~ ^[1-9][0-9]{0,3}$ ]] || usage
    N=$1
    shift
fi

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$HERE/.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python3
fi
# The environment's own mpirun, which Horovod was built for, comes before the machine's.
BIN=$("$PYTHON" -c 'import os, sys; print(os.path.dirname(os.path.abspath(sys.executable)))' 2>/dev/null) ||
    fail "error: no Python interpreter '$PYTHON': run 'make env', or set PYTHON"
export PATH="$BIN:$PATH"
LAUNCHER=${MIN:+horovodrun}
LAUNCHER=${LAUNCHER:-mpirun}
command -v "$LAUNCHER" >/dev/null || fail "error: no $LAUNCHER in $BIN nor on PATH: run ./install_horovod.sh"
TRAIN=("$PYTHON" "$HERE/tgs_train_ring.py" --hvd=True "$@")
for flag in "$@"; do
    case $flag in -h | --help) exec "${TRAIN[@]}" ;; esac
done

if [ -n "$MIN" ]; then
    if [ -z "${HOST_DISCOVERY:-}" ]; then
        # Horovod gives up a host when one of its processes has died. So each process gets a host name of its own, all
        # of them ways to write 127.0.0.1: the last number in octal, with ever more zeros before it.
        HOST_DISCOVERY='printf %s:1\\n'
        for ((k = 1; k <= MAX; k++)); do
            HOST_DISCOVERY+=" 127.0.0.$(printf '%0*d' "$k" 1)"
        done
        NETWORK_INTERFACES=lo
    fi
    export HOROVOD_LOG_LEVEL="${HOROVOD_LOG_LEVEL:-fatal}" # a rank that dies is no error here
    LINE=(horovodrun --gloo -np "$MIN" --min-np "$MIN" --max-np "$MAX" --gloo-timeout-seconds 30
        ${NETWORK_INTERFACES:+--network-interfaces "$NETWORK_INTERFACES"}
        --host-discovery-script "$HOST_DISCOVERY" --blacklist-cooldown-range 5 60 "${TRAIN[@]}")
else
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" # mpirun complains when it shall pass on what is not set
    # Open MPI counts CPU cores and refuses N above their number; the work is on the GPUs.
    export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"
    if [ "$(id -u)" = 0 ]; then # in a container; mpirun refuses to run as root unless both say so
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    LINE=(mpirun -np "$N" -bind-to none -map-by slot -x NCCL_DEBUG=INFO -x LD_LIBRARY_PATH -x PATH
        -mca pml ob1 -mca btl ^openib "${TRAIN[@]}")
fi

# What TensorFlow writes when horovodrun loads it, before its log level counts.
NOISE='^(WARNING: All log messages before absl::InitializeLog|I0000 00:00:|To enable the following instructions:)'

# mpirun ends with 1 when it was interrupted; a shell expects 128 + the signal's number. Job control gives the launcher
# a process group of its own, and does not make it deaf to Ctrl-C as background jobs are without.
set -m
"${LINE[@]}" </dev/null 2> >(grep --line-buffered -vE "$NOISE" >&2) &
JOB=$!
SIGNAL=0
trap 'SIGNAL=2; kill -INT "$JOB" 2>/dev/null' INT
trap 'SIGNAL=15; kill -TERM "$JOB" 2>/dev/null' TERM
CODE=0
while kill -0 "$JOB" 2>/dev/null; do # a signal ends `wait`, not yet the job
    CODE=0
    wait "$JOB" || CODE=$?
done
((SIGNAL)) && exit $((128 + SIGNAL))
exit "$CODE"
