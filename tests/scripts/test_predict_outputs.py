"""What tgs_predict.py writes beside submissions: sections, probabilities, reports, exports, each against the masks."""

import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import tgs_predict
from data.rle import decode_rle
from tests.helpers.commands import error_line, run_here

pytestmark = pytest.mark.usefixtures("eager")
ENSEMBLE = ("--use_folds=True", "--model=tiny", "--threshold=0.3", "--min_area=0")
TILES = (*ENSEMBLE, "--data_path=tgs")


@pytest.fixture(scope="module")
def work(trained, tmp_path_factory) -> Path:
    """A copy of the trained project, to write into."""
    path = tmp_path_factory.mktemp("outputs") / "work"
    shutil.copytree(trained, path, symlinks=True)
    return path


def run(cwd: Path, *flags: str) -> tuple[str, list[Path]]:
    """Run the script; returns what it printed and the files it says it wrote."""
    done = run_here(tgs_predict.main, *flags, cwd=cwd)
    assert done.returncode == 0, done.stderr
    stem, endings = re.search(r"^wrote (\S+){(\S+)}$", done.stdout, re.M).groups()
    paths = [cwd / f"{stem}{ending}" for ending in endings.split(",")]
    assert all(path.exists() for path in paths)
    assert "\nnext: " in done.stdout or "section" in stem
    return done.stdout, paths


