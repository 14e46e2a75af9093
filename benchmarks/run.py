"""How fast training and prediction are, beside the peer's: a table, and the same as JSON for the record.

make bench                                      # both environments, then everything, on the CPU
make bench GPU=1                                # the same on a GPU
make bench ARGS=--only=train                    # what begins so; --only=list shows what there is
python -m benchmarks.run --peer=none            # ours alone
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contest import PEER
from common.backend import load_tensorflow
from common.command import run
from common.errors import InputError
from common.flags import Parser, number

OTHERS = ("host", "floor", "ring", "folds", "surveys")  # modules beside this one with rows(rounds, tiny) -> list[Row]


def parser() -> Parser:
    p = Parser(__doc__)
    p.group("what is measured")
    p.option("only", "", "the parts whose names begin so, joined by commas; list: shows them", metavar="NAMES")
    p.option("rounds", 5, "values of each row", type=number(int, 1, 1000), metavar="N")
    p.option("peer", PEER, "the peer's interpreter, or none", metavar="PATH")
    p.flag("compile", None, "the peer through torch.compile as well (default: on a GPU)")
    p.flag("at_once", False, "start all contenders first, at once: sooner on a GPU, first steps later (default: False)")
    p.flag("tiny", False, "small networks, to try the benchmark itself (default: False)")
    p.option("results_path", "benchmarks/results", "where the JSON goes", metavar="PATH")
    return p


def main(argv: list[str] | None = None) -> Path | None:
    """Measure, print the table, write the JSON; returns its path."""
    args = parser().parse_args(argv)
    load_tensorflow(verbose=args.verbose)
    from benchmarks import contest, machine, table
    from common.files import make_folder

    gpu = machine.has_gpu()
    compile = gpu if args.compile is None else args.compile
    peer = None if args.peer == "none" else Path(args.peer).absolute()
    parts = list_parts(gpu, peer, compile, args)
    if args.only == "list":
        print("\n".join(parts))
        return None
    if not parts:
        raise InputError(f"no part's name begins with '{args.only}'; --only=list shows them")
    facts = {"command": command(args), **machine.facts()}
    if peer and not parts.keys() <= set(OTHERS):
        facts["peer"] = contest.peer_facts(peer, gpu)
    path = make_folder(args.results_path) / f"{'gpu' if gpu else 'cpu'}_{datetime.now():%Y%m%d-%H%M%S}.json"
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)

    rows = []
    for part in parts.values():
        rows += part()
        table.write(path, rows, facts)  # after each: what a run that is cut short has measured is kept
    print("", table.text(rows), "", f"wrote {path}", sep="\n")
    return path


def list_parts(gpu: bool, peer: Path | None, compile: bool, args) -> dict[str, Callable[[], list]]:
    """The parts that --only asks for, by name; each measures when called and returns its rows."""
    from benchmarks import contest

    def asked(name: str) -> bool:
        return args.only == "list" or name.startswith(tuple(args.only.split(",")))

    cells = [cell for cell in (contest.TINY if args.tiny else contest.GPU if gpu else contest.CPU) if asked(str(cell))]
    settings = {"peer": peer, "rounds": args.rounds, "compile": compile, "tiny": args.tiny}
    parts: dict[str, Callable[[], list]] = {str(cell): partial(contest.compare, cell, **settings) for cell in cells}
    if args.at_once:  # all start when the first one is asked for its rows
        parts = dict.fromkeys(parts, partial(next, contest.compare_at_once(cells, **settings)))
    for name in filter(asked, OTHERS):
        if find_spec(f"benchmarks.{name}"):
            parts[name] = partial(import_module(f"benchmarks.{name}").rows, args.rounds, args.tiny)
    return parts


def command(args) -> str:
    """The command that repeats this run, less its paths."""
    given = {name: value for name, value in vars(args).items() if value != parser().get_default(name)}
    given = {k: v for k, v in given.items() if k not in ("config", "results_path") and (k != "peer" or v == "none")}
    return " ".join(["python -m benchmarks.run", *(f"--{name}={value}" for name, value in given.items())])


if __name__ == "__main__":
    run(main)
