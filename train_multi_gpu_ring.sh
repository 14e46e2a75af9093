#!/usr/bin/env bash
# Train with N processes, one a GPU, on this machine or on several:
#
#   ./train_multi_gpu_ring.sh 3 --data_path=folds/fold_0 --model=resnet34 --batch_size=16 --epochs=90
#   ./train_multi_gpu_ring.sh --hostfile hosts 8 --data_path=folds/fold_0     8 on the machines that the file names
#   ./train_multi_gpu_ring.sh --elastic 2:4 --data_path=folds/fold_0          2 to 4, which may die and come
#
# Flags are those of tgs_train.py; --batch_size is per process. Paths are relative to where you are.
# Interpreter: $PYTHON, else .venv/bin/python beside this script, else python3.
# --verbose shows what Open MPI, NCCL and TensorFlow have to say; docs/ring.md says what to set for which network.
#
# A host file has a line "name slots=4" for each machine. $NETWORK_INTERFACES (eth0,ib0) names the networks that join
# the machines, if not all do. Machines need the same paths, the same environment, and ssh without a password.
#
# An elastic ring goes on without a process that has died and takes in new ones at the end of an epoch. On this
# machine it starts one anew a while after it has died. For other machines let $HOST_DISCOVERY be a command that
# prints a line "host:processes" for each that is there at the moment; it is asked every second. Without
# $NETWORK_INTERFACES Horovod looks for the networks, which takes two hosts at the start.
# Exit codes: those of tgs_train.py; 1 when the ring broke. A signal ends the whole ring, also when the terminal or the
# ssh connection closes; to let it go on without them start it with nohup.
set -euo pipefail

fail() { printf '%s\n' "$*" >&2 && exit 2; }
usage() { fail "usage: train_multi_gpu_ring.sh [--hostfile FILE] N | --elastic MIN:MAX, then any flag of tgs_train.py"; }

MIN='' MAX='' HOSTFILE=''
if [ "${1:-}" = --elastic ]; then
    [[ ${2:-} =~ ^([1-9][0-9]{0,3}):([1-9][0-9]{0,3})$ ]] || usage
    MIN=${BASH_REMATCH[1]} MAX=${BASH_REMATCH[2]}
    ((MIN <= MAX)) || fail "error: --elastic $2: the first number is the least, the second the most processes"
    shift 2
else
    if [ "${1:-}" = --hostfile ]; then
        HOSTFILE=${2:-} HOSTFILE=${HOSTFILE/#\~\//$HOME/}
        [ -f "$HOSTFILE" ] || fail "error: --hostfile '$HOSTFILE': no such file; its lines are 'name slots=4'"
        shift 2
    fi
    [[ ${1:-} =~ ^[1-9][0-9]{0,3}$ ]] || usage
    N=$1
    shift
fi

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$HERE/.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python3
fi
[ -z "${HOME:-}" ] || PYTHON=${PYTHON/#\~\//$HOME/} # as in `env PYTHON=~/venv/bin/python`, where no shell expands it
# The environment's own mpirun, which Horovod was built for, comes before the machine's.
BIN=$("$PYTHON" -c 'import os, sys; print(os.path.dirname(os.path.abspath(sys.executable)))' 2>/dev/null) ||
    fail "error: no Python interpreter '$PYTHON': run 'make env', or set PYTHON"
export PATH="$BIN:$PATH"
LAUNCHER=${MIN:+horovodrun}
LAUNCHER=${LAUNCHER:-mpirun}
LAUNCHER_PATH=$(command -v "$LAUNCHER") || fail "error: no $LAUNCHER in $BIN nor on PATH: run ./install_horovod.sh"
TRAIN=("$PYTHON" "$HERE/${TGS_RING_SCRIPT:-tgs_train_ring.py}" --hvd=True "$@")
VERBOSE=''
for flag in "$@"; do
    case ${flag,,} in
        -h | --help) exec "${TRAIN[@]}" ;;
        --verbose | --verbose=true | --verbose=1 | --verbose=yes) VERBOSE=1 ;;
        --verbose=*) VERBOSE='' ;;
    esac
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
    [ -n "$VERBOSE" ] || export HOROVOD_LOG_LEVEL="${HOROVOD_LOG_LEVEL:-fatal}" # a rank that dies is no error here
    LINE=(horovodrun --gloo -np "$MIN" --min-np "$MIN" --max-np "$MAX" --gloo-timeout-seconds 30
        ${NETWORK_INTERFACES:+--network-interfaces "$NETWORK_INTERFACES"}
        --host-discovery-script "$HOST_DISCOVERY" --blacklist-cooldown-range 5 60 "${TRAIN[@]}")
