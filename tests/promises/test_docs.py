"""README and docs/: every command and every program in them is run.

A page's fenced blocks are, by their language: `sh`, commands; `python`, programs, run as they stand; `text`, what is
shown only. Commands and programs of a page run from top to bottom in one folder, a project with sample data, at tiny
sizes: flags are added to the commands (argparse takes the last), and resnet34 is the tiny network under this name.
A program whose first line is `# name.py` becomes that file, for the commands after it.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from data.folds.split import STRATIFICATIONS
from data.synthetic.survey import make_survey
from models.losses import LOSSES
from models.parts import PARTS
from models.pretrained.sources import IMAGENET
from models.unet import MODELS, make_model
from tests.helpers.commands import ROOT, run_here
from tests.helpers.pages import ALL_STEPS, Step, steps
from tests.helpers.pasting import MAINS, words
from training.augment.augmenter import AUGMENTATIONS

SLOW = {f"docs/{name}.md" for name in ("extending", "networks", "prediction", "python", "training", "volumes")}
TRAINED = {"docs/prediction.md", "docs/volumes.md"}  # begins where another page ends: with weights of every fold
RING = r"\./(train|predict)_multi_gpu_ring\.sh|mpirun|horovodrun"

TRAIN_TINY = ["--target_size=32", "--batch_size=32", "--epochs=1", "--cycles=1", "--small_epochs=0", "--jobs=1"]
SELF_TRAINING = ["--epochs=2", "--confidence=0"]  # one to pretrain; a teacher of one epoch is sure of nothing
TINY = {
    "tgs_preprocess.py": ["--fold=3"],
    "tgs_train.py": TRAIN_TINY,
    "tgs_predict.py": ["--batch_size=16"],
    "-m data.tiles_from_segy": ["--count=40"],
    "-m data.sample": ["--n_train=40", "--n_test=4", "--survey_size=101x101x101"],
}
NOT_RUN = {  # what would change the machine, or needs a person or the network; nothing else may go untried
    "kaggle competitions submit -c tgs-salt-identification-challenge -f $(ls -t submission/*.csv | head -1)"
    " -m 'resnet34, 5 folds'",
    "source .venv/bin/activate",
    "tensorboard --logdir=logs",
}


# ---- a project to run them in --------------------------------------------------------------------------------


@pytest.fixture
def small(request) -> Iterator[None]:
    """The large networks' names stand for the tiny one, and nothing is compiled that takes longer so than to run.

    What programs add to the tables goes again, and so do they.
    """
    before = [(table, dict(table)) for table in (MODELS, PARTS, LOSSES, AUGMENTATIONS, STRATIFICATIONS)]
    modules = set(sys.modules)
    plain = MODELS["tiny"]
    tiny = replace(plain, encoder=lambda x, **_: plain.encoder(x), options=("pool", "drop_path"))
    MODELS.update(dict.fromkeys(("resnet34", "resnet18", "efficientnet_lite0"), tiny))
    tf.config.run_functions_eagerly(request.node.callspec.params["project"] != "docs/volumes.md")  # of many lines
    yield
    tf.config.run_functions_eagerly(False)
    for table, entries in before:
        table.clear()
        table.update(entries)
    for name in [name for name in sys.modules if name not in modules and name.startswith("my_")]:
        del sys.modules[name]


@pytest.fixture
def project(request, tmp_path_factory, monkeypatch, sample, folds) -> Path:
    """A folder as a user of this page has it: data, folds, and what the page takes from elsewhere."""
    path = tmp_path_factory.mktemp("page")
    shutil.copytree(sample, path / "data" / "tgs")
    shutil.copytree(folds, path / "folds")
    shutil.make_archive(str(path / "train"), "zip", sample / "train")
    if request.param in TRAINED:
        weights = request.getfixturevalue("trained") / "weights" / "tiny"
        shutil.copytree(weights, path / "weights" / "resnet34", ignore=shutil.ignore_patterns("*_state"))
    section = np.random.default_rng(0).normal(size=(120, 150))
    np.save(path / "section.npy", section)
    (path / "sections").mkdir()
    cv2.imwrite(str(path / "sections" / "line1.png"), (section * 30 + 128).clip(0, 255).astype(np.uint8))
    save_timm(path / "model.safetensors")
    (path / "keras" / "timm").mkdir(parents=True)
    shutil.copyfile(path / "model.safetensors", path / "keras" / "timm" / "resnet34.a1_in1k.safetensors")
    monkeypatch.setenv("KERAS_HOME", str(path / "keras"))
    for name in ("tiny", "efficientnet_lite0"):
        monkeypatch.setitem(IMAGENET, name, IMAGENET["resnet34"])  # every network here is the tiny one
    for script in [*ROOT.glob("tgs_*.py"), *ROOT.glob("*_multi_gpu_ring.sh")]:
        (path / script.name).symlink_to(script)
    return path


def save_timm(path: Path) -> None:
    """Write the tiny encoder's weights as timm lays out a ResNet's."""
    tensors = {}
    for layer in make_model("tiny", 32).layers:
        if layer.name.startswith("encoder.") and layer.weights:
            values = [
                np.ascontiguousarray(v.T if v.ndim == 1 else v.transpose(3, 2, 0, 1)) for v in layer.get_weights()
            ]
            names = ("weight", "bias", "running_mean", "running_var")
            tensors |= {f"{layer.name[8:]}.{name}": value for name, value in zip(names, values, strict=False)}
    save_file(tensors, path)


# ---- running them --------------------------------------------------------------------------------------------


def run_step(step: Step, project: Path) -> None:
    """Run a command or a program; fails with the page, the line and what it said."""
    if step.language == "python":
        if named := re.match(r"# (\w+\.py)\n", step.text):
            (project / named[1]).write_text(step.text)
            return
        done = run_here(lambda argv: exec(compile(step.text, str(step), "exec"), {"__name__": "__main__"}), cwd=project)
    elif step.text.startswith("make "):
        done = subprocess.run(
            ["make", "-n", *step.text.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
    else:
        python, *rest = words(step.text, project)
        assert python == "python", f"{step}\nis neither run nor in NOT_RUN"
        script, arguments = (" ".join(rest[:2]), rest[2:]) if rest[0] == "-m" else (rest[0], rest[1:])
        small = [*tiny(script, project), *(SELF_TRAINING if "--teacher=" in step.text else [])]
        done = run_here(main_of(script, project), *arguments, *small, cwd=project)
    if done.returncode:
        pytest.fail(f"{step}\nended with {done.returncode}: {done.stderr}", pytrace=False)


def main_of(script: str, project: Path) -> Callable:
    """What a command calls: a script's main, or a program of the page."""
    if script in MAINS:
        return MAINS[script]

    def program(argv: list[str]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [script, *argv])
            patch.syspath_prepend(project)
            runpy.run_path(script, run_name="__main__")

    return program


