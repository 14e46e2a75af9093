"""--xla_cache: later runs find what was compiled, with the same bits; a damaged or busy cache costs only its use."""

import json

import pytest

from common.locks import held
from tests.helpers.commands import run_script

FLAGS = ("--model=tiny", "--target_size=32", "--batch_size=8", "--epochs=1", "--xla=True", "--resume=False")


def train(workspace, *flags) -> bytes:
    """The weights after a run in a process of its own: TensorFlow reads its flags once a process."""
    done = run_script("tgs_train.py", *FLAGS, *flags, cwd=workspace, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads((workspace / "weights/tiny/fold_0_last.json").read_text())["sha256"]


def state(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.pb")}


@pytest.mark.slow
def test_later_runs_find_what_was_compiled(workspace):
    cache = workspace / "cache"
    weights = train(workspace, "--xla_cache=cache")
    kept = state(cache)
    assert len(kept) >= 2  # a single process compiles a step as one, and the prediction
    sums = json.loads(next(cache.rglob("checksums.json")).read_text())
    assert sums.keys() == kept.keys()

    times = {path.name: path.stat().st_mtime_ns for path in cache.rglob("*.pb")}
    assert train(workspace, "--xla_cache=cache") == weights
    assert times == {path.name: path.stat().st_mtime_ns for path in cache.rglob("*.pb")}  # read, not made anew

    victim, *others = sorted(cache.rglob("*.pb"))  # TensorFlow would end the run over a file cut short
    victim.write_bytes(kept[victim.name][:1000])
    assert train(workspace, "--xla_cache=cache") == weights
    assert len(victim.read_bytes()) == len(kept[victim.name])
    assert all(path.stat().st_mtime_ns == times[path.name] for path in others)

    with held(victim.parent):  # another run has it
        victim.unlink()
        assert train(workspace, "--xla_cache=cache") == weights
        assert not victim.exists()


@pytest.mark.parametrize(
    ("path", "said"),
    [("a b", "has a space; choose another folder"), ("file/cache", "cannot create the folder")],
)
def test_a_place_that_cannot_be_is_one_line(workspace, path, said):
    (workspace / "file").touch()
    refused = run_script("tgs_train.py", *FLAGS, f"--xla_cache={path}", cwd=workspace)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert said in refused.stderr
