"""Run-length coding: by hand, by property, against a slow second implementation, and on the real strings."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from data.rle import decode_rle, encode_rle
from data.tables import read_csv
from data.tiles import TILE, read_tiles

masks = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1))


def encode_slowly(mask: np.ndarray) -> str:
    """The definition, pixel by pixel: columns from left to right, each from top to bottom, counted from 1."""
    runs: list[list[int]] = []
    number = 0
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            number += 1
            if mask[y, x] and runs and sum(runs[-1]) == number:
                runs[-1][1] += 1
            elif mask[y, x]:
                runs.append([number, 1])
    return " ".join(f"{start} {length}" for start, length in runs)


# 0 1 0
# 1 1 0    counted down the columns: 1 3 5 / 2 4 6, salt is 2, 3, 4
HANDMADE = [
    ([[0, 1, 0], [1, 1, 0]], "2 3"),
    ([[0, 0, 0], [0, 0, 0]], ""),
    ([[1, 1, 1], [1, 1, 1]], "1 6"),
    ([[1, 0, 0], [0, 0, 0]], "1 1"),
    ([[0, 0, 0], [0, 0, 1]], "6 1"),
    ([[1, 1, 1], [0, 0, 0]], "1 1 3 1 5 1"),
    ([[0, 0, 0], [1, 1, 1]], "2 1 4 1 6 1"),
    ([[0], [1], [1]], "2 2"),
    ([[0, 1, 1]], "2 2"),
]


@pytest.mark.parametrize(("mask", "text"), HANDMADE)
def test_by_hand(mask, text):
    mask = np.array(mask, np.uint8)
    assert encode_rle(mask) == text
    decoded = decode_rle(text, mask.shape)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, mask)


def test_a_tile_by_hand():
    mask = np.zeros((TILE, TILE), np.uint8)
    mask[1, 0] = mask[0, 1] = mask[100, 100] = 1  # second of column 1, first of column 2, very last
    assert encode_rle(mask) == "2 1 102 1 10201 1"
    mask[:, 2] = mask[:50, 3] = 1  # a run over the end of a column: 203..303 and 304..353
    assert encode_rle(mask) == "2 1 102 1 203 151 10201 1"
    np.testing.assert_array_equal(decode_rle("2 1 102 1 203 151 10201 1"), mask)


@given(masks)
def test_encode_then_decode_gives_the_mask_and_encode_is_the_definition(mask):
    text = encode_rle(mask)
    assert text == encode_slowly(mask)
    np.testing.assert_array_equal(decode_rle(text, mask.shape), mask)


@given(masks, st.sampled_from([bool, np.uint8, np.uint16, np.int64, np.float32]), st.sampled_from([1, 255]))
def test_any_value_but_zero_is_salt_in_any_type_and_memory_order(mask, dtype, value):
    other = np.asfortranarray(mask.astype(dtype) * dtype(value))
    assert encode_rle(other) == encode_rle(mask)


@st.composite
def run_lists(draw) -> list[int]:
    """Starts and lengths of sorted runs in 60 pixels; neighbouring runs may touch."""
    runs, start = [], 1
    while start <= 60 and draw(st.booleans()):
        start = draw(st.integers(start, 60))
        length = draw(st.integers(1, 61 - start))
        runs += [start, length]
        start += length
    return runs


@given(run_lists())
def test_decode_then_encode_merges_touching_runs_and_keeps_the_pixels(runs):
    mask = decode_rle(" ".join(map(str, runs)), (6, 10))
    salt = {p for start, length in zip(runs[::2], runs[1::2], strict=True) for p in range(start, start + length)}
    assert set(np.flatnonzero(mask.ravel(order="F")) + 1) == salt
    assert mask.sum() == sum(runs[1::2])
    assert encode_rle(mask) == encode_slowly(mask)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1", "odd count"),
        ("1 2 3", "odd count"),
        ("0 5", "'0 5': start and length count from 1"),
        ("5 0", "'5 0': start and length count from 1"),
        ("-1 5", "'-1' is not a pixel number"),
        ("1 -5", "'-5' is not a pixel number"),
        ("1.0 2", "'1.0' is not a pixel number"),
        ("1e2 2", "'1e2' is not a pixel number"),
        ("+1 2", "'+1' is not a pixel number"),
        ("1_0 2", "'1_0' is not a pixel number"),
        ("1,2", "'1,2' is not a pixel number"),
        ("nan", "'nan' is not a pixel number"),
        ("٣ 2", "'٣' is not a pixel number"),  # a digit, but no ASCII one
        ("² 2", "'²' is not a pixel number"),
        ("1 5 5 1", "'5 1' overlaps"),
        ("1 5 1 5", "'1 5' overlaps"),
        ("7 1 2 1", "'2 1' overlaps or precedes"),
        ("24 2", "ends behind the last pixel, 24"),
        ("25 1", "ends behind the last pixel, 24"),
        ("1 25", "ends behind the last pixel, 24"),
        ("1 999999999", "ends behind the last pixel, 24"),
        (f"1 {'9' * 5000}", "'99999999999999999999' is not a pixel number"),  # more digits than int() takes
    ],
)
def test_malformed(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        decode_rle(text, (4, 6))


@given(st.text(alphabet="0123456789 -.x\n", max_size=30))
def test_any_text_is_decoded_or_refused_with_a_value_error(text):
    try:
        mask = decode_rle(text, (4, 6))
    except ValueError:
        return
    assert mask.shape == (4, 6)
    assert mask.sum() == sum(map(int, text.split()[1::2]))


def test_every_real_string_comes_out_of_its_real_mask(real_data):
    tiles = read_tiles(real_data / "train" / "images", real_data / "train" / "masks")
    table = read_csv(real_data / "train.csv", ("id", "rle_mask"))
    assert len(tiles) == len(table) == 3601
    strings = dict(zip(table["id"], table["rle_mask"], strict=True))
    for name, mask in zip(tiles.ids, tiles.masks, strict=True):
        assert encode_rle(mask) == strings[name], name
        np.testing.assert_array_equal(decode_rle(strings[name]), mask, err_msg=name)