def tiny(script: str, project: Path) -> list[str]:
    """The flags that make a command small; those of the script whose main a page's program calls."""
    if script not in MAINS:
        (name,) = re.findall(r"from (tgs_\w+) import main", (project / script).read_text())
        script = f"{name}.py"
    return TINY[script]


def runs_here(step: Step) -> bool:
    return step.language in ("sh", "python") and step.text not in NOT_RUN and not re.match(RING, step.text)


def by_page(wanted: Callable[[Step], bool], slow: set[str]) -> list:
    """A parameter for each page that has a step that is wanted."""
    pages = dict.fromkeys(step.page for step in ALL_STEPS if wanted(step))
    return [pytest.param(page, marks=[pytest.mark.slow] * (page in slow), id=page) for page in pages]


@pytest.mark.parametrize("project", by_page(runs_here, SLOW), indirect=True)
def test_commands_and_programs_run(request, project, small):
    page = request.node.callspec.params["project"]
    for step in filter(runs_here, steps(page)):
        run_step(step, project)
    programs = {path.name for path in project.glob("*.py") if not path.is_symlink()}
    used = "".join(step.text for step in steps(page) if step.language == "sh" or "import my_" in step.text)
    assert all(Path(name).stem in used for name in programs), f"{page} has a program that nothing runs"


def is_ring(step: Step) -> bool:
    return step.language == "sh" and re.match(RING, step.text) is not None


@pytest.mark.slow
@pytest.mark.parametrize("project", by_page(is_ring, set()), indirect=True)
def test_rings_run(request, project):
    if shutil.which("mpirun", path=Path(sys.executable).parent) is None:
        pytest.skip("no mpirun in this environment; run ./install_horovod.sh")
    env = os.environ | {"PYTHON": sys.executable, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    for k, step in enumerate(filter(is_ring, steps(request.node.callspec.params["project"]))):
        two = re.sub(r"(-np|ring\.sh) \d+", r"\1 2", step.text)
        # An elastic run of one epoch can be over before its second process has come, and horovodrun then waits for it.
        two = re.sub(r"--elastic \d+:\d+", "--elastic 2:2", two)
        predicts = "predict" in step.text
        if predicts and not (project / "survey.sgy").exists():
            make_survey(project / "survey.sgy", size=(3, 110, 120))
        train = ["--model=tiny", *TRAIN_TINY, f"--weights_path=weights_{k}", f"--log_dir=logs_{k}"]
        line = " ".join([two, *([f"--submission_path=submission_{k}"] if predicts else train)])
        done = subprocess.run(
            ["bash", "-c", line], cwd=project, env=env, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{step}\n{done.stdout}\n{done.stderr}"
        made = f"submission_{k}/survey_*_salt.sgy" if predicts else f"weights_{k}/tiny/fold_0_last.weights.h5"
        assert list(project.glob(made)), done.stdout


def test_nothing_else_is_left_out():
    assert {step.language for step in ALL_STEPS} == {"sh", "python", "text"}
    commands = {step.text for step in ALL_STEPS if step.language == "sh"}
    assert {text for text in commands if not re.match(rf"python |make |{RING}", text)} == NOT_RUN
