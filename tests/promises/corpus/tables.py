"""CSVs and the RLEs in them: labels, depths, submissions."""

from tests.promises.corpus.commands import BY_DEPTH, PREPROCESS, VALIDATE, Case
from tests.promises.corpus.damage import edit, folder_at, forbid, link_at, pipe_at, put, remove

BAD_RLES = {
    "odd count": ("1 2 3", "odd count of numbers"),
    "start 0": ("0 5", "run '0 5': start and length count from 1"),
    "length 0": ("5 0", "run '5 0': start and length count from 1"),
    "negative": ("5 -1", "'-1' is not a pixel number"),
    "overlap": ("1 5 5 1", "run '5 1' overlaps"),
    "unsorted": ("9 1 2 1", "run '2 1' overlaps or precedes"),
    "behind the end": ("10201 2", "run '10201 2' ends behind the last pixel"),
    "a huge number": (f"1 {'9' * 6000}", "'99999999999999999999' is not a pixel number"),
    "a word": ("1 one", "'one' is not a pixel number"),
    "a fraction": ("1.5 2", "'1.5' is not a pixel number"),
    "NaN": ("nan", "'nan' is not a pixel number"),
}
BAD_CSVS = {  # for files of two columns, `id` and `{}`, where the first data row is replaced or more come behind
    "empty": ("", "is empty"),
    "header only": ("id,{}\n", "has a header and no rows"),
    "semicolons": ("id;{}\na;1\n", "has the columns id;"),
    "tabs": ("id\t{}\na\t1\n", "has the columns id\t"),
    "no header": ("a,1 1\n", "has the columns a,1 1"),
    "columns exchanged": ("{},id\n1 1,a\n", "has the columns "),
    "a value too many": ("id,{}\na,1 1,1\n", "line 2 has 3 values"),
    "a value too few": ("id,{}\na\n", "line 2 has 1 values"),
    "no id": ("id,{}\n,1 1\n", "line 2: the id is empty"),
    "an id twice": ("id,{}\na,1 1\na,1 1\n", "line 3 has 'a' a second time"),
    "a path as id": ("id,{}\n../a,1 1\n", "line 2: '../a' cannot be an id"),
    "a folder in an id": ("id,{}\na/b,1 1\n", "line 2: 'a/b' cannot be an id"),
    "a backslash in an id": ("id,{}\na\\b,1 1\n", r"line 2: 'a\\b' cannot be an id"),
    "a line break in an id": ('id,{}\n"a\nb",1 1\n', r"line 3: 'a\nb' cannot be an id"),
    "an open quote": ('id,{}\n"a,1 1\n', "is not a CSV of id,"),
}
SUBMISSION = "submission.csv"


def csv_cases(name: str, column: str, command: tuple, more: dict[str, tuple[str | bytes, str]]) -> dict[str, Case]:
    """Cases of one CSV: those that go for all, and `more` of text and what is said."""
    table = {case: (text.format(column), said) for case, (text, said) in BAD_CSVS.items()}
    table["UTF-16"] = (f"id,{column}\na,1\n".encode("utf-16"), "is not a CSV of id,")
    table["Latin-1"] = (f"id,{column}\n\xe4,1\n".encode("latin-1"), "is not a CSV of id,")
    return {
        f"{name}: {case}": (put(name, text), command, f"{name} {said}") for case, (text, said) in (table | more).items()
    }


CSVS: dict[str, Case] = {
    **csv_cases(
        "tgs/train.csv",
        "rle_mask",
        PREPROCESS,
        {
            f"RLE, {case}": (f"id,rle_mask\nb,{text}\n", f"line 2, id 'b': {said}")
            for case, (text, said) in BAD_RLES.items()
        }
        | {"id NaN": ("id,rle_mask\nNaN,1 1\n", "has the id 'NaN', for which there is no image")},
    ),
    **csv_cases(
        "tgs/depths.csv",
        "z",
        BY_DEPTH,
        {
            f"depth {z}": (f"id,z\na,{z}\n", f"line 2: the depth '{z}' is not a number")
            for z in ("", "deep", "nan", "inf")
        },
    ),
    "tgs/depths.csv: a tile without": (
        edit("tgs/depths.csv", "b,", "B,"),
        BY_DEPTH,
        "no depth for the tile 'b' in depths",
    ),
    **csv_cases(
        SUBMISSION,
        "rle_mask",
        VALIDATE,
        {
            f"RLE, {case}": (f"id,rle_mask\nx,\ny,{text}\nz,\n", f"line 3, id 'y': {said}")
            for case, (text, said) in BAD_RLES.items()
        }
        | {
            "an id missing": ("id,rle_mask\nx,\nz,\n", "lacks the id 'y' (1 missing)"),
            "an id too many": ("id,rle_mask\nx,\ny,\nz,\nNaN,\n", "has the id 'NaN', which is not asked for"),
        },
    ),
    **{
        f"{name}: {case}": (damage(name), command, said.format(name))
        for name, command in (("tgs/train.csv", PREPROCESS), ("tgs/depths.csv", PREPROCESS), (SUBMISSION, VALIDATE))
        for case, damage, said in (
            ("a directory", folder_at, "cannot read {}: Is a directory"),
            ("a broken link", lambda name: link_at(name, "gone"), "{} is a link to gone, and there is no /"),
            ("unreadable", forbid, "cannot read {}: Permission denied"),
        )
    },
    "tgs/train.csv: a pipe": (pipe_at("tgs/train.csv"), PREPROCESS, "tgs/train.csv is a pipe"),
    "submission.csv: missing": (remove(SUBMISSION), VALIDATE, "cannot read submission.csv: No such file"),
    "sample_submission.csv: header": (
        put("tgs/sample_submission.csv", "id\nx\n"),
        VALIDATE,
        "tgs/sample_submission.csv has the columns id; expected id,rle_mask",
    ),
}
