"""Nothing that comes with the data is run: no pickle, no code in weights, no shell over names, no file outside."""

import ast
import pickle
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

import tgs_predict
import tgs_preprocess
import tgs_train
from data.folds.fold import read_fold
from tests.helpers.commands import ROOT, error_line, run_here
from tests.promises.corpus.damage import Touch, hostile_archive, make_project, tree

PACKAGES = ("common", "data", "models", "training")
SOURCES = sorted([*ROOT.glob("*.py"), *(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))])
NEVER_IMPORTED = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "torch"}
NEVER_CALLED = {
    "eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "compile", "__import__", "import_module",
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
    "keras.models.load_model", "keras.saving.load_model", "tf.saved_model.load", "tf.keras.models.load_model",
    "keras.config.enable_unsafe_deserialization", "torch.load", "pd.read_pickle", "pd.eval", "np.loads",
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.dump",  # yaml.compose makes no objects
    "archive.extractall", "archive.extract", "shutil.unpack_archive",
}  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sources_call_nothing_that_runs_data(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            of_pickle = {"pickle"} if path.parent.name == "pretrained" else set()  # see the test below
            assert not (NEVER_IMPORTED - of_pickle) & {name.split(".")[0] for name in names}, (path, node.lineno)
        if isinstance(node, ast.Call):
            called, flags = ast.unparse(node.func), {flag.arg: ast.unparse(flag.value) for flag in node.keywords}
            of_a_table = (path.name, called) == ("lazy.py", "import_module")  # whose names are in the source
            assert called not in NEVER_CALLED or of_a_table, (path, node.lineno, called)
            assert called not in ("np.load", "numpy.load") or flags.get("allow_pickle") == "False", (path, node.lineno)
            assert "shell" not in flags, (path, node.lineno)
            assert flags.get("allow_pickle", "False") == "False", (path, node.lineno)
            assert flags.get("safe_mode", "True") == "True", (path, node.lineno)


def test_the_one_unpickler_calls_nothing_that_a_file_names():
    tree = ast.parse((ROOT / "models/pretrained/torch_files.py").read_text())
    unpicklers = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.bases]
    (unpickler,) = (node for node in unpicklers if ast.unparse(node.bases[0]) == "pickle.Unpickler")
    (find_class,) = (node for node in unpickler.body if getattr(node, "name", "") == "find_class")
    called = {ast.unparse(node.func) for node in ast.walk(find_class) if isinstance(node, ast.Call)}
    assert called == {"name.removesuffix", "ValueError"}  # no super().find_class, no import