def masks(path: Path) -> dict[str, np.ndarray]:
    """id -> mask of a submission."""
    with path.open() as file:
        return {row["id"]: decode_rle(row["rle_mask"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def submission(work) -> dict[str, np.ndarray]:
    """The masks of the test tiles."""
    found = masks(run(work, *TILES)[1][0])
    assert any(mask.any() for mask in found.values())
    return found


def test_probabilities_and_report_of_a_submission(work, submission):
    _, (table, flags, array, report) = run(work, *TILES, "--probabilities=npy", "--report")
    probabilities = np.load(array)
    assert (probabilities.shape, probabilities.dtype) == ((12, 101, 101), np.float16)
    for mask, tile in zip(masks(table).values(), probabilities, strict=True):
        sure = np.abs(tile - np.float16(0.3)) > 1e-3
        assert np.array_equal((tile > 0.3)[sure], mask[sure] == 1)
    assert "threshold: 0.3" in flags.read_text()
    page = report.read_text()
    assert all(name in page for name in submission)
    assert "by 3 model(s), threshold 0.3" in page

    _, (_, _, folder) = run(work, *TILES, "--probabilities=png")
    assert sorted(path.stem for path in folder.iterdir()) == sorted(submission)
    for name, tile in zip(submission, probabilities, strict=True):
        assert np.abs(cv2.imread(str(folder / f"{name}.png"), -1) / 255 - tile).max() < 0.5 / 255 + 1e-3


@pytest.mark.slow
def test_the_saved_flags_repeat_a_submission(work, submission):
    _, (_, flags) = run(work, *TILES)
    again = masks(run(work, f"--config={flags}")[1][0])
    assert all(np.array_equal(again[name], mask) for name, mask in submission.items())


def test_a_section_of_tiles_side_by_side_has_their_masks(work, submission):
    """Without overlap the windows are the tiles; with it the mask is another, near their borders most."""
    names = list(submission)[:6]
    images = [cv2.imread(str(work / f"tgs/test/images/{name}.png"), 0) for name in names]
    section = np.vstack([np.hstack(images[:3]), np.hstack(images[3:])])
    cv2.imwrite(str(work / "line 7.png"), section)
    np.save(work / "line.npy", section)
    whole = np.vstack([np.hstack([submission[n] for n in names[:3]]), np.hstack([submission[n] for n in names[3:]])])
    flags = ("--data_path=line 7.png", "--overlap=0", "--probabilities=npy")
    done = run_here(tgs_predict.main, *ENSEMBLE, *flags, cwd=work)
    assert done.returncode == 0, done.stderr
    stem = re.search(r"^wrote (.+){_mask.png,_outlined.png,.yaml,_probabilities.npy}$", done.stdout, re.M)[1]
    assert f"line 7.png: 303 x 202 px, {whole.mean():.1%} salt, by 3 model(s)" in done.stdout
    mask = cv2.imread(str(work / f"{stem}_mask.png"), -1)
    assert set(np.unique(mask)) == {0, 255}
    assert np.mean((mask > 0) != (whole > 0)) < 1e-3  # batches of another size round differently
    assert np.load(work / f"{stem}_probabilities.npy").shape == (202, 303)
    picture = cv2.imread(str(work / f"{stem}_outlined.png"))
    coloured = (picture != picture[:, :, :1]).any(axis=2)
    assert coloured.any()
    assert not coloured[cv2.dilate(mask, np.ones((7, 7))) == 0].any()
    done = run_here(tgs_predict.main, *ENSEMBLE, "--data_path=line.npy", "--tile=101", "--overlap=0.5", cwd=work)
    stem = re.search(r"^wrote (\S+){", done.stdout, re.M)[1]
    blended = cv2.imread(str(work / f"{stem}_mask.png"), -1)
    assert blended.shape == (202, 303)
    assert ((blended > 0) != (whole > 0)).any()


def test_samples_that_mean_nothing_are_said_and_masked_and_the_rest_is_predicted_as_ever(work, submission):
    names = list(submission)[:6]
    images = [cv2.imread(str(work / f"tgs/test/images/{name}.png"), 0) for name in names]
    whole = np.vstack([np.hstack(images[:3]), np.hstack(images[3:])]).astype("f4") * 7 - 800
    found, holed = {}, whole.copy()
    holed[:, 50], holed[150:, 290:] = 1e30, np.nan
    for name, section in (("whole", whole), ("holed", holed)):
        np.save(work / f"{name}.npy", section)
        done = run_here(tgs_predict.main, *ENSEMBLE, f"--data_path={name}.npy", "--overlap=0", cwd=work)
        assert done.returncode == 0, done.stderr
        stem = re.search(r"^wrote (\S+){", done.stdout, re.M)[1]
        found[name] = cv2.imread(str(work / f"{stem}_mask.png"), -1) > 0
        said = "holed.npy: 1.43% of it means nothing (1 of 303 traces, the value 1e+30) and is masked as no salt\n"
        assert (said in done.stdout) == (name == "holed")
    assert found["whole"][:, 50].any()
    assert not found["holed"][np.isnan(holed) | (holed == 1e30)].any()
    union = found["whole"] | found["holed"]
    assert (found["whole"] & found["holed"]).sum() / union.sum() > 0.8


@pytest.mark.slow
def test_a_folder_of_sections(work):
    (work / "lines").mkdir()
    for other in ("b.sgy", "c.tif", ".hidden"):
        (work / "lines" / other).touch()
    for name, side in (("a", 101), ("b", 64), ("c", 150)):
        cv2.imwrite(str(work / f"lines/{name}.png"), np.full((side, 2 * side), 90, np.uint8))
    done = run_here(tgs_predict.main, *ENSEMBLE, "--data_path=lines", "--tile=80", cwd=work)
    assert done.returncode == 0, done.stderr
    assert "passed over in lines: b.sgy, c.tif; only .png and .npy are read in a folder\n" in done.stdout
    assert re.findall(r"^lines/(\S+): (\S+) x (\S+) px", done.stdout, re.M) == [
        ("a.png", "202", "101"),
        ("b.png", "128", "64"),
        ("c.png", "300", "150"),
    ]


def test_a_single_tile(work, submission):
    name = next(name for name, mask in submission.items() if mask.any())
    _, (table, _) = run(work, *ENSEMBLE, f"--data_path=tgs/test/images/{name}.png")
    (found,) = masks(table).items()
    assert found[0] == name
    assert np.mean(found[1] != submission[name]) < 1e-3


def test_evaluation_with_pictures_probabilities_and_report(work):
    (work / "weights/tiny/oof_best_probabilities.npy").write_text("of an earlier run, to be replaced")
    printed, paths = run(work, "--oof", "--model=tiny", "--report", "--probabilities=npy")
    pictures = (".png", "_tiles.png", "_training.png")
    endings = (".csv", ".json", *pictures, ".yaml", "_probabilities.npy", ".html")
    assert [path.name for path in paths] == [f"oof_best{ending}" for ending in endings]
    with paths[0].open() as file:
        table = list(csv.DictReader(file))
    probabilities = np.load(paths[6])
    assert probabilities.shape == (60, 101, 101)
    for row, tile in zip(table[::7], probabilities[::7], strict=True):
        truth = cv2.imread(str(work / f"tgs/train/masks/{row['id']}.png"), 0) > 0
        predicted = tile > 0.5
        union = (truth | predicted).sum()
        iou = (truth & predicted).sum() / union if union else 1
        assert float(row["score"]) == pytest.approx(sum(iou > t / 20 for t in range(10, 20)) / 10)
    summary = json.loads(paths[1].read_text())
    page = paths[7].read_text()
    assert f"{summary['score']:.4f} out of fold" in page
    assert all(row["id"] in page for row in table)
    assert re.search(r"tgs_predict\.py --use_folds=True --model=tiny --pick=best --data_path=\S+/tgs\n$", printed)


@pytest.mark.slow
def test_an_exported_ensemble_gives_the_same_masks(work, submission):
    import onnxruntime

    done = run_here(tgs_predict.main, *TILES, "--export=exported/salt.onnx", cwd=work)
    assert done.returncode == 0, done.stderr
    assert "next, in Python: onnxruntime.InferenceSession('exported/salt.onnx')" in done.stdout
    session = onnxruntime.InferenceSession(work / "exported/salt.onnx")
    note = session.get_modelmeta().custom_metadata_map
    assert float(note["threshold"]) == 0.3
    images = np.stack([cv2.imread(str(work / f"tgs/test/images/{name}.png"), 0) for name in submission])
    (probabilities,) = session.run(["probabilities"], {"tiles": images})
    wrong = (probabilities > float(note["threshold"])) != (np.stack(list(submission.values())) > 0)
    assert wrong.mean() < 1e-4
    assert not wrong[np.abs(probabilities - 0.3) > 1e-4].any()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--oof", "--export=x.onnx"), "--export does not go with --oof"),
        (("--oof", "--tile=101"), "--tile does not go with --oof"),
        (("--validate=x.csv", "--report"), "--report does not go with --validate"),
        (("--use_folds", "--export=x", "--probabilities=png"), "--probabilities does not go with --export"),
        (("--use_folds", "--tile=101", "--data_path=tgs"), "no .png and no .npy in tgs; name a section"),
        (("--use_folds", "--tile=101", "--data_path=folds"), "folds/samples.png is in colour; sections are gray"),
        ((*ENSEMBLE, "--data_path=section.png", "--report"), "--report shows tiles; leave it out"),
        ((*ENSEMBLE, "--data_path=notes.txt"), "notes.txt is neither a .png, an .npy nor a .sgy"),
        ((*ENSEMBLE, "--data_path=tgs", "--export=submission.csv/x.onnx"), "cannot create the folder submission.csv"),
        ((*ENSEMBLE, "--data_path=tgs", "--export=folds"), "folds exists; name a new path"),
    ],
)
def test_what_does_not_go_is_one_line(trained, tmp_path, flags, said):
    for name in ("tgs", "folds", "weights"):
        (tmp_path / name).symlink_to(trained / name)
    cv2.imwrite(str(tmp_path / "section.png"), np.zeros((50, 50), np.uint8))
    for name in ("notes.txt", "submission.csv"):
        (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert said in error_line(run_here(tgs_predict.main, "--model=tiny", *flags, cwd=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before
