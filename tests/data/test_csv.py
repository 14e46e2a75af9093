"""Reading CSVs: values stay text, and whatever is wrong is named with its file and line."""

import os
import re

import numpy as np
import pytest

from common.errors import InputError
from data.tables import check_train_csv, read_csv, read_depths
from data.tiles import TileSet
from tests.helpers.commands import refused


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (b"id,z\na,1\nb,2\n", [["a", "1"], ["b", "2"]]),
        (b"\xef\xbb\xbfid,z\r\na,1\r\nb,2", [["a", "1"], ["b", "2"]]),  # as Excel writes it
        (b'"id","z"\n"a,b","1"\n"c""d",2\n', [["a,b", "1"], ['c"d', "2"]]),
        (b"id,z\n\na,1\n\n\nb,2\n\n", [["a", "1"], ["b", "2"]]),
        (b"id,z\nNA,nan\nnull,\n007,0x\nTrue,1e3\n", [["NA", "nan"], ["null", ""], ["007", "0x"], ["True", "1e3"]]),
        ("id,z\nä ö,1\n$(touch pwned),2\n".encode(), [["ä ö", "1"], ["$(touch pwned)", "2"]]),
    ],
)
def test_csv_values_stay_the_text_they_are(tmp_path, text, rows):
    (tmp_path / "x.csv").write_bytes(text)
    table = read_csv(tmp_path / "x.csv", ("id", "z"))
    assert list(table.columns) == ["id", "z"]
    assert table.to_numpy().tolist() == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"id,z\n", "has a header and no rows"),
        (b"id;z\na;1\n", "has the columns id;z; expected id,z"),
        (b"id\tz\na\t1\n", "expected id,z"),
        (b"z,id\n1,a\n", "has the columns z,id; expected id,z"),
        (b"id,z,extra\na,1,2\n", "has the columns id,z,extra"),
        (b"id\na\n", "has the columns id; expected id,z"),
        (b"a,1\nb,2\n", "has the columns a,1; expected id,z"),
        (b"id,z\na,1,2\nb,1\n", "line 2 has 3 values; expected id,z"),
        (b"id,z\na,1,\nb,1,\n", "line 2 has 3 values"),
        (b"id,z\n\na,1\nb\n", "line 4 has 1 values"),
        (b"id,z\na,1\n,2\n", "line 3: the id is empty"),
        (b"id,z\na,1\nb,2\na,3\n", "line 4 has 'a' a second time"),
        (b"id,z\n../a,1\n", "line 2: '../a' cannot be an id"),
        (b"id,z\nx,0\na/b,1\n", "line 3: 'a/b' cannot be an id"),
        (b"id,z\na\\b,1\n", r"line 2: 'a\\b' cannot be an id"),
        (b'id,z\n"a\nb",1\n', r"line 3: 'a\nb' cannot be an id"),
        (b"id,z\na\0b,1\n", r"line 2: 'a\x00b' cannot be an id"),
        (b'id,z\n"a,1\nb,2\n', "is not a CSV of id,z"),
        (b'id,z\n"a"b,1\n', "is not a CSV of id,z"),
        ("id,z\na,1\n".encode("utf-16"), "is not a CSV of id,z"),
        (b"id,z\n\xe4,1\n", "is not a CSV of id,z"),
    ],
)
def test_malformed_csvs_are_named_with_their_line(tmp_path, text, said):
    path = tmp_path / "x.csv"
    path.write_bytes(text)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_csv(path, ("id", "z"))
    assert str(caught.value).startswith(f"{path} ")


def test_csvs_that_cannot_be_read(tmp_path):
    for path, reason in ((tmp_path / "none.csv", "No such file"), (tmp_path, "Is a directory")):
        refused(lambda path=path: read_csv(path, ("id", "z")), f"cannot read {path}: {reason}")
    os.mkfifo(tmp_path / "pipe.csv")  # opening it would wait for a writer
    refused(lambda: read_csv(tmp_path / "pipe.csv", ("id", "z")), f"{tmp_path}/pipe.csv is a pipe or a device")


def test_depths(tmp_path):
    path = tmp_path / "depths.csv"
    path.write_text("id,z\nNA,306\nb,-7.5\nc,1e3\n")
    assert read_depths(path) == {"NA": 306, "b": -7.5, "c": 1000}
    for bad in ("", "deep", "nan", "inf", "1e400", "1,5", "0x10"):
        path.write_text(f'id,z\na,1\n\nb,"{bad}"\n')
        with pytest.raises(InputError, match=re.escape(f"{path} line 4: the depth '{bad}' is not a number")):
            read_depths(path)


def test_train_csv(tmp_path):
    path = tmp_path / "train.csv"
    masks = np.zeros((2, 101, 101), np.uint8)
    masks[1, 0, 0] = 1
    tiles = TileSet(["a", "b"], masks, masks)
    for good in ("a,\nb,1 1\n", "b,1 1\n"):
        path.write_text(f"id,rle_mask\n{good}")
        check_train_csv(path, tiles)
    for bad, said in (
        ("a,\nnan,1 1\n", " has the id 'nan', for which there is no image"),
        ("a,\nb,10201 2\n", " line 3, id 'b': run '10201 2' ends behind the last pixel"),
        ("a,\nb,2 10200\n", " line 3: masks/b.png holds another mask; mend one, or remove"),  # inverted
    ):
        path.write_text(f"id,rle_mask\n{bad}")
        refused(lambda: check_train_csv(path, tiles), f"{path}{said}")
