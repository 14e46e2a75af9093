"""The shell side: scripts, Makefile and requirements, with stand-ins for python and the compiler.

The launchers of rings have a module of their own, test_launchers.py.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.helpers.shell import assert_one_error_line, program, run, tools

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ["install_horovod.sh", "train_multi_gpu_ring.sh", "train_ring.sbatch", ".ci/run"]
REQUIREMENTS = ["requirements.txt", "requirements-dev.txt"]
PEER = "benchmarks/requirements-peer.txt"

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


# ---- scripts -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("script", SCRIPTS)
def test_script_parses_and_is_executable(script):
    assert run("bash", "-n", ROOT / script).returncode == 0
    assert os.access(ROOT / script, os.X_OK)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    result = run("shellcheck", *SCRIPTS)
    assert result.returncode == 0, result.stdout


# ---- install_horovod.sh ------------------------------------------------------------------------------------
INSTALL = ROOT / "install_horovod.sh"


@pytest.mark.parametrize(("present", "missing"), [((), "g++"), (("g++",), "make")])
def test_install_without_a_compiler_or_make(tmp_path, present, missing):
    if any(shutil.which(p) is None for p in present):
        pytest.skip("g++ is not installed")
    path = tools(tmp_path / "tools", "bash", "dirname", "env", *present)
    python = program(tmp_path / "bin" / "python", f'printf "%s\\n" "{tmp_path}/bin" "{tmp_path}" "{tmp_path}/lib"')
    result = run(INSTALL, PYTHON=python, PATH=path, HVD_FORCE=1)
    assert_one_error_line(result, f"error: {missing} not found", "apt-get install")


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"PYTHON": "/nowhere/python"}, ["/nowhere/python", "make env"]),
        ({"PYTHON": "false"}, ["false does not run"]),
        ({"PYTHON": sys.executable, "HVD_MPI": "mpich"}, ["HVD_MPI=mpich", "auto, system, pypi or none"]),
    ],
)
def test_install_refuses_wrong_settings(env, words):
    assert_one_error_line(run(INSTALL, **env), *words)


# ---- Makefile ----------------------------------------------------------------------------------------------
@needs_make
def test_make_lists_its_targets():
    result = run("make")
    assert result.returncode == 0
    listed = [line.split()[1] for line in result.stdout.splitlines()]
    assert " ".join(listed) == "help env imagenet browser horovod demo laptop test test-all bench lint docs clean"


@pytest.fixture
def checkout(tmp_path):
    """The Makefile in a folder of its own, whose environment's python writes its arguments to `calls`."""
    for name in ["Makefile", "requirements-imagenet.txt", *REQUIREMENTS]:
        shutil.copy(ROOT / name, tmp_path)
    program(tmp_path / ".venv/bin/python", 'if [ "$1" != -c ]; then echo "$@" >>calls; fi')
    program(tmp_path / "benchmarks/.venv/bin/python", 'if [ "$1" != -c ]; then echo "peer $@" >>calls; fi')
    shutil.copy(ROOT / PEER, tmp_path / PEER)
    program(tmp_path / "install_horovod.sh", 'echo "horovod ${HVD_GPU:-cpu} $PYTHON" >>calls')
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission" / "a.csv").touch()
    (tmp_path / "data" / "tgs").mkdir(parents=True)
    (tmp_path / "data" / "tgs" / ".gitkeep").touch()
    return tmp_path


def make(checkout: Path, *arguments: str, **env) -> list[str]:
    """Run make; what the environment's python was called with, line by line."""
    (checkout / "calls").unlink(missing_ok=True)
    result = run("make", *arguments, cwd=checkout, **env)
    assert result.returncode == 0, result.stderr
    calls = checkout / "calls"
    return calls.read_text().splitlines() if calls.exists() else []


@needs_make
def test_demo_steps(checkout):
    flags = "--model=tiny --epochs=2 --target_size=32"
    assert make(checkout, "demo", "DEMO_EPOCHS=2", "DEMO_SIZE=32") == [
        "-m pip install -q --disable-pip-version-check -r requirements.txt",
        "-m data.sample --path=data/tgs",
        "tgs_preprocess.py --fold=5",
        f"tgs_train.py --data_path=folds/fold_0 {flags}",
        f"tgs_train.py --data_path=folds/fold_1 {flags}",
        "tgs_predict.py --oof=True --model=tiny --allow_missing=True --report=True",
        "tgs_predict.py --use_folds=True --model=tiny --allow_missing=True",
        "tgs_predict.py --validate=submission/a.csv",
    ]


