"""README and docs/: every link, flag and message in them is true, and no page is long."""

import re

import pytest

import tgs_predict
import tgs_preprocess
import tgs_train
from docs.flags import page as flags_page
from tests.helpers.commands import ROOT
from tests.helpers.pages import PAGES, read, steps

OTHERS_FLAGS = {  # of Slurm, Docker, Horovod, TensorBoard, pip, the launcher and benchmarks; "flag" stands for any
    "flag",
    *("cpus-per-task", "gpus-per-node", "gpus-per-task", "nodes", "ntasks-per-node", "time"),
    *("check-build", "elastic", "figure", "hostfile", "logdir", "only", "shm-size", "ulimit", "xla_gpu_cuda_data_dir"),
}


def test_examples_of_extending_are_short():
    examples = [step.text for step in steps("docs/extending.md") if step.language == "python"]
    assert len(examples) == 6
    for text in examples:
        assert len(text.splitlines()) <= 15, text


def anchors(page: str) -> set[str]:
    """The places that a link can lead to in a page, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", read(page), flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_are_there(page):
    for name, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", read(page)):
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.is_file(), f"{page} links to {name}"
        assert not anchor or anchor in anchors(str(target.resolve().relative_to(ROOT))), f"{page}: {name}#{anchor}"
        assert target.suffix != ".png" or target.stat().st_size < 205_000, f"{name} is large"


def test_every_page_is_reached_from_readme():
    assert {f"docs/{name}" for name in re.findall(r"\(docs/(\w+\.md)\)", read("README.md"))} == set(PAGES[1:])


def test_pages_are_short():
    for page in PAGES:
        assert len(read(page).splitlines()) <= 150, page


def test_flags_named_in_pages_exist():
    parsers = (tgs_preprocess.parser(), tgs_train.parser(False), tgs_predict.parser())
    known = {"help", *(action.dest for parser in parsers for action in parser.options)}
    for program in ("data/sample.py", "data/tiles_from_segy.py"):
        known |= set(re.findall(r'option\("(\w+)"', (ROOT / program).read_text()))
    named = {name: page for page in PAGES for name in re.findall(r"(?<![\w-])--([a-zA-Z][\w-]*)", read(page))}
    assert {name for name in named if name not in known} == OTHERS_FLAGS, named


def test_table_of_flags_is_up_to_date():
    assert read("docs/flags.md") == flags_page(), "run make docs"


def test_messages_are_those_of_the_code():
    packages = ("common", "data", "models", "training")
    sources = [*ROOT.glob("*.py"), *(path for folder in packages for path in (ROOT / folder).rglob("*.py"))]
    code = "".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in sources)
    table = read("docs/troubleshooting.md").partition("## By message")[2].partition("\n## ")[0]
    messages = [text for row in re.findall(r"^\| (`.+?`) \|", table, re.M) for text in re.findall(r"`(.+?)`", row)]
    assert len(messages) > 20
    for message in messages:
        for part in message.split("…"):
            assert part.strip(" '();") in code, message
