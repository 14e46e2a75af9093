"""tgs_predict.py: submissions, averages over folds, out-of-fold evaluation, validation, damaged weights.

The first test runs the script; the others its main in this process, which spares TensorFlow's start each time.
"""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import tgs_predict
import tgs_preprocess
from data.rle import decode_rle
from data.tiles import list_pngs, read_ahead, read_images
from tests.helpers.commands import run_here, run_script

TINY = ("--model=tiny", "--data_path=tgs", "--threshold=0.3")


def rows(path: Path) -> dict[str, str]:
    """id -> run-length string of a submission."""
    with path.open() as file:
        return {row["id"]: row["rle_mask"] for row in csv.DictReader(file)}


def written(printed: str, cwd: Path) -> Path:
    """The submission that the script says it wrote."""
    stem = re.search(r"^wrote (\S+){.csv,.yaml}$", printed, re.M)[1]
    return cwd / f"{stem}.csv"


def predict(cwd: Path, *flags: str) -> tuple[Path, str]:
    """Run the script; returns the submission it wrote and what it printed."""
    done = run_here(tgs_predict.main, *flags, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return written(done.stdout, cwd), done.stdout


@pytest.fixture(scope="module")
def work(trained, tmp_path_factory) -> Path:
    """A copy of the trained project, to write submissions into."""
    path = tmp_path_factory.mktemp("predict") / "work"
    shutil.copytree(trained, path, symlinks=True)
    return path


def test_one_file_and_validation(work):
    done = run_script("tgs_predict.py", "--file_name=weights/tiny/fold_0_best.weights.h5", *TINY[1:], cwd=work)
    assert done.returncode == 0, done.stderr
    path = written(done.stdout, work)
    assert re.fullmatch(r"submission_fold_0_best_\d{8}-\d{6}\.csv", path.name)
    assert path.parent == work / "submission"
    assert "12 tiles" in done.stdout
    masks = rows(path)
    assert list(masks) == sorted(list_pngs(work / "tgs/test/images"))
    assert any(masks.values())
    valid = run_script("tgs_predict.py", f"--validate={path}", "--data_path=tgs", cwd=work)
    assert valid.returncode == 0
    assert "is valid: 12 rows" in valid.stdout
    path.write_text(path.read_text().replace(min(masks), "unknown"))
    before = sorted(work.rglob("*"))
    broken = run_script("tgs_predict.py", f"--validate={path}", "--data_path=tgs", cwd=work)
    assert broken.returncode == 2
    assert min(masks) in broken.stderr
    assert sorted(work.rglob("*")) == before


@pytest.mark.parametrize("weighting", [pytest.param("equal", marks=pytest.mark.slow), "score"])
def test_folds_are_averaged(work, weighting):
    """The script's masks are those of the mean of the folds' probabilities, computed here one model at a time."""
    path, printed = predict(work, "--use_folds=True", f"--fold_weights={weighting}", "--tta=False", *TINY)
    assert "by 3 model(s)" in printed
    assert path.name.startswith("submission_tiny_3_folds_best_")

    from models.geometry import Geometry
    from models.predictor import Predictor
    from models.weights import load_model

    tiles = list_pngs(work / "tgs/test/images")
    images = read_images(tiles.values())
    loaded = [load_model(work / f"weights/tiny/fold_{k}_best.weights.h5") for k in range(3)]
    shares = np.array([recipe.score if weighting == "score" else 1.0 for _, recipe in loaded])
    single = [Predictor([(model, Geometry(32))])(images) for model, _ in loaded]
    mean = np.average(single, axis=0, weights=shares)
    sure = np.abs(mean - 0.3) > 1e-4  # the other pixels may fall to either side by rounding
    for k, text in enumerate(rows(path).values()):
        assert np.array_equal(decode_rle(text)[sure[k]], (mean[k] > 0.3)[sure[k]])


def test_a_batch_is_begun_before_the_one_ahead_of_it_is_fetched(trained):
    import tensorflow as tf

    from models.geometry import Geometry
    from models.predictor import Predictor
    from models.weights import load_model

    begun = []

    class Noting(Geometry):
        """Notes each batch as its computation begins."""

        def place(self, images):
            noted = tf.numpy_function(lambda batch: (begun.append(len(batch)), batch)[1], [images], tf.uint8)
            return super().place(tf.ensure_shape(noted, images.shape))

    model, _ = load_model(trained / "weights/tiny/fold_0_best.weights.h5")
    images = read_images(list_pngs(trained / "tgs/test/images").values())
    expected = Predictor([(model, Geometry(32))], batch_size=5)(images)
    predictor, start = Predictor([(model, Noting(32))], batch_size=5), 0
    batches = enumerate([images[:5], images[5:10], images[10:]], start=1)
    for number, batch, probabilities in predictor.each(batches):
        assert len(batch) == len(probabilities)
        assert begun == [5] * min(3, number + 1)
        assert np.allclose(probabilities, expected[start : start + len(probabilities)], atol=1e-6)
        start += len(probabilities)
    assert start == len(images) == 12
    assert list(predictor.each([])) == []


def test_tta_averages_with_the_mirror_image(trained):
    from models.geometry import Geometry
    from models.predictor import Predictor
    from models.weights import load_model

    model, _ = load_model(trained / "weights/tiny/fold_0_best.weights.h5")
    images = read_images(list_pngs(trained / "tgs/test/images").values())
    plain, tta = (Predictor([(model, Geometry(32))], tta=tta, batch_size=5) for tta in (False, True))
    by_hand = (plain(images) + plain(images[:, :, ::-1])[:, :, ::-1]) / 2
    assert np.allclose(tta(images), by_hand, atol=1e-5)
    assert np.allclose(tta(images[:, :, ::-1])[:, :, ::-1], tta(images), atol=1e-5)
    whole_batch = Predictor([(model, Geometry(32))], batch_size=12)
    assert np.allclose(plain(images), whole_batch(images), atol=1e-5)  # whatever the batch size


@pytest.mark.usefixtures("eager")
def test_any_folder_of_pngs_thresholds_and_least_areas(work):
    folder = "--data_path=tgs/train/images"
    file = "--file_name=weights/tiny/fold_1_last.weights.h5"
    everything, _ = predict(work, file, folder, "--threshold=0")
    assert set(rows(everything).values()) == {f"1 {101 * 101}"}
    nothing, _ = predict(work, file, folder, "--threshold=1")
    assert set(rows(nothing).values()) == {""}
    assert len(rows(nothing)) == 60
    some, _ = predict(work, file, folder, "--threshold=0.4")
    areas = {name: int(decode_rle(text).sum()) for name, text in rows(some).items()}
    median = int(np.median([area for area in areas.values() if area])) + 1
    large, _ = predict(work, file, folder, "--threshold=0.4", f"--min_area={median}")
    assert rows(large) == {name: text if areas[name] >= median else "" for name, text in rows(some).items()}
    assert rows(large) != rows(some)


def test_a_missing_fold_is_named(work, tmp_path):
    shutil.copytree(work / "weights", tmp_path / "weights")
    (tmp_path / "weights/tiny/fold_1_best.weights.h5").unlink()
    flags = ("--use_folds=True", f"--weights_path={tmp_path}/weights", *TINY)
    refused = run_here(tgs_predict.main, *flags, cwd=work)
    assert refused.returncode == 2
    assert "fold_1" in refused.stderr
    assert "--allow_missing" in refused.stderr
    _, printed = predict(work, *flags, "--allow_missing=True")
    assert "by 2 model(s)" in printed


@pytest.mark.usefixtures("eager")
def test_out_of_fold_evaluation(work):
    done = run_here(tgs_predict.main, "--oof=True", "--model=tiny", "--pick=last", "--tta=False", cwd=work)
    assert done.returncode == 0, done.stderr
    summary = json.loads((work / "weights/tiny/oof_last.json").read_text())
    recipes = [json.loads((work / f"weights/tiny/fold_{k}_last.json").read_text()) for k in range(3)]
    # Training's own validation and this one are the same number, of the same tiles.
    assert summary["score_per_fold"] == {r["fold"]: pytest.approx(r["score"], abs=5e-5) for r in recipes}
    assert summary["tiles"] == 60
    assert summary["score"] == pytest.approx(np.mean([r["score"] for r in recipes]))  # folds are equally large
    assert summary["score_at_found"] >= summary["score"] - 1e-9  # the grid holds threshold 0.5, area 0
    assert summary["score_cross_fitted"] <= summary["score_at_found"] + 1e-9
    with (work / "weights/tiny/oof_last.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len({row["id"] for row in table}) == 60
    assert np.mean([float(row["score"]) for row in table]) == pytest.approx(summary["score"])

    # --threshold=auto and --min_area=auto take what was found, for these weights only.
    _, printed = predict(work, "--use_folds=True", "--model=tiny", "--data_path=tgs", "--pick=last")
    assert f"threshold {summary['threshold']}, minimum area {summary['min_area']}" in printed
    _, printed = predict(work, "--use_folds=True", "--model=tiny", "--data_path=tgs")
    assert "threshold 0.5, minimum area 0" in printed


def test_weights_of_another_split_are_refused(work, tmp_path):
    shutil.copytree(work / "weights", tmp_path / "weights")
    recipe = tmp_path / "weights/tiny/fold_1_best.json"
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"fingerprint": "0" * 16}))
    refused = run_here(tgs_predict.main, "--use_folds", f"--weights_path={tmp_path}/weights", *TINY, cwd=work)
    assert refused.returncode == 2
    assert "different splits" in refused.stderr
    again = run_here(tgs_preprocess.main, "--data_path=tgs", "--fold=3", "--seed=9", "--folds_path=other", cwd=work)
    assert again.returncode == 0
    refused = run_here(tgs_predict.main, "--oof", "--model=tiny", "--folds_path=other", cwd=work)
    assert refused.returncode == 2
    assert "another split" in refused.stderr


