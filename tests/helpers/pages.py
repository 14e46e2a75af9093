"""README and docs/, taken apart: a page's fenced blocks, and in them commands and programs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.helpers.commands import ROOT

PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


@dataclass(frozen=True)
class Step:
    """A command or a program of a page; `line` is where it stands."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def steps(page: str) -> Iterator[Step]:
    """Yield what is to run in a page, in order: programs, and the commands of `sh` blocks one by one."""
    text = read(page)
    for block in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M):
        line = text[: block.start(2)].count("\n") + 1
        if block[1] != "sh":
            yield Step(page, line, block[1], block[2])
            continue
        for command in re.finditer(r"(?:.*\\\n)*.+", block[2]):
            words = re.sub(r"\\\n\s*", "", command[0])
            words = re.sub(r"\s+# .*", "", words)
            yield Step(page, line + block[2][: command.start()].count("\n"), "sh", words)


ALL_STEPS = [step for page in PAGES for step in steps(page)]
