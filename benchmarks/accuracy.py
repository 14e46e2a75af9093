"""How good trainings are out of fold: runs benchmarks/experiments.py row by row and keeps benchmarks/accuracy.md.

python -m benchmarks.accuracy --only=gpu        # the set for a GPU; --only=list shows all experiments
python -m benchmarks.accuracy --only=laptop     # the set for two cores and an evening
python -m benchmarks.accuracy --only=gpu/base   # this one; where there is none of the name, those that begin so
python -m benchmarks.accuracy --tiny=True --results_path=/tmp/results   # to try it

Every row is a run of tgs_train.py and of tgs_predict.py --oof, whose lines are shown. The same command goes on where it
was stopped: a training after its last epoch, the set after its last row. A row is a JSON file in
benchmarks/results/accuracy, to be removed to have it measured again. A set takes hours: run it in a clone that nothing
changes meanwhile (git clone . ../frozen), with --data_path, and copy its rows.
"""

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.experiments import SETS, Experiment
from common.backend import load_tensorflow
from common.command import run
from common.errors import InputError
from common.files import make_folder, read_json, write_json, write_text
from common.flags import Parser

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "benchmarks/accuracy.md"
MARKS = "<!-- rows: written by benchmarks.accuracy -->\n", "<!-- end of rows -->\n"
FOLDS = 5
TINY = {"model": "tiny", "target_size": 32, "epochs": 4, "batch_size": 16, "mixed_precision": False}


def parser() -> Parser:
    p = Parser(__doc__)
    p.group("what is measured")
    p.option("only", "", "the experiment of this set/name, or those that begin so; list: shows them", metavar="NAME")
    p.option("data_path", "data/tgs", "the competition's tiles", metavar="PATH")
    p.option("work_path", "accuracy", "where folds, weights and logs go", metavar="PATH")
    p.option("results_path", str(PAGE.parent / "results/accuracy"), "where the rows go", metavar="PATH")
    p.flag("tiny", False, "small networks and few epochs, to try the program itself (default: False)")
    return p


def main(argv: list[str] | None = None) -> list[dict]:
    """Measure what is not yet measured; returns all rows that were asked for."""
    args = parser().parse_args(argv)
    chosen = {
        f"{group}/{e.name}": (e, experiments)
        for group, experiments in SETS.items()
        for e in experiments
        if args.only == "list" or f"{group}/{e.name}".startswith(args.only)
    }
    chosen = {args.only: chosen[args.only]} if args.only in chosen else chosen
    if args.only == "list":
        print("\n".join(chosen))
        return []
    if not chosen:
        raise InputError(f"no experiment's name begins with '{args.only}'; --only=list shows them")
    load_tensorflow(verbose=args.verbose)
    results = make_folder(args.results_path)
    rows = []
    for name, (experiment, experiments) in chosen.items():
        path = results / f"{name.replace('/', '_')}.json"
        known = {e.name: e for e in experiments}
        whole = inherited(experiment, known)
        commands = commands_of(whole, name, args, known)
        row = read_json(path) if path.is_file() else {}
        if row.get("commands") != [shlex.join(command) for command in commands]:
            row = measure(whole, name, commands, args) | {"changed": changed(experiment)}
            write_json(path, row)
            print(
                f"{name}: score {row['score']:.4f} after {row['minutes']} minutes of training; wrote {path}", flush=True
            )
        rows.append(row)
    if results.resolve() == (PAGE.parent / "results/accuracy").resolve():
        write_page(results)
    print(table(rows))
    return rows


def inherited(experiment: Experiment, known: Mapping[str, Experiment]) -> Experiment:
    """The experiment with all that it takes over from the one it starts from."""
    if experiment.against is None:
        return experiment
    before = inherited(known[experiment.against], known)
    own = {key: value for key in ("folds", "group", "pick") if (value := getattr(experiment, key)) is not None}
    merged = {key: getattr(before, key) for key in ("folds", "group", "pick")} | own
    flags = {**before.flags, **experiment.flags}
    return Experiment(experiment.name, experiment.against, flags, teacher=experiment.teacher, **merged)


def commands_of(experiment: Experiment, name: str, args, known: Mapping[str, Experiment]) -> list[list[str]]:
    """The command lines of an experiment with all its values: folds, a training a fold, the evaluation."""
    work = Path(args.work_path)
    tiny = TINY if args.tiny else {}
    flags = dict(experiment.flags) | tiny
    folds, weights = work / f"folds_{experiment.group}", work / name
    model = flags["model"]
    if experiment.teacher:
        of_teacher = inherited(known[experiment.teacher], known).flags | tiny
        flags["teacher"] = work / name.split("/", maxsplit=1)[0] / experiment.teacher / str(of_teacher["model"])
        flags["unlabelled_path"] = args.data_path
    local = work / f"{Path(str(flags.get('encoder_weights'))).name}.safetensors"
    if local.is_file():  # in place of a download
        flags["encoder_weights"] = local
    given = [f"--{key}={value}" for key, value in flags.items()]
    places = [f"--weights_path={weights}", f"--log_dir={weights}/logs"]
    split = [f"--data_path={args.data_path}", f"--folds_path={folds}", f"--group={experiment.group}", f"--fold={FOLDS}"]
    judged = [f"--model={model}", f"--pick={experiment.pick}", f"--weights_path={weights}", f"--folds_path={folds}"]
    parts = [folds] if experiment.folds == FOLDS else [folds / f"fold_{k}" for k in range(experiment.folds)]
    return [
        ["tgs_preprocess.py", *split],
        *(["tgs_train.py", f"--data_path={part}", *given, *places] for part in parts),
        ["tgs_predict.py", "--oof=True", "--allow_missing=True", *judged],
    ]


