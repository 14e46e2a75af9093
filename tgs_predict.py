#!/usr/bin/env python3
"""Predict salt masks with trained weights, write a submission, judge weights out of fold, check a submission.

    python tgs_predict.py --file_name=weights/resnet34/fold_0_best.weights.h5     # one fold's weights
    python tgs_predict.py --use_folds=True --model=resnet34                       # mean over all folds
    python tgs_predict.py --oof=True --model=resnet34 --report=True               # honest score on the training tiles
    python tgs_predict.py --use_folds=True --data_path=section.png --overlap=0.5  # a seismic section of any size
    python tgs_predict.py --use_folds=True --data_path=survey.sgy --slices=both   # a SEG-Y volume or line
    python tgs_predict.py --use_folds=True --export=salt.onnx                     # for other programs
    python tgs_predict.py --validate=submission/submission_X.csv                  # only checks, writes nothing

Writes submission/submission_<weights>_<time>.csv, for a section its mask as section_<name>_<weights>_<time>.png,
for a survey its salt probabilities as survey_<name>_<weights>_<time>_salt.sgy; a survey's run that was stopped goes on.
With --hvd=True under mpirun (or predict_multi_gpu_ring.sh) the processes share tiles, or the lines of a survey.
--oof writes weights/<model>/oof_<pick>.json (score, threshold and minimum area, which --threshold=auto then uses),
oof_<pick>.csv (a row a tile) and pictures. Beside each lies a .yaml with the flags.
"""

from __future__ import annotations

import os
import shlex
import time
from argparse import Namespace
from collections import deque
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import data
import models
from common.backend import load_tensorflow
from common.command import run
from common.errors import InputError
from common.files import write_text
from common.flags import Parser, auto_or, command_line, config_text, number
from common.progress import bar
from common.ring.join import join

if TYPE_CHECKING:
    from common.ring.base import Ring

# The packages' facades are lazy: to name one here loads nothing heavy, and --help is answered at once.
SCRIPT = Path(__file__).name
NOT_TOGETHER = {
    "validate": ("report", "probabilities", "export", "tile", "mask", "hvd"),
    "oof": ("export", "tile", "mask"),
    "export": ("report", "probabilities", "tile", "mask", "hvd"),
}


def parser() -> Parser:
    p = Parser(__doc__)
    p.group("what to do: one of these")
    p.option("file_name", None, "predict with one weights file", metavar="FILE")
    p.flag("use_folds", False, "predict with the mean over --model's folds (default: False)")
    p.flag("oof", False, "score each fold's validation tiles with its own weights (default: False)")
    p.option("validate", None, "check this submission against the ids under --data_path", metavar="FILE")
    p.group("with which weights")
    p.option("model", "resnet34", "of this model; list: shows what is trained", metavar="NAME")
    p.option("pick", "best", "of the best epoch, of the last, or of every cycle", choices=("best", "last", "cycles"))
    p.option("fold_weights", "equal", "folds count equally, or by their score", choices=("equal", "score"))
    p.flag("allow_missing", False, "go on when a fold, or a cycle, has no weights (default: False)")
    p.group("how")
    tiles = "folder with test/images, folder of tiles, one tile, a section (.png or .npy of any size), or .sgy"
    p.option("data_path", "data/tgs", tiles, metavar="PATH")
    tile = "side of the windows that a section is read by, in its pixels (default: 101); a folder is then of sections"
    p.option("tile", None, tile, type=number(int, 16, 4096), metavar="N")
    p.option("overlap", 0.5, "least share that two of them have in common", type=number(float, 0, 0.9), metavar="X")
    slices = ("inline", "crossline", "both")
    p.option("slices", "inline", "sections of a SEG-Y volume; both: their mean", choices=slices)
    byte = number(int, 1, 240)
    p.option("inline_byte", 189, "where its trace headers have the inline's number", type=byte, metavar="N")
    p.option("crossline_byte", 193, "and the crossline's", type=byte, metavar="N")
    p.flag("tta", True, "average each tile with its mirror image (default: True)")
    threshold = "salt where the probability is above; auto: as --oof found, else 0.5"
    p.option("threshold", "auto", threshold, type=auto_or(number(float, 0, 1)), metavar="X")
    area = "masks (in a section: patches) of fewer pixels are emptied; auto: as --oof found, else 0"
    p.option("min_area", "auto", area, type=auto_or(number(int, 0, 10201)), metavar="N")
    p.option("batch_size", 64, "tiles a step", type=number(int, 1, 4096), metavar="N")
    p.flag("xla", None, "compile with XLA (default: on a GPU)")
    p.flag("hvd", False, "one of several processes that share the work, started by mpirun (default: False)")
    p.group("what to write")
    p.flag("report", False, "one HTML file with scores and all tiles, for a browser (default: False)")
    p.option("probabilities", None, "the salt probabilities as well: a png a tile, or one npy", choices=("png", "npy"))
    p.flag("mask", False, "for SEG-Y, a volume of 0 and 1 as well (default: False)")
    export = "write the network for other programs instead: FILE.onnx, or a folder for a SavedModel"
    p.option("export", None, export, metavar="PATH")
    p.option("weights_path", "weights", "where the weights are", metavar="PATH")
    p.option("folds_path", "folds", "where the folds are, for --oof", metavar="PATH")
    p.option("submission_path", "submission", "where submissions and masks go", metavar="PATH")
    return p


