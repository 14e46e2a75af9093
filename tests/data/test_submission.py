"""Submissions: what is valid, every way to be wrong, and files that appear whole or not at all."""

import re
import shutil
import zipfile
from datetime import datetime
from pathlib import Path

import pytest

from data import submission as module
from data.submission import check_submission, expected_ids, reserved, tiles_to_predict, write_submission
from tests.helpers.commands import error_line, refused, run_script
from tests.helpers.races import submission

IDS = {"a", "b", "c"}
GOOD = "id,rle_mask\nb,\na,1 1 3 5\nc,10201 1\n"


# ---- validating --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [GOOD, GOOD.replace("\n", "\r\n"), GOOD.strip(), 'id,rle_mask\na,""\n"b","1 2"\nc,\n'])
def test_valid(tmp_path, text):
    path = tmp_path / "s.csv"
    path.write_text(text)
    rows, salt = check_submission(path, IDS)
    assert rows == 3
    assert salt == (2 if "10201" in text else 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,rle_mask\na,\nb,\n", "lacks the id 'c' (1 missing)"),
        ("id,rle_mask\nb,\n", "lacks the id 'a' (2 missing)"),
        (GOOD + "d,\n", "has the id 'd', which is not asked for (1 such)"),
        (GOOD + "../a,\n", "line 5: '../a' cannot be an id"),
        (GOOD + "a.png,\n", "has the id 'a.png', which is not asked for"),
        (GOOD + "A,\n", "has the id 'A', which is not asked for"),
        (GOOD + "a,\n", "line 5 has 'a' a second time"),
        (GOOD + ",1 1\n", "line 5: the id is empty"),
        (GOOD.replace("1 1 3 5", "3 5 1 1"), "line 3, id 'a': run '1 1' overlaps or precedes"),
        (GOOD.replace("1 1 3 5", "1 1 3"), "line 3, id 'a': odd count of numbers"),
        (GOOD.replace("10201 1", "10201 2"), "line 4, id 'c': run '10201 2' ends behind the last pixel, 10201"),
        (GOOD.replace("10201 1", "0 1"), "line 4, id 'c': run '0 1'"),
        (GOOD.replace("10201 1", "nan"), "line 4, id 'c': 'nan' is not a pixel number"),
        (GOOD.replace("10201 1", "10201 1,"), "line 4 has 3 values"),
        (GOOD.replace("id,rle_mask", "id,rle"), "has the columns id,rle; expected id,rle_mask"),
        (GOOD.replace("id,rle_mask", "img,rle_mask"), "has the columns img,rle_mask; expected id,rle_mask"),
        (GOOD.replace(",", ";"), "has the columns id;rle_mask"),
        ("id,rle_mask\n", "has a header and no rows"),
        ("", "is empty"),
    ],
)
def test_wrong_in_every_way(tmp_path, text, said):
    path = tmp_path / "s.csv"
    path.write_text(text)
    refused(lambda: check_submission(path, IDS), f"{path} {said}")
    assert path.read_text() == text


def test_a_missing_file_is_named(tmp_path):
    refused(lambda: check_submission(tmp_path / "no.csv", IDS), f"cannot read {tmp_path}/no.csv: No such file")


# ---- the ids asked for -------------------------------------------------------------------------------------


def test_the_ids_are_those_of_the_sample_submission_or_of_the_tiles(sample, tmp_path):
    images = sample / "test/images"
    ids = sorted(path.stem for path in images.iterdir())
    assert len(ids) == 12
    assert tiles_to_predict(sample) == tiles_to_predict(images) == {name: images / f"{name}.png" for name in ids}
    assert expected_ids(sample) == expected_ids(images) == set(ids)
    (tmp_path / "sample_submission.csv").write_text("id,rle_mask\nNA,1 1\nx,1 1\n")
    assert expected_ids(tmp_path) == {"NA", "x"}


def test_without_tiles_it_says_where_they_are_looked_for(sample, tmp_path):
    refused(lambda: tiles_to_predict(tmp_path), f"no test/images and no .png in {tmp_path}")
    refused(lambda: tiles_to_predict(sample / "train"), f"no test/images and no .png in {sample}/train")
    refused(lambda: tiles_to_predict(tmp_path / "none"), f"cannot read the folder {tmp_path}/none: No such file")


