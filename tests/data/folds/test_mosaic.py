"""Grouping of tiles by matching borders, on a picture whose cuts are known and on the real tiles."""

import os
import time
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.folds import mosaic
from data.folds.mosaic import find_seams, mosaic_groups
from data.tiles import TILE


def picture_tiles(rows: int, columns: int, seed: int, blur: float = 3) -> np.ndarray:
    """A smooth random picture cut into tiles, each with its own contrast, as in the real data."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((rows * TILE, columns * TILE))
    picture = cv2.GaussianBlur(noise, (0, 0), blur)
    picture /= picture.std()
    tiles = picture.reshape(rows, TILE, columns, TILE).swapaxes(1, 2).reshape(-1, TILE, TILE)
    gain = rng.uniform(20, 40, (len(tiles), 1, 1))
    offset = rng.uniform(110, 140, (len(tiles), 1, 1))
    return np.clip(np.rint(tiles * gain + offset), 0, 255).astype(np.uint8)


def partition(labels: np.ndarray, names: np.ndarray) -> set[frozenset[int]]:
    """The groups as sets of tile names, free of the labels' values."""
    return {frozenset(names[labels == label].tolist()) for label in np.unique(labels)}


@pytest.fixture(scope="module")
def tiles() -> tuple[np.ndarray, np.ndarray]:
    """(images, true groups): pictures of 4 x 5 and 2 x 3 tiles, 30 unrelated, 5 black, 2 gray tiles."""
    unrelated = [picture_tiles(1, 1, seed) for seed in range(10, 40)]
    black = np.zeros((5, TILE, TILE), np.uint8)
    gray = np.full((2, TILE, TILE), 120, np.uint8)
    images = np.concatenate([picture_tiles(4, 5, 1), picture_tiles(2, 3, 2), *unrelated, black, gray])
    truth = np.concatenate([np.repeat(0, 20), np.repeat(1, 6), 2 + np.arange(37)])
    return images, truth


def test_pictures_are_grouped_exactly(tiles):
    images, truth = tiles
    labels = mosaic_groups(images)
    assert labels.shape == (len(images),)
    assert np.issubdtype(labels.dtype, np.integer)
    assert set(labels.tolist()) == set(range(39))
    names = np.arange(len(images))
    assert partition(labels, names) == partition(truth, names)


def test_the_order_of_the_tiles_does_not_matter(tiles):
    images, truth = tiles
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(images))
        assert partition(mosaic_groups(images[order]), order) == partition(truth, np.arange(len(images)))


def test_seams_name_left_then_right_and_upper_then_lower():
    horizontal, vertical = find_seams(picture_tiles(2, 2, 3))  # tiles 0 1 / 2 3
    assert horizontal.T.tolist() == [[0, 1], [2, 3]]
    assert vertical.T.tolist() == [[0, 2], [1, 3]]


def test_blocks_do_not_change_the_result(monkeypatch):
    images = picture_tiles(4, 5, 1)[::-1]
    whole = find_seams(images)
    monkeypatch.setattr(mosaic, "BLOCK", 5)
    for seams, seams_in_blocks in zip(whole, find_seams(images), strict=True):
        np.testing.assert_array_equal(seams_in_blocks, seams)
    assert [seams.shape for seams in whole] == [(2, 16), (2, 15)]


def test_fine_texture_is_joined_across_the_seam():
    # Correlation of adjacent pixels 0.78, too low for MAX_DISTANCE; extended to the seam 0.92.
    assert len(set(mosaic_groups(picture_tiles(2, 2, 7, blur=1)).tolist())) == 1


def test_black_and_constant_borders_stay_alone():
    images = np.zeros((6, TILE, TILE), np.uint8)
    images[3:] = 200
    images[[2, 5], 1:-1, 1:-1] = picture_tiles(1, 1, 4)[0, 1:-1, 1:-1]  # textured inside, constant border
    assert len(set(mosaic_groups(images).tolist())) == 6