def test_the_hostile_files_of_the_corpus_are_hostile(tmp_path, monkeypatch):
    """Loaded carelessly they make a file `pwned`; the corpus (test_bad_input.py) shows that here they do not."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Touch()))
    assert (tmp_path / "pwned").exists()
    (tmp_path / "pwned").unlink()
    for ending in (".keras", ".h5"):
        (tmp_path / f"m{ending}").write_bytes(hostile_archive(ending))
        assert not (tmp_path / "pwned").exists()
        keras.models.load_model(f"m{ending}", safe_mode=False, compile=False)(np.zeros((1, 2)))
        (tmp_path / "pwned").unlink()


# ---- names that a shell would run ------------------------------------------------------------------------------

NAMES = [
    "$(touch pwned)",
    "; touch pwned",
    "`touch pwned`",
    "| touch pwned",
    "&& touch pwned",
    "'; touch pwned; '",
    '" && touch pwned "',
    "-rf",
    "--help",
    "*",
    "~",
    "%s %d {} {0}",
    "=1+1",
    "a b  c",
    "ünï ☃ 塩",
]


@pytest.fixture(scope="module")
def named(trained, tmp_path_factory) -> Path:
    """A project whose tiles, weights and folders have such names."""
    project = make_project(tmp_path_factory.mktemp("named"), trained)
    for k, name in enumerate(NAMES):
        tile = "abcdefghijkl"[k % 12]
        for folder in ("train/images", "train/masks"):
            shutil.copyfile(project / f"tgs/{folder}/{tile}.png", project / f"tgs/{folder}/{name}.png")
        shutil.copyfile(project / "tgs/test/images/x.png", project / f"tgs/test/images/{name}.png")
    for name in ("train.csv", "sample_submission.csv"):
        (project / "tgs" / name).unlink()
    (project / "tgs").rename(project / "data; touch pwned")
    for name in NAMES:
        for ending in (".weights.h5", ".json"):
            source = project / f"weights/tiny/fold_0_best{ending}"
            shutil.copyfile(source, project / "weights" / f"{name}{ending}")
    return project


def not_pwned(project: Path) -> bool:
    places = (ROOT, ROOT.parent, Path("/"), Path("/tmp"), Path.home())
    return not any(project.rglob("pwned")) and not any((place / "pwned").exists() for place in places)


def test_tiles_with_such_names_go_all_the_way(named):
    """Names with spaces, of any alphabet, and such as a shell would run are good names."""
    done = run_here(
        tgs_preprocess.main, "--data_path=data; touch pwned", "--folds_path=folds`touch pwned`", "--fold=2", cwd=named
    )
    assert (done.stderr, done.returncode) == ("", 0)
    fold = read_fold(named / "folds`touch pwned`/fold_0")
    assert sorted(fold.train.ids + fold.val.ids) == sorted([*NAMES, *"abcdefghijkl"])
    flags = ("--data_path=data; touch pwned", "--submission_path=out$(touch pwned)")
    done = run_here(tgs_predict.main, "--file_name=weights/$(touch pwned).weights.h5", *flags, cwd=named)
    assert (done.stderr, done.returncode) == ("", 0)
    (written,) = (named / "out$(touch pwned)").glob("*.csv")
    done = run_here(tgs_predict.main, f"--validate={written}", flags[0], cwd=named)
    assert (done.stderr, done.returncode) == ("", 0)
    assert f"is valid: {len(NAMES) + 3} rows" in done.stdout
    assert not_pwned(named)


@pytest.mark.parametrize("name", [*NAMES, "a\ntouch pwned", "../tiny", "/tmp/pwned"])
def test_flags_with_such_values_are_refused_or_taken_literally(named, name):
    before = tree(named)
    for main, *flags in (
        (tgs_preprocess.main, f"--data_path={name}"),
        (tgs_preprocess.main, f"--stratify={name}", "--data_path=data; touch pwned"),
        (tgs_train.main, f"--data_path={name}"),
        (tgs_train.main, "--data_path=folds/fold_0", f"--model={name}", "--epochs=1"),
        (tgs_train.main, "--data_path=folds/fold_0", f"--loss={name}", "--model=tiny", "--target_size=32"),
        (tgs_predict.main, f"--file_name={name}", "--data_path=data; touch pwned"),
        (tgs_predict.main, "--use_folds", f"--model={name}"),
        (tgs_predict.main, f"--validate={name}", "--data_path=data; touch pwned"),
    ):
        error_line(run_here(main, *flags, cwd=named))
    assert tree(named) == before
    assert not_pwned(named)


def test_the_launcher_passes_arguments_on_as_they_are(tmp_path):
    """`mpirun` here is a program that writes down what it is given."""
    given = tmp_path / "given"
    (tmp_path / "mpirun").write_text(f'#!/bin/sh\nfor a in "$@"; do printf "%s\\0" "$a"; done > "{given}"\n')
    (tmp_path / "python").write_text(f'#!/bin/sh\nprintf "%s\\n" "{tmp_path}"\n')
    for program in ("mpirun", "python"):
        (tmp_path / program).chmod(0o755)
    arguments = [f"--data_path={name}" for name in [*NAMES, "a\ntouch pwned"]]
    script = [str(ROOT / "train_multi_gpu_ring.sh"), "2", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(tmp_path / "python")}
    done = subprocess.run(
        script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert given.read_bytes().decode().split("\0")[-len(arguments) - 1 : -1] == arguments
    for count in ("$(touch pwned)", "1; touch pwned", "a[$(touch pwned)]", "-1", "0", ""):
        script[1] = count
        done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=600)
        assert done.returncode == 2
        assert done.stderr.count(b"\n") == 1
    assert not_pwned(tmp_path)
