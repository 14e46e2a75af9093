"""Names that flags choose by: found in tables, in sums, and listed."""

import pytest

from common.names import Entry, find, list_names, read_sum
from tests.helpers.commands import refused

TABLE = {"warm": Entry("Raise the temperature.", lambda x: x + 1), "cool": Entry("Lower it.", lambda x: x - 1)}


def test_a_name_is_found_or_answered_with_the_known():
    assert find("cool", TABLE, "climate").function(1) == 0
    refused(lambda: find("hot", TABLE, "climate"), "no climate 'hot'; choose from warm, cool")
    assert refused(lambda: find("", TABLE, "climate", ", or none"), "no climate ''").endswith("warm, cool, or none")


@pytest.mark.parametrize(
    ("text", "names"), [("none", []), ("warm", ["warm"]), ("cool+warm+cool", ["cool", "warm", "cool"])]
)
def test_sums_keep_order_and_repetitions(text, names):
    assert read_sum(text, TABLE, "climate", "warm+cool") == [(name, TABLE[name]) for name in names]


@pytest.mark.parametrize("text", ["", "warm+", "+warm", "warm+none", "warm cool", "Warm"])
def test_what_is_no_sum(text):
    said = refused(lambda: read_sum(text, TABLE, "climate", "warm+cool"), "no climate '")
    assert said.endswith("; choose from warm, cool, a sum like warm+cool, or none")


def test_a_list_has_a_line_a_name():
    assert list_names(TABLE) == f"  {'warm':18} Raise the temperature.\n  {'cool':18} Lower it."