else
    if [ "$(id -u)" = 0 ]; then # in a container; mpirun refuses to run as root unless both say so
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    if [ -n "$HOSTFILE" ]; then # called by its path, mpirun finds its daemon on the other machines under the same one
        LINE=("$LAUNCHER_PATH" -np "$N" -hostfile "$HOSTFILE")
    else
        LINE=(mpirun -np "$N")
        # Open MPI counts CPU cores and refuses N above their number; the work is on the GPUs.
        export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"
        GPUS=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ') || true
        if ((GPUS && N > GPUS)) && [ -z "${SLURM_JOB_ID:-}" ]; then
            echo "warning: $N processes for this machine's $GPUS GPU(s): they share, which is slower" >&2
        fi
    fi
    # A process that waits for the others lets go of its core: on busy cores an allreduce is then five times as fast.
    export OMPI_MCA_mpi_yield_when_idle="${OMPI_MCA_mpi_yield_when_idle:-1}"
    LINE+=(-bind-to none -map-by slot)
    if [ -n "${NETWORK_INTERFACES:-}" ]; then
        LINE+=(-mca btl_tcp_if_include "$NETWORK_INTERFACES" -mca oob_tcp_if_include "$NETWORK_INTERFACES")
        export NCCL_SOCKET_IFNAME="${NCCL_SOCKET_IFNAME:-=$NETWORK_INTERFACES}" # "=": these names, not what begins so
    fi
    export NCCL_DEBUG="${NCCL_DEBUG:-$([ -n "$VERBOSE" ] && echo INFO || echo WARN)}"
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" # mpirun complains when it shall pass on what is not set
    for name in "${!NCCL_@}" "${!HOROVOD_@}" "${!UCX_@}" "${!FI_@}" LD_LIBRARY_PATH PATH; do
        LINE+=(-x "$name") # to the other machines
    done
    LINE+=(-mca pml "${OMPI_MCA_pml:-ob1}" -mca btl "${OMPI_MCA_btl:-^openib}" "${TRAIN[@]}")
fi

# What TensorFlow writes when horovodrun loads it, before its log level counts.
NOISE='^(WARNING: All log messages before absl::InitializeLog|I0000 00:00:|To enable the following instructions:)'
# How mpirun's report begins, between two such rules, of a process that ended with an exit code.
RULE=--------------------------------------------------------------------------
REPORT='^(Primary job  terminated normally|mpirun detected that one or more processes exited with non-zero status)'

# What ends a process from outside: a terminal or connection that closes, keys, kill, and what batch systems send.
SIGNALS=(HUP INT QUIT TERM USR1 USR2 ALRM XCPU)

quieten() { # passes on stderr less NOISE, and less mpirun's REPORT once a rank has said why; a signal's always stays
    local line rule='' report='' reports='' said=''
    trap '' "${SIGNALS[@]}"
    while IFS= read -r line || [ -n "$line" ]; do
        if [ -n "$report" ]; then
            reports+=$line$'\n'
            [ "$line" != "$RULE" ] || report=''
        elif [ -n "$rule" ] && [[ $line =~ $REPORT ]]; then
            reports+=$RULE$'\n'$line$'\n' rule='' report=1
        else
            [ -z "$rule" ] || printf '%s\n' "$RULE"
            rule=''
            case $line in
                "$RULE") rule=1 ;; # printed with the line after it
                *) [[ $line =~ $NOISE ]] || printf '%s\n' "$line" ;;
            esac
            [[ $line != error:* ]] || said=1
        fi
    done
    [ -z "$rule" ] || printf '%s\n' "$RULE"
    [ -n "$said" ] || printf %s "$reports"
} >&2
FILTER=''
if [ -n "$VERBOSE" ]; then
    exec 3>&2
else
    exec 3> >(quieten)
    FILTER=$!
fi

# mpirun ends with 1 when it was interrupted; a shell expects 128 + the signal's number. Job control gives the launcher
# a process group of its own, and does not make it deaf to Ctrl-C as background jobs are without.
set -m
JOB='' SIGNAL=0
end_ring() { # on a signal: mpirun and horovodrun end their ranks on INT and TERM, but die alone of every other
    SIGNAL=$(kill -l "$1")
    [ "$1" = INT ] || set -- TERM
    [ -z "$JOB" ] || kill -"$1" "$JOB" 2>/dev/null || true
}
for name in "${SIGNALS[@]}"; do # bash leaves ignored what was ignored before it: HUP after nohup
    trap "end_ring $name" "$name"
done
"${LINE[@]}" </dev/null 2>&3 3>&- &
JOB=$!
((SIGNAL == 0)) || kill -TERM "$JOB" # came before there was a job
# No trap sees SIGKILL. This job does: however this shell ends, the pipe to it closes.
coproc WATCH {
    trap '' "${SIGNALS[@]}"
    read -r _ || kill -TERM "$JOB"
} 3>&- 2>/dev/null
DONE=${WATCH[1]}
CODE=0
while kill -0 "$JOB" 2>/dev/null; do # a signal ends `wait`, not yet the job
    CODE=0
    # -f: of a job that is stopped for a while, wait would return again and again. Bash would say what ended it.
    wait -f "$JOB" 2>/dev/null || CODE=$?
done
echo >&"$DONE"
exec 3>&-
[ -z "$FILTER" ] || wait "$FILTER" || true # for its last lines
((SIGNAL)) && exit $((128 + SIGNAL))
exit "$CODE"