def measure(experiment: Experiment, name: str, commands: Sequence[Sequence[str]], args) -> dict:
    """Run an experiment's commands; returns its row."""
    from benchmarks import machine

    facts = machine.facts()
    work = Path(args.work_path)
    for script, *flags in commands:
        if script == "tgs_preprocess.py" and (work / f"folds_{experiment.group}/folds.csv").is_file():
            continue
        print(f"{name}: python {shlex.join([script, *flags])}", flush=True)
        code = subprocess.run([sys.executable, str(ROOT / script), *flags], check=False).returncode
        if code:
            raise InputError(f"{name}: {script} ended with {code}, above is why; the same command goes on from there")
    weights = work / name / (TINY if args.tiny else experiment.flags)["model"]
    found = read_json(weights / f"oof_{experiment.pick}.json")
    recipes = [read_json(weights / f"{fold}_last.json") for fold in found["score_per_fold"]]
    return {
        "name": name,
        "against": experiment.against,
        "commands": [shlex.join(command) for command in commands],
        "seed": recipes[0]["flags"]["seed"],
        "minutes": minutes([recipe["train_seconds"] for recipe in recipes], experiment.flags.get("jobs", 1)),
        **{key: found[key] for key in ("tiles", "score", "score_per_fold", "score_cross_fitted")},
        **facts,
    }


def minutes(seconds: Sequence[float], jobs: int) -> float:
    """How long folds train that take so many seconds each, `jobs` of them at a time: the longest of each round."""
    rounds = [seconds[first : first + jobs] for first in range(0, len(seconds), jobs)]
    return round(sum(map(max, rounds)) / 60, 1)


def changed(experiment: Experiment) -> str:
    """What an experiment has of its own, as flags; "" of one that starts from none."""
    if experiment.against is None:
        return ""
    own = {**experiment.flags, "group": experiment.group, "pick": experiment.pick, "teacher": experiment.teacher}
    words = [f"`--{key}={value}`" for key, value in own.items() if value is not None]
    folds = {None: [], 1: ["one fold"]}.get(experiment.folds, [f"{experiment.folds} folds"])
    return ", ".join(words + folds)


def table(rows: Sequence[dict]) -> str:
    """The rows in Markdown, each beside the one it starts from."""
    known = {row["name"]: row for row in rows}
    lines = ["| experiment | changed | score | folds: least to greatest | against | seed | minutes | on |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        before = f"{row['name'].split('/', maxsplit=1)[0]}/{row['against']}"
        gain = f"{gained(row, known[before]):+.4f} to {row['against']}" if before in known else ""
        each = row["score_per_fold"].values()
        spread = f"{len(each)}: {min(each):.4f} to {max(each):.4f}" if len(each) > 1 else "1"
        cores = f"{row['cores']} core{'s' * (row['cores'] > 1)}"
        on = row["device"] if not row["device"].startswith("CPU") else f"{cores}, {row['cpu']}"
        cells = [row["name"], row["changed"], f"{row['score']:.4f}", spread, gain, row["seed"], row["minutes"], on]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def gained(row: dict, before: dict) -> float:
    """By how much a row's score is above another's; over the folds of both where one has fewer."""
    ours, theirs = row["score_per_fold"], before["score_per_fold"]
    if ours.keys() == theirs.keys():
        return row["score"] - before["score"]
    common = ours.keys() & theirs.keys()
    return sum(ours[fold] - theirs[fold] for fold in common) / len(common)


def write_page(results: Path) -> None:
    """Put the table of all rows there are, with their commands, between the page's marks."""
    order = [f"{group}/{e.name}" for group, experiments in SETS.items() for e in experiments]
    found = [read_json(path) for name in order if (path := results / f"{name.replace('/', '_')}.json").is_file()]
    before, rest = PAGE.read_text().split(MARKS[0])
    commands = "\n".join(f"# {row['name']}\n" + "\n".join(f"python {c}" for c in row["commands"]) for row in found)
    text = f"{table(found)}\n\n```text\n{commands}\n```\n" if found else "None yet.\n"
    write_text(PAGE, before + MARKS[0] + text + MARKS[1] + rest.split(MARKS[1])[1])


if __name__ == "__main__":
    run(main)
