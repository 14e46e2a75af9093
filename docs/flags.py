"""Writes docs/flags.md, the table of every flag, from the commands' own parsers: `python -m docs.flags` (make docs)."""

import re
from pathlib import Path

import tgs_predict
import tgs_preprocess
import tgs_train
from common.files import write_text
from common.flags import Parser

HEAD = """# Flags

Written by `make docs` from the commands' own parsers, as `--help` is. `tgs_train_ring.py` has `tgs_train.py`'s,
with `--hvd` on. BOOL is True or False (also yes, no, 1, 0); the flag alone means True.

| command | flag | default | meaning |
|---|---|---|---|
"""


def rows(commands: dict[str, Parser]) -> dict[str, str]:
    """The commands that have a flag, by the rest of its line in the table."""
    found: dict[str, str] = {}
    for command, parser in commands.items():
        for action in parser.options:
            value = "\\|".join(action.choices) if action.choices else action.metavar
            text = action.help.replace("%%", "%")
            told = re.search(r" \(default: (.*?)\)", text)  # what it says, where argparse's own is None
            default = told[1] if told else "" if action.default is None else action.default
            meaning = text.replace(told[0], "") if told else text
            line = f"`--{action.dest}={value}` | {default} | {meaning} |"
            found[line] = f"{found[line]}, {command}" if line in found else command
    return found


def page() -> str:
    """The text of flags.md."""
    commands = {"preprocess": tgs_preprocess.parser(), "train": tgs_train.parser(False)}
    commands["predict"] = tgs_predict.parser()
    return HEAD + "".join(f"| {names} | {line}\n" for line, names in rows(commands).items())


if __name__ == "__main__":
    write_text(Path(__file__).with_suffix(".md"), page())
