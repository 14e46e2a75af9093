#!/usr/bin/env bash
# Train with N GPUs of this machine, one process each:
#
#   ./train_multi_gpu_ring.sh 3 --data_path=folds/fold_0 --model=resnet34 --batch_size=16 --epochs=90
#
# Flags are those of tgs_train.py; --batch_size is per process. Paths are relative to where you are.
# Interpreter: $PYTHON, else .venv/bin/python beside this script, else python3.
set -euo pipefail

fail() { printf '%s\n' "$*" >&2 && exit 2; }

[[ ${1:-} =~ ^[1-9][0-9]*$ ]] ||
    fail "usage: train_multi_gpu_ring.sh N [any flag of tgs_train.py], N the number of processes"
N=$1
shift

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$HERE/.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python3
fi
# The environment's own mpirun, which Horovod was built for, comes before the machine's.
BIN=$("$PYTHON" -c 'import os, sys; print(os.path.dirname(os.path.abspath(sys.executable)))' 2>/dev/null) ||
    fail "error: no Python interpreter '$PYTHON': run 'make env', or set PYTHON"
export PATH="$BIN:$PATH"
command -v mpirun >/dev/null || fail "error: no mpirun in $BIN nor on PATH: run ./install_horovod.sh"

export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" # mpirun complains when it shall pass on what is not set
# Open MPI counts CPU cores and refuses N above their number; the work is on the GPUs.
export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"
if [ "$(id -u)" = 0 ]; then # in a container; mpirun refuses to run as root unless both say so
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

exec mpirun -np "$N" -bind-to none -map-by slot -x NCCL_DEBUG=INFO -x LD_LIBRARY_PATH -x PATH \
    -mca pml ob1 -mca btl ^openib "$PYTHON" "$HERE/tgs_train_ring.py" --hvd=True "$@"