@needs_make
def test_demo_leaves_data_that_is_there_alone(checkout):
    (checkout / "data" / "tgs" / "train.zip").touch()
    assert not any("data.sample" in call for call in make(checkout, "demo"))


@needs_make
def test_environment_is_installed_again_only_when_requirements_change(checkout):
    install = "-m pip install -q --disable-pip-version-check -r requirements.txt"
    assert make(checkout, "env") == [install]
    (checkout / "requirements.txt").touch()
    assert make(checkout, "env") == []
    assert make(checkout, "env", "GPU=1") == [f"{install} tensorflow[and-cuda]"]
    (checkout / "requirements.txt").write_text("numpy<3\n")
    assert make(checkout, "env") == [install]


@needs_make
def test_bench_installs_the_peer_once_in_an_environment_of_its_own(checkout):
    pip = "-m pip install -q --disable-pip-version-check -r"
    assert make(checkout, "bench", "ARGS=--only=train") == [
        f"{pip} requirements.txt",
        f"peer {pip} {PEER}",
        "-m benchmarks.run --only=train",
    ]
    assert make(checkout, "bench") == ["-m benchmarks.run"]
    (checkout / "benchmarks/.venv/__pycache__").mkdir()
    make(checkout, "clean")
    assert (checkout / "benchmarks/.venv/__pycache__").exists()


@needs_make
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_make_test_installs_then_lints_then_tests(checkout):
    pip = "-m pip install -q --disable-pip-version-check -r"
    calls = make(checkout, "test", "ARGS=-x")
    assert calls[:2] == [f"{pip} requirements.txt", f"{pip} requirements-dev.txt"]
    assert sorted(calls[2:4]) == ["-m tests.helpers.chromium", "horovod cpu .venv/bin/python"]  # at the same time
    assert calls[4:] == [
        "-m ruff check .",
        "-m ruff format --check .",
        ".venv/bin/lint-imports --no-logo --no-cache",
        "-m pytest -n 2 -x",
    ]
    assert make(checkout, "horovod", "GPU=1")[-1] == "horovod 1 .venv/bin/python"


@needs_make
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("fails", ["install_horovod.sh", ".venv/bin/python"])
def test_no_test_runs_where_horovod_or_the_browser_failed(checkout, fails):
    refuse = '[[ "$*" != "" && "$*" != *chromium* ]] || { echo "error: no network" >&2; exit 2; }\n'
    file = checkout / fails
    program(file, refuse + file.read_text())
    result = run("make", "test", cwd=checkout)
    assert result.returncode == 2
    assert "error: no network\n" in result.stderr
    assert "pytest" not in (checkout / "calls").read_text()


@needs_make
@pytest.mark.parametrize(
    ("target", "interpreters", "words"),
    [
        ("test", {}, ["error: g++ not found", "apt-get install g++"]),
        ("env", {}, ["error: no Python 3.11, 3.12 or 3.13 on PATH"]),
        ("env", {"python3": "exit 1"}, ["error: no Python 3.11, 3.12 or 3.13 on PATH"]),
        (
            "env",
            {"python3.12": "[[ $2 != *ensurepip* ]]"},
            ["python3.12 has no venv module", "python3.12-venv"],
        ),
    ],
)
def test_make_says_in_one_line_what_the_machine_lacks(checkout, tmp_path, target, interpreters, words):
    shutil.rmtree(checkout / ".venv")
    path = tools(tmp_path / "tools", "bash", "make", "cmp", "rm")
    for name, body in interpreters.items():
        program(path / name, body)
    result = run("make", target, cwd=checkout, PATH=path)
    assert result.returncode == 2
    assert result.stdout == ""
    error, *rest = result.stderr.splitlines()
    assert all(word in error for word in words), error
    assert all(line.startswith("make: ***") for line in rest)
    assert not (checkout / ".venv").exists()


@needs_make
def test_clean_keeps_results(checkout):
    kept = [
        "data/tgs/train.zip",
        "folds/folds.csv",
        "weights/tiny/w.h5",
        "logs/tiny/history.csv",
        "submission/a.csv",
    ]
    for name in [*kept, "data/__pycache__/x.pyc", ".pytest_cache/x"]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    make(checkout, "clean")
    assert all((checkout / name).exists() for name in kept)
    assert not (checkout / "data/__pycache__").exists()
    assert not (checkout / ".pytest_cache").exists()


# ---- requirements ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [*REQUIREMENTS, PEER])
def test_requirements_have_lower_and_upper_bounds(name):
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line]
    assert requirements
    for requirement in requirements:
        operators = {s.operator for s in requirement.specifier}
        assert {">=", "<"} <= operators, f"{requirement} is not bounded on both sides"
