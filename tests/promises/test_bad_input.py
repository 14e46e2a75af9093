"""A corpus of wrong input: each case ends with exit code 2 and one line that names the file, and changes nothing."""

import shutil
from functools import cache
from pathlib import Path

import pytest

import tgs_preprocess
from models.unet import make_model
from tests.helpers.commands import error_line, run_here
from tests.helpers.pngs import RGB_TYPE, build, png
from tests.helpers.privileges import as_ordinary_user
from tests.promises.corpus.commands import BY_DEPTH, PREDICT, PREPROCESS, TRAIN, VALIDATE
from tests.promises.corpus.damage import Damage, both, change, link_at, make_project, move, put, remove, tree, zipped
from tests.promises.corpus.flags import FLAGS
from tests.promises.corpus.folds import FOLDS
from tests.promises.corpus.states import ENCODERS, STATES
from tests.promises.corpus.surveys import SURVEYS
from tests.promises.corpus.tables import CSVS, SUBMISSION
from tests.promises.corpus.tiles import GRAY, IMAGE, IMAGES, MASK, MASKS, SALT, rgb
from tests.promises.corpus.weights import RECIPES, WEIGHTS
from tests.promises.corpus.zips import ZIPS

KINDS = {
    "image": IMAGES,
    "mask": MASKS,
    "csv": CSVS,
    "zip": ZIPS,
    "fold": FOLDS,
    "weights": WEIGHTS,
    "recipe": RECIPES,
    "state": STATES,
    "encoder": ENCODERS,
    "flag": FLAGS,
    "survey": SURVEYS,
}
CORPUS = {f"{kind}: {name}": case for kind, cases in KINDS.items() for name, case in cases.items()}

built_once = cache(make_model)


@pytest.fixture(scope="session")
def good_project(trained, tmp_path_factory, devices_listed) -> Path:
    """What every case damages a copy of."""
    return make_project(tmp_path_factory.mktemp("corpus"), trained)


@pytest.fixture
def project(good_project, tmp_path, monkeypatch) -> Path:
    """A project to damage. A network is built once for all cases: half of a prediction's start."""
    monkeypatch.setattr("models.weights.make_model", built_once)
    return Path(shutil.copytree(good_project, tmp_path / "project", symlinks=True))


@pytest.mark.parametrize(("damage", "command", "said"), CORPUS.values(), ids=CORPUS)
def test_wrong_input_is_one_line_and_changes_nothing(project, capfd, damage, command, said):
    damage(project)
    before = tree(project)
    with as_ordinary_user():
        done = run_here(*command, cwd=project)
    assert error_line(done).startswith(said), done.stderr
    assert done.stdout == ""
    assert capfd.readouterr() == ("", "")  # nor has a library in C written
    assert tree(project) == before


def test_the_undamaged_project_passes_every_command_of_the_corpus(project):
    """Else a case could be refused for another reason than its own."""
    for main, *flags in (TRAIN, PREDICT, VALIDATE, BY_DEPTH, PREPROCESS):
        done = run_here(main, *flags, cwd=project)
        assert (done.stderr, done.returncode) == ("", 0), flags


GOOD_INPUT: dict[str, tuple[Damage, tuple]] = {  # odd, yet as it may be
    "a BOM and CRLF in train.csv": (
        change("tgs/train.csv", lambda content: b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")),
        PREPROCESS,
    ),
    "a BOM and quotes in depths.csv": (
        change("tgs/depths.csv", lambda content: b"\xef\xbb\xbf" + content.replace(b"b,", b'"b",')),
        BY_DEPTH,
    ),
    "a BOM in a submission": (change(SUBMISSION, lambda content: b"\xef\xbb\xbf" + content), VALIDATE),
    "no CSV at all": (both(*(remove(f"tgs/{name}.csv") for name in ("train", "depths"))), PREPROCESS),
    "train.csv of some tiles": (put("tgs/train.csv", "id,rle_mask\na,\n"), PREPROCESS),
    "hidden files": (put("tgs/train/images/.DS_Store", b"no tile"), PREPROCESS),
    "three equal channels": (put(IMAGE, png(rgb(GRAY, GRAY, GRAY), RGB_TYPE)), PREPROCESS),
    "a mask of one bit": (both(put(MASK, build([bytes(14)] * 101, depth=1)), remove("tgs/train.csv")), PREPROCESS),
    "a link to a tile": (both(move(IMAGE, "b.png"), link_at(IMAGE, "../../../b.png")), PREPROCESS),
    "a zip with a name of blanks and capitals in it": (
        zipped(
            "my  tiles ☃.zip",
            {f"a folder/{kind}/{k} ü.PNG": png(SALT * 0) for kind in ("images", "masks") for k in range(4)},
        ),
        (tgs_preprocess.main, "--data_path=my  tiles ☃.zip", "--fold=2"),
    ),
}


@pytest.mark.parametrize(("damage", "command"), GOOD_INPUT.values(), ids=GOOD_INPUT)
def test_good_input_that_looks_odd(project, capfd, damage, command):
    """Names that a shell would run are in tests/promises/test_no_code.py."""
    damage(project)
    done = run_here(*command, cwd=project)
    assert (done.stderr, done.returncode) == ("", 0)
    assert capfd.readouterr() == ("", "")


def test_there_are_enough_cases():
    assert len(CORPUS) >= 60, {kind: len(cases) for kind, cases in KINDS.items()}