def main(argv: list[str] | None = None):
    """Run the job the flags name; returns the path(s) written, the out-of-fold summary, or --validate's counts."""
    p = parser()
    args = p.parse_args(argv)
    if args.model != "list":
        check_job(p, args)
    if args.validate is not None:
        return validate(args)
    load_tensorflow(verbose=args.verbose)
    if args.model == "list":
        return print(models.list_trained(args.weights_path))
    # Some operations sum in another order with another number of threads: what the ranks share must not depend on it.
    cores = len(os.sched_getaffinity(0)) if args.hvd else None
    threads = 1 if data.is_segy(args.data_path) and not args.oof else cores
    return join(args.hvd, partial(work, args), threads=threads)


def work(args: Namespace, ring: Ring):
    """Do the job with the ranks of `ring`."""
    if args.oof:
        return evaluate(args, ring)
    if args.export is not None:
        return export(args)
    if data.is_segy(args.data_path):
        return predict_survey(args, ring)
    if args.mask or args.slices != "inline":
        raise InputError(f"--mask and --slices are for SEG-Y (.sgy, .segy), and {args.data_path} is none")
    if paths := data.find_sections(args.data_path, folder=args.tile is not None):
        return predict_sections(args, paths)
    return predict(args, ring)


def check_job(p: Parser, args: Namespace) -> None:
    """Refuse more than one job, and what the job does not do."""
    if sum((args.validate is not None, args.oof, args.use_folds, args.file_name is not None)) != 1:
        p.error("give exactly one of --file_name, --use_folds, --oof and --validate")
    for job, other in ((job, other) for job, others in NOT_TOGETHER.items() for other in others):
        if getattr(args, job) and getattr(args, other):
            p.error(f"--{other} does not go with --{job}")


def weights_files(args: Namespace) -> list[Path]:
    """Find the weights files that the flags name."""
    of_folds = partial(models.fold_files, args.weights_path, args.model, args.pick, allow_missing=args.allow_missing)
    return [Path(args.file_name)] if args.file_name else of_folds()


def load(args: Namespace, files: list[Path], **settings) -> models.Ensemble:
    """Load the ensemble of these weights that the flags ask for; `settings` win over them."""
    name = f"{args.model}_{len({*map(models.fold_of, files)})}_folds_{args.pick}"
    return models.load_ensemble(
        files,
        files[0].name.removesuffix(models.ENDING) if args.file_name else name,
        threshold=args.threshold,
        min_area=args.min_area,
        pick=args.pick,
        by_score=args.fold_weights == "score",
        **how(args) | settings,
    )


def how(args: Namespace) -> dict:
    """Say how a predictor computes."""
    return {"batch_size": args.batch_size, "tta": args.tta, "xla": args.xla}