def test_a_packed_test_zip_is_unpacked_to_predict_and_left_alone_to_validate(sample, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kaggle").mkdir()
    with zipfile.ZipFile("kaggle/test.zip", "w") as archive:
        for path in (sample / "test/images").iterdir():
            archive.write(path, f"images/{path.name}")
    refused(lambda: expected_ids("kaggle"), "kaggle/test.zip is packed; predict first")
    assert [path.name for path in tmp_path.iterdir()] == ["kaggle"]
    ids = {path.stem for path in (sample / "test/images").iterdir()}
    for given in ("kaggle", "kaggle/test.zip"):
        assert tiles_to_predict(given) == {name: Path(f"data/tgs/test/images/{name}.png") for name in sorted(ids)}
    Path("kaggle/test.zip").write_bytes(b"PK")
    refused(lambda: tiles_to_predict("kaggle"), "kaggle/test.zip cannot be unpacked")
    with zipfile.ZipFile("other.zip", "w") as archive:
        archive.writestr("readme.txt", "none")
    shutil.rmtree("data")
    refused(lambda: tiles_to_predict("other.zip"), "other.zip holds no tiles to predict")
    assert not Path("data").exists()
    alone = sample / "test/images" / f"{min(ids)}.png"
    assert tiles_to_predict(alone) == {min(ids): alone}


# ---- writing -----------------------------------------------------------------------------------------------


def test_writing_gives_a_valid_file_of_the_agreed_name(tmp_path):
    before = datetime.now().replace(microsecond=0)
    with reserved(tmp_path / "new/folder", "submission_fold_0_best") as stem:
        path = Path(f"{stem}.csv")
        write_submission(path, {"b": "", "a,1": "1 1 3 5"})
    written = re.fullmatch(r"submission_fold_0_best_(\d{8}-\d{6})\.csv", path.name)
    assert before <= datetime.strptime(written[1], "%Y%m%d-%H%M%S") <= datetime.now()
    assert path.parent == tmp_path / "new/folder"
    assert path.read_bytes() == b'id,rle_mask\nb,\n"a,1",1 1 3 5\n'
    assert check_submission(path, {"b", "a,1"}) == (2, 1)
    assert list(path.parent.iterdir()) == [path]


def test_no_submission_is_ever_overwritten(tmp_path):
    paths = [submission(tmp_path, {"a": f"{k} 1"}) for k in (1, 2, 3)]  # within a second or two
    assert sorted(tmp_path.iterdir()) == paths
    assert [path.read_text().splitlines()[1] for path in paths] == ["a,1 1", "a,2 1", "a,3 1"]
    refused(lambda: write_submission(paths[0], {"a": ""}), f"{paths[0]} exists; ")
    assert paths[0].read_text().endswith("a,1 1\n")
    with reserved(tmp_path, "y") as first, reserved(tmp_path, "y") as second:  # before either has a file
        assert first != second


def test_a_wrong_submission_never_appears(tmp_path, monkeypatch):
    seen = []
    validate = module.check_submission

    def spy(path: Path, ids: set[str]) -> tuple[int, int]:
        seen.append((list(tmp_path.glob("submission_*")), Path(path).read_text()))
        return validate(path, ids)

    monkeypatch.setattr(module, "check_submission", spy)
    refused(lambda: write_submission(tmp_path / "submission_x.csv", {"a": "5 5 1 1"}), "id 'a': run '1 1' overlaps")
    assert seen == [([], "id,rle_mask\na,5 5 1 1\n")]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(lambda: submission(tmp_path / "file", {"a": ""}), f"cannot create the folder {tmp_path}/file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    refused(lambda: submission(tmp_path, {"a": ""}), "No space left on device")
    assert not list(tmp_path.iterdir())


# ---- the command -------------------------------------------------------------------------------------------


def test_validate_through_the_script(sample, tmp_path):
    good = sample / "sample_submission.csv"
    done = run_script("tgs_predict.py", f"--validate={good}", f"--data_path={sample}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{good} is valid: 12 rows, 12 of them with salt\nnext: kaggle ")
    bad = tmp_path / "bad.csv"
    bad.write_text("".join(good.read_text().splitlines(keepends=True)[:-1]))
    last = good.read_text().splitlines()[-1].split(",")[0]
    said = error_line(run_script("tgs_predict.py", f"--validate={bad}", f"--data_path={sample}", cwd=tmp_path))
    assert said == f"{bad} lacks the id '{last}' (1 missing); predict again"
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]