def test_nearly_constant_borders_stay_alone():
    images = np.full((2, TILE, TILE), 120, np.uint8)
    images[:, TILE // 2 :] = 122  # equal left and right borders with a standard deviation of 1
    assert len(set(mosaic_groups(images).tolist())) == 2


def test_two_unrelated_tiles_stay_alone():
    images = np.concatenate([picture_tiles(1, 1, 8), picture_tiles(1, 1, 9)])  # no second-best match to beat
    assert len(set(mosaic_groups(images).tolist())) == 2


def test_a_seam_with_two_equal_candidates_is_left_open():
    left, right = picture_tiles(1, 2, 5)
    assert mosaic_groups(np.stack([left, right])).tolist() == [0, 0]
    assert len(set(mosaic_groups(np.stack([left, right, right])).tolist())) == 3  # one left, two right
    assert len(set(mosaic_groups(np.stack([left, left, right])).tolist())) == 3  # two left, one right


def test_a_tile_is_not_its_own_neighbour():
    image = np.repeat(picture_tiles(1, 1, 6)[:, :, :1], TILE, axis=2)  # right border equals left border
    assert find_seams(image)[0].shape == (2, 0)


def test_no_tiles_give_no_labels():
    assert mosaic_groups(np.zeros((0, TILE, TILE), np.uint8)).shape == (0,)


@pytest.mark.parametrize("wrong", [np.zeros((2, TILE, TILE), np.float32), np.zeros((2, 128, 128), np.uint8)])
def test_wrong_input_is_refused(wrong):
    with pytest.raises(ValueError, match="uint8"):
        mosaic_groups(wrong)


def read_train(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Real images, uint8, and masks, bool, both (N, 101, 101), from folder/train or folder/train.zip."""
    tree = folder / "train"
    root = tree if (tree / "images").is_dir() else zipfile.Path(folder / "train.zip")

    def read(kind: str, name: str) -> np.ndarray:
        file = np.frombuffer((root / kind / name).read_bytes(), np.uint8)
        return cv2.imdecode(file, cv2.IMREAD_UNCHANGED).reshape(TILE, TILE, -1)[..., 0]  # equal channels

    names = sorted(path.name for path in (root / "images").iterdir() if path.name.endswith(".png"))
    images = np.stack([read("images", name) for name in names])
    masks = np.stack([read("masks", name) > 0 for name in names])  # 8 or 16 bits
    return images, masks


def mask_agreement(masks: np.ndarray, horizontal: np.ndarray, vertical: np.ndarray) -> tuple[float, float, int]:
    """Share of seams whose mask borders agree in over 90 % of the pixels.

    Of all seams; of those between two non-empty masks; the number of the latter.
    """
    right, left, bottom, top = masks[:, :, -1], masks[:, :, 0], masks[:, -1], masks[:, 0]
    across = (right[horizontal[0]] == left[horizontal[1]]).mean(axis=1)
    down = (bottom[vertical[0]] == top[vertical[1]]).mean(axis=1)
    agree = np.concatenate([across, down]) > 0.9
    salt = masks.any(axis=(1, 2))
    judged = salt[np.concatenate([horizontal, vertical], axis=1)].all(axis=0)
    return float(agree.mean()), float(agree[judged].mean()), int(judged.sum())


def test_real_tiles():
    folder = os.environ.get("TGS_DATA")
    if not folder:
        pytest.skip("TGS_DATA is not set: the folder that holds train.zip or train/images")
    if not (Path(folder, "train.zip").is_file() or Path(folder, "train", "images").is_dir()):
        pytest.skip(f"TGS_DATA: neither train.zip nor train/images in {folder}")
    images, masks = read_train(Path(folder))
    start = time.perf_counter()
    labels = mosaic_groups(images)
    seconds = time.perf_counter() - start
    sizes = np.bincount(labels)
    horizontal, vertical = find_seams(images)
    joined = mask_agreement(masks, horizontal, vertical)
    pairs = np.random.default_rng(0).integers(0, len(images), (2, 2, 20_000))
    chance = mask_agreement(masks, *pairs)

    print(f"\n{len(images)} tiles, {seconds:.1f} s, {len(sizes)} groups")
    print(f"seams: {horizontal.shape[1]} horizontal, {vertical.shape[1]} vertical")
    print(f"groups by size: {dict(sorted(Counter(sizes.tolist()).items()))}")
    for name, (share, salt_share, count) in {"joined": joined, "random": chance}.items():
        print(f"masks agree, {name} pairs: {share:.3f}; both non-empty: {salt_share:.3f} of {count}")

    assert (sizes[labels[~images.any(axis=(1, 2))]] == 1).all(), "a black tile was joined"
    assert sizes.max() <= 0.01 * len(images), "chance matches weld one giant group"
    assert horizontal.shape[1] + vertical.shape[1] > 0.04 * len(images)
    assert joined[1] > 0.9
    assert joined[0] > chance[0] + 0.4
    assert chance[1] < 0.3