def check_same(args: Namespace, ring: Ring, recipes=(), **facts) -> None:
    """Refuse ranks that differ in flags, but for paths, in weights or in `facts`."""
    flags = {f"flag --{name}": value for name, value in vars(args).items() if not name.endswith("_path")}
    ring.check_same(flags | facts | {"weights": [recipe.sha256 for recipe in recipes]})


def finish(args: Namespace, stem: Path, endings: list[str]) -> str:
    """Write down the flags beside files of one stem; returns a line with all their names, as a shell takes them."""
    write_text(f"{stem}.yaml", config_text(args, SCRIPT))
    return f"wrote {stem}{{{','.join(endings)}}}"


def predict(args: Namespace, ring: Ring) -> Path | None:
    """Predict the tiles under --data_path, the ranks sharing them; the chief writes a submission and says what next."""
    files = weights_files(args)
    ring.on_chief(data.count_tiles, args.data_path)  # which may unpack them
    tiles = data.tiles_to_predict(args.data_path)
    ensemble = load(args, files, ring=ring)
    check_same(args, ring, ensemble.recipes, tiles=list(tiles))
    batches = models.predict_tiles(ensemble, tiles, ring)
    if not ring.chief:
        deque(batches, maxlen=0)
        return None
    with data.reserved(args.submission_path, f"submission_{ensemble.name}") as stem:
        kinds = {"probabilities": args.probabilities, "report": args.report}
        masks, further = models.write_predictions(stem, ensemble, list(tiles), batches, **kinds)
        wrote = finish(args, stem, [".csv", ".yaml", *further])
    print(f"{len(masks)} tiles, {sum(map(bool, masks.values()))} of them with salt, {ensemble}\n{wrote}")
    where = args.data_path if next(iter(tiles.values())).is_relative_to(args.data_path) else data.UNPACKED
    print(f"next: {command_line(SCRIPT, validate=f'{stem}.csv', data_path=where)}")
    return Path(f"{stem}.csv")


def predict_sections(args: Namespace, paths: list[Path]) -> list[Path]:
    """Predict seismic sections by overlapping windows; writes of each its mask and a picture with the salt outlined."""
    if args.report:
        raise InputError("--report shows tiles; leave it out: a section gets a picture of its own")
    files = weights_files(args)
    for path in paths:  # all of them, before the first takes its minutes
        data.load_section(path)
    ensemble = load(args, files)
    return [predict_section(args, path, ensemble) for path in paths]


def predict_section(args: Namespace, path: Path, ensemble: models.Ensemble) -> Path:
    """Predict one section, write what is asked for, and say so."""
    section = data.load_section(path)
    for remark in section.remarks:
        print(f"{path}: {remark}")
    windows = {"tile": args.tile or data.TILE, "overlap": args.overlap}
    with data.reserved(args.submission_path, f"section_{path.stem}_{ensemble.name}") as stem:
        with bar(path.name, models.count_windows(section.gray.shape, **windows), "window") as shown:
            batches = {"batch_size": args.batch_size, "progress": shown.update}
            probabilities = models.predict_section(section.gray, ensemble.predictor, **windows, **batches)
        mask, endings = models.write_section(stem, section, probabilities, ensemble, kind=args.probabilities)
        wrote = finish(args, stem, endings)
    print(f"{path}: {mask.shape[1]} x {mask.shape[0]} px, {mask.mean():.1%} salt, {ensemble}\n{wrote}")
    return Path(f"{stem}_mask.png")


