"""The sample data: Kaggle's layout to the bit, the real data's shares, and not solvable by brightness."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import InputError
from data.kaggle.write import ENTRIES
from data.rle import encode_rle
from data.sample import main
from data.sheets import TRUTH
from data.synthetic.tiles import make_sample, make_tiles, sample_sheet
from data.tiles import TileSet, read_tiles

ROOT = Path(__file__).parents[3]
N_TRAIN, N_TEST = 400, 40


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "tgs"
    make_sample(path, n_train=N_TRAIN, n_test=N_TEST, seed=1)
    return path


@pytest.fixture(scope="module")
def tiles(sample: Path) -> TileSet:
    return read_tiles(sample / "train" / "images", sample / "train" / "masks")


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def content(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "data.sample", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# ---- layout ------------------------------------------------------------------------------------------------


def test_layout_and_bit_depths_are_kaggles(sample: Path):
    assert sorted(p.name for p in sample.iterdir()) == sorted(ENTRIES)
    images = list((sample / "train" / "images").iterdir())
    test_images = list((sample / "test" / "images").iterdir())
    assert (len(images), len(test_images)) == (N_TRAIN, N_TEST)
    assert {p.name for p in images} == {p.name for p in (sample / "train" / "masks").iterdir()}
    for path in images + test_images:
        assert re.fullmatch(r"[0-9a-f]{10}\.png", path.name)
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image.shape == (101, 101, 3)
        assert image.dtype == np.uint8
        assert (image == image[..., :1]).all()
    for path in (sample / "train" / "masks").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (101, 101)
        assert mask.dtype == (np.uint16 if mask.any() else np.uint8)
        assert set(np.unique(mask)) <= {0, 65535}


def test_csv_files_agree_with_the_tiles(sample: Path, tiles: TileSet):
    test_ids = {p.stem for p in (sample / "test" / "images").iterdir()}
    header, *train = rows(sample / "train.csv")
    assert header == ["id", "rle_mask"]
    assert dict(train) == {name: encode_rle(mask) for name, mask in zip(tiles.ids, tiles.masks, strict=True)}
    header, *depths = rows(sample / "depths.csv")
    assert header == ["id", "z"]
    assert len(depths) == N_TRAIN + N_TEST
    assert {name for name, _ in depths} == test_ids | set(tiles.ids)
    assert all(50 <= int(z) <= 960 for _, z in depths)
    header, *submission = rows(sample / "sample_submission.csv")
    assert header == ["id", "rle_mask"]
    assert {name for name, _ in submission} == test_ids
    assert {runs for _, runs in submission} == {"1 1"}


# ---- statistics --------------------------------------------------------------------------------------------


def test_shares_are_those_of_the_real_data(tiles: TileSet):
    coverage = tiles.coverage
    pixels = tiles.masks.sum(axis=(1, 2))
    black = tiles.images.max(axis=(1, 2)) == 0
    assert 0.33 < (coverage == 0).mean() < 0.45  # real: 0.39
    assert 0.21 < coverage.mean() < 0.30  # real: 0.25
    assert coverage.max() < 1
    assert 0.005 < black.mean() < 0.035  # real: 0.02
    assert (coverage[black] == 0).all()
    assert 0.002 < ((pixels > 0) & (pixels <= 10)).mean() < 0.03  # real: 0.011
    striped = (tiles.masks == tiles.masks[:, :1]).all(axis=(1, 2)) & (coverage > 0)
    assert 0.005 < striped.mean() < 0.06  # real: 0.028
    contrast = tiles.images[~black].std(axis=(1, 2))
    assert 24 < np.median(contrast) < 36  # real: 28
    assert contrast.min() > 3


def test_neighbours_continue_each_other(tiles: TileSet):
    """Tiles come in sections: right borders fit left borders more often than reversed ones."""

    def standardised(borders: np.ndarray) -> np.ndarray:
        borders = borders.astype(np.float32) - borders.mean(axis=1, keepdims=True)
        return borders / np.maximum(np.linalg.norm(borders, axis=1, keepdims=True), 1)

    right, left = standardised(tiles.images[:, :, -1]), standardised(tiles.images[:, :, 0])
    continued = ((right @ left.T).max(axis=1) > 0.95).mean()
    by_chance = ((right @ left[:, ::-1].T).max(axis=1) > 0.95).mean()
    print(f"continued {continued:.2f}, by chance {by_chance:.2f}")
    assert continued > by_chance + 0.2


# ---- difficulty --------------------------------------------------------------------------------------------


def mean_iou(predicted: np.ndarray, masks: np.ndarray) -> float:
    """Mean IoU over tiles; both (N, 101, 101) bool."""
    return float(((predicted & masks).sum(axis=(1, 2)) / (predicted | masks).sum(axis=(1, 2))).mean())


def best_iou(scores: np.ndarray, masks: np.ndarray) -> float:
    """Mean IoU at the best of 40 thresholds for the whole set; the lowest predicts salt everywhere."""
    return max(mean_iou(scores >= t, masks) for t in np.quantile(scores, np.linspace(0, 0.975, 40)))


def texture(image: np.ndarray) -> np.ndarray:
    """Local strength, dip and coherence at three scales, (26 * 26, 10), from one tile."""
    x = (image - image.mean()) / image.std()
    gy, gx = np.gradient(x)
    features = [np.ones_like(x)]
    for size in (9, 21, 41):
        xx, yy, xy = (cv2.blur(g, (size, size)) + 1e-3 for g in (gx * gx, gy * gy, gx * gy))
        features += [np.log(xx + yy), np.log(xx / yy), np.hypot(xx - yy, 2 * xy) / (xx + yy)]
    return np.stack(features, axis=-1)[::4, ::4].reshape(-1, len(features))


def test_salt_is_found_by_texture_and_not_by_brightness():
    """Thresholding brightness is no better than calling everything salt; ten linear texture features are.

    The same lines on the 3,601 real tiles: everything 0.446, brightness 0.446, texture 0.512.
    """
    images, masks, _ = make_tiles(np.random.default_rng(7), 500)
    coverage = masks.mean(axis=(1, 2))
    partly = (coverage > 0.1) & (coverage < 0.9)
    images, masks = images[partly].astype(np.float32), masks[partly][:, ::4, ::4]
    half = len(images) // 2
    features = np.stack([texture(image) for image in images])  # (N, 676, 10)
    labels = masks.reshape(len(masks), -1) - 0.5
    weights = np.linalg.lstsq(features[:half].reshape(-1, 10), labels[:half].ravel(), rcond=None)[0]
    scores = (features @ weights).reshape(masks.shape)
    everything = mean_iou(np.ones_like(masks[half:]), masks[half:])
    gray = images[half:, ::4, ::4]
    smoothed = np.stack([cv2.blur(image, (15, 15)) for image in images[half:]])[:, ::4, ::4]
    brightness = max(best_iou(sign * g, masks[half:]) for sign in (1, -1) for g in (gray, smoothed))
    by_texture = best_iou(scores[half:], masks[half:])
    print(f"everything {everything:.3f}, brightness {brightness:.3f}, texture {by_texture:.3f}")
    assert brightness < everything + 0.02
    assert by_texture > brightness + 0.04


# ---- writing -----------------------------------------------------------------------------------------------


def test_the_seed_fixes_every_byte(tmp_path: Path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_sample(tmp_path / name, n_train=12, n_test=5, seed=seed)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert not content(tmp_path / "a").keys() & {k for k in content(tmp_path / "c") if k.endswith(".png")}


def test_the_number_of_threads_changes_nothing():
    threads = cv2.getNumThreads()
    tiles = []
    for count in (1, 2, 3):
        cv2.setNumThreads(count)
        tiles.append(make_tiles(np.random.default_rng(1), 60))
    cv2.setNumThreads(threads)
    for other in tiles[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(tiles[0], other, strict=True))


@pytest.mark.parametrize("entry", ENTRIES)
def test_it_refuses_to_write_over_data(tmp_path: Path, entry: str):
    (tmp_path / entry).mkdir()
    with pytest.raises(InputError, match=re.escape(str(tmp_path / entry))):
        make_sample(tmp_path, n_train=4, n_test=2)
    assert [p.name for p in tmp_path.iterdir()] == [entry]


def test_other_files_in_the_folder_stay(tmp_path: Path):
    (tmp_path / ".gitkeep").touch()
    make_sample(tmp_path, n_train=4, n_test=2)
    assert {p.name for p in tmp_path.iterdir()} == {".gitkeep", *ENTRIES}


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(28, "No space left on device"), InputError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_an_error_on_the_way_leaves_nothing(tmp_path: Path, monkeypatch, error, raised):
    written, write = [], Path.write_bytes

    def write_some(path: Path, data: bytes) -> None:
        if len(written) == 5:
            raise error
        written.append(path)
        write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_some)
    with pytest.raises(raised):
        make_sample(tmp_path / "tgs", n_train=4, n_test=2)
    assert len(written) == 5
    assert not content(tmp_path)


# ---- command line ------------------------------------------------------------------------------------------


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, sheet = tmp_path / "tgs", tmp_path / "sheet.png"
    assert main([f"--path={path}", "--n_train=10", "--n_test=3", f"--sheet={sheet}"]) == path
    *said, following = capsys.readouterr().out.splitlines()
    assert said == [f"wrote 10 labelled and 3 test tiles, all generated, to {path}/", f"drew {sheet}"]
    assert following.startswith("next: ")
    assert following.endswith(f"tgs_preprocess.py --data_path={path}")  # run by tests/promises/test_next_lines.py
    again = run(f"--path={path}")
    assert again.returncode == 2
    assert re.fullmatch(rf"error: {re.escape(str(path))}/\S+ exists; .*\n", again.stderr)
    assert "--n_train" in run("--help").stdout


@pytest.mark.parametrize("argument", ["--n_tr=3", "--n_test=0", "--seed=-1"])
def test_wrong_use_is_one_line(capsys: pytest.CaptureFixture[str], argument: str):
    with pytest.raises(SystemExit, match="2"):
        main([argument])
    assert re.fullmatch(r"error: .+\n", capsys.readouterr().err)


def test_a_file_in_the_way_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "file"))):
        make_sample(tmp_path / "file", n_train=4, n_test=2)


def test_sheet_shows_salt_in_colour(sample: Path, tmp_path: Path):
    sample_sheet(sample, tmp_path / "sheet.png", rows=2, columns=3)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[0] > 2 * 2 * 101
    assert sheet.shape[1] > 3 * 2 * 101
    assert (sheet[40:] == TRUTH.core).all(axis=-1).any()  # below the legend
