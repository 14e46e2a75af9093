"""What a user's environment variables, home and current folder may decide, and what the program decides itself."""

import logging
import os
import sys
from pathlib import Path

from common.errors import InputError

# Libraries read variables that begin so when they are loaded, and compute or draw something else, or fail. They are
# taken away, but for those that say where something lies or how much of the machine may be used.
OVERRULED = (
    "AUTOGRAPH_", "DNNL_", "GIT_", "KERAS_", "MATPLOTLIBRC", "MLIR_", "MPL", "NPY_", "NUMPY_", "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_", "OPENCV_", "PANDAS_", "PROTOCOL_BUFFERS_", "SCIPY_", "SKLEARN_", "TF2_", "TF_", "TQDM_", "XLA_",
)  # fmt: skip
HONOURED = (
    "KERAS_HOME", "MPLCONFIGDIR", "OPENCV_FOR_THREADS_NUM", "TF_CUDNN_WORKSPACE_LIMIT_IN_MB", "TF_DETERMINISTIC_OPS",
    "TF_GPU_ALLOCATOR", "TF_GPU_HOST_MEM_LIMIT_IN_MB", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS",
)  # fmt: skip
CUDA_FOLDER = "--xla_gpu_cuda_data_dir="  # all that is heeded of XLA_FLAGS
# What Python itself reads, once, when it starts.
AT_START = ("PYTHONDEVMODE", "PYTHONIOENCODING", "PYTHONOPTIMIZE", "PYTHONWARNINGS")
# Honoured, but only if all ranks of a ring have the same: bits would differ, or ranks wait for each other for ever.
SAME_ON_ALL_RANKS = (
    "HOROVOD_CACHE_CAPACITY", "HOROVOD_HIERARCHICAL_ALLGATHER", "HOROVOD_HIERARCHICAL_ALLREDUCE",
    "HOROVOD_TORUS_ALLREDUCE", "TF_DETERMINISTIC_OPS",
)  # fmt: skip
PACKAGES = (
    "absl", "cv2", "filelock", "google", "h5py", "horovod", "huggingface_hub", "keras", "matplotlib", "numpy", "onnx",
    "pandas", "safetensors", "scipy", "segyio", "sklearn", "tensorboard", "tensorflow", "tf2onnx", "tqdm", "yaml",
)  # fmt: skip


def settle() -> None:
    """Make this process the same whatever its user's settings are; to be called before libraries are loaded.

    Raises:
        InputError: the current folder is gone, or a file in it would be imported in the place of a package.
    """
    _restart_python()
    _check_folder()
    for name in [name for name in os.environ if name.startswith(OVERRULED) and name not in HONOURED]:
        value = os.environ.pop(name)
        if name == "XLA_FLAGS" and (kept := [flag for flag in value.split() if flag.startswith(CUDA_FOLDER)]):
            os.environ[name] = " ".join(kept)
    os.environ["MATPLOTLIBRC"] = os.devnull
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of a matplotlibrc in the current folder, read in any case


def _restart_python() -> None:
    """Start this very command anew, as this process, where Python was told to be another: it is told at its start only.

    It shall neither leave out docstrings nor make errors of warnings, and names of files are UTF-8.
    """
    wrong = [name for name in AT_START if os.environ.get(name)]
    coded = sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1"
    young = sys.executable and not sys.flags.ignore_environment and "numpy" not in sys.modules
    if young and (wrong or coded):
        environment = {name: value for name, value in os.environ.items() if name not in wrong}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment | {"PYTHONUTF8": "1"})


def _check_folder() -> None:
    """Raise InputError where packages cannot be found from here, or other files would be taken for them."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise InputError("the current folder is gone; change to one that exists") from None
    for folder in {sys.path[0] or here, *(here for place in sys.path if place in ("", ".", here))}:
        for path in Path(folder).iterdir():
            name = path.name.removesuffix(".py")
            if name not in PACKAGES and name not in sys.stdlib_module_names:
                continue
            if (path.is_file() and path.suffix == ".py") or (path / "__init__.py").is_file():
                raise InputError(f"{path} would be loaded in the place of Python's {name}; give it another name")


def shared_settings() -> dict[str, str | None]:
    """List what the environment says that all ranks of a ring must have alike."""
    return {f"variable {name}": os.environ.get(name) for name in SAME_ON_ALL_RANKS}