def predict_survey(args: Namespace, ring: Ring) -> Path:
    """Predict a SEG-Y survey line by line, each rank its share; the chief writes its salt as SEG-Y, and a picture."""
    if args.report or args.probabilities == "png":
        raise InputError("--report and --probabilities=png show tiles; leave them out: a survey gets its own picture")
    started = time.perf_counter()
    survey = data.Survey(args.data_path, inline_byte=args.inline_byte, crossline_byte=args.crossline_byte)
    files = weights_files(args)
    windows = {"tile": args.tile or data.TILE, "overlap": args.overlap, "batch_size": args.batch_size}
    walk = models.Walk(survey, slices=args.slices, **windows)
    ensemble = load(args, files, ring=ring, batch_size=walk.batch_size)
    check_same(args, ring, ensemble.recipes, survey=f"{survey}, {walk.stretch}")
    flags = windows | {name: getattr(args, name) for name in ("slices", "fold_weights", "xla")}
    with ExitStack() as stack:
        where = Path(args.submission_path), ring, stack
        unfinished = models.predict_lines(walk, ensemble, *where, flags=flags, mask=args.mask)
        return Path(ring.on_chief(finish_survey, args, unfinished, ensemble, started))


def finish_survey(args: Namespace, unfinished: models.Unfinished, ensemble: models.Ensemble, started: float) -> str:
    """Write what is left to write, and say what was found; returns where the probabilities are."""
    found = str(unfinished)
    with data.reserved(args.submission_path, f"survey_{Path(args.data_path).stem}_{ensemble.name}") as stem:
        wrote = finish(args, stem, [*unfinished.finish(stem, array=args.probabilities == "npy"), ".yaml"])
    print(f"{found}, in {time.perf_counter() - started:.1f} s, {ensemble}\n{wrote}")
    return f"{stem}_salt.sgy"


def evaluate(args: Namespace, ring: Ring) -> dict:
    """Score every fold's validation tiles with its own weights; the chief prints tables, writes them and pictures."""
    files = weights_files(args)
    check_same(args, ring)
    evaluation = models.Evaluation(files, args.folds_path, ring=ring, **how(args))
    return ring.on_chief(write_evaluation, args, evaluation)


def write_evaluation(args: Namespace, evaluation: models.Evaluation) -> dict:
    """Write what is asked for, print the tables and what comes next; returns the scores."""
    stem = Path(args.weights_path) / args.model / f"oof_{args.pick}"
    facts = {"model": args.model, "pick": args.pick, "tta": args.tta}
    endings = [*evaluation.write(stem, facts), ".yaml"]
    endings += models.write_further(stem, evaluation, facts, probabilities=args.probabilities, report=args.report)
    print(evaluation.text, finish(args, stem, endings), sep="\n")
    weights = None if str(args.weights_path) == "weights" else args.weights_path
    tiles = data.find_test_tiles(data.list_folds(args.folds_path)[0])
    also = {"allow_missing": args.allow_missing or None, "weights_path": weights, "data_path": tiles}
    print(f"next: {command_line(SCRIPT, use_folds=True, model=args.model, pick=args.pick, **also)}")
    return facts | evaluation.summary


def export(args: Namespace) -> Path:
    """Write the ensemble for other programs: uint8 tiles (B, 101, 101) in, probabilities out."""
    path = args.export
    if os.path.lexists(path):  # said now, not after the weights are loaded
        raise InputError(f"{path} exists; name a new path, or remove it")
    ensemble = load(args, weights_files(args))
    models.export_predictor(path, ensemble.predictor, ensemble.note)
    print(f"wrote {path}: tiles uint8 (B, 101, 101) in, probabilities float32 (B, 101, 101) out, {ensemble}")
    onnx = f"onnxruntime.InferenceSession({path!r}).run(['probabilities'], {{'tiles': tiles}})"
    saved_model = f"salt = tf.saved_model.load({path!r}); salt.serve(tiles)"
    print(f"next, in Python: {onnx if path.lower().endswith('.onnx') else saved_model}")
    return Path(path)


def validate(args: Namespace) -> tuple[int, int]:
    """Check a submission; returns its rows and how many of them have salt."""
    rows, salt = data.check_submission(args.validate, data.expected_ids(args.data_path))
    print(f"{args.validate} is valid: {rows} rows, {salt} of them with salt")
    file = shlex.quote(str(args.validate))
    print(f"next: kaggle competitions submit -c tgs-salt-identification-challenge -f {file} -m 'which weights'")
    return rows, salt


if __name__ == "__main__":
    run(main)