@pytest.mark.parametrize("damage", ["truncated", "text", "of another model", "without recipe"])
def test_damaged_weights_are_named(work, tmp_path, damage):
    for ending in (".weights.h5", ".json"):
        shutil.copy(work / f"weights/tiny/fold_0_best{ending}", tmp_path / f"a{ending}")
    weights, recipe = tmp_path / "a.weights.h5", tmp_path / "a.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:50_000])
    elif damage == "text":
        weights.write_text("these are not weights")
    elif damage == "of another model":
        recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"model": "resnet18"}))
    else:
        recipe.unlink()
    done = run_here(tgs_predict.main, f"--file_name={weights}", "--data_path=tgs", cwd=work)
    assert done.returncode == 2, done.stderr
    assert str(tmp_path / "a") in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "exactly one of"),
        (["--use_folds", "--oof"], "exactly one of"),
        (["--use_folds", "--model=resnet34"], "train first"),
        (["--file_name=nothing.weights.h5", "--data_path=tgs"], "no weights file nothing.weights.h5"),
        (["--use_folds", "--model=tiny", "--data_path=nowhere"], "nowhere"),
        (["--threshold=1.5", "--use_folds"], "outside 0 to 1"),
        (["--validate=nothing.csv", "--data_path=tgs"], "nothing.csv"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(work, flags, said):
    done = run_here(tgs_predict.main, *flags, cwd=work)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_tiles_are_read_one_batch_ahead_only(work, monkeypatch):
    """Memory cannot grow with the number of tiles: while one batch is predicted, one more is read, and no further."""
    import data.tiles

    read = []
    monkeypatch.setattr(data.tiles, "read_images", lambda paths: read.append(len(paths)) or read_images(paths))
    tiles = list_pngs(work / "tgs/train/images")
    got = []
    for number, (ids, images) in enumerate(read_ahead(tiles, 8), start=1):
        assert len(read) <= number + 1
        assert images.shape == (len(ids), 101, 101)
        got += ids
    assert got == list(tiles)
    assert read == [8] * 7 + [4]
