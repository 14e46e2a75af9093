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

import os
import time
from contextlib import ExitStack
from functools import partial
from itertools import tee
from pathlib import Path

from common.backend import load_tensorflow
from common.command import run
from common.flags import Parser, auto_or, config_text, number
from common.progress import bar

SCRIPT = Path(__file__).name
NOT_TOGETHER = {
    "validate": ("report", "probabilities", "export", "tile", "mask", "hvd"),
    "oof": ("export", "tile", "mask"),
    "export": ("report", "probabilities", "tile", "mask", "hvd"),
}
PROBABILITIES = {"npy": "_probabilities.npy", "png": "_probabilities"}  # a file, a folder


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
    data = "folder with test/images, folder of tiles, one tile, a section (.png or .npy of any size), or .sgy"
    p.option("data_path", "data/tgs", data, metavar="PATH")
    tile = "side of the windows that a section is read by, in its pixels (default: 101); a folder is then of sections"
    p.option("tile", None, tile, type=number(int, 16, 4096), metavar="N")
    p.option("overlap", 0.5, "least share that two of them have in common", type=number(float, 0, 0.9), metavar="X")
    p.option(
        "slices", "inline", "sections of a SEG-Y volume; both: their mean", choices=("inline", "crossline", "both")
    )
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
        from models.ensemble import list_trained

        return print(list_trained(args.weights_path))
    from common.ring.join import join
    from data.segy import is_segy

    # Some operations sum in another order with another number of threads: what the ranks share must not depend on it.
    cores = len(os.sched_getaffinity(0)) if args.hvd else None
    return join(args.hvd, partial(work, args), threads=1 if is_segy(args.data_path) and not args.oof else cores)


def work(args, ring):
    """Do the job with the ranks of `ring`."""
    from common.errors import InputError, SharedError
    from data.sections import find_sections
    from data.segy import is_segy

    try:
        if args.oof:
            return evaluate(args, ring)
        if args.export is not None:
            return export(args)
        if is_segy(args.data_path):
            return predict_survey(args, ring)
        if args.mask or args.slices != "inline":
            raise InputError(f"--mask and --slices are for SEG-Y (.sgy, .segy), and {args.data_path} is none")
        if paths := find_sections(args.data_path, folder=args.tile is not None):
            return predict_sections(args, paths)
        return predict(args, ring)
    except InputError as error:
        if not (ring.chief or isinstance(error, SharedError)):
            time.sleep(10)  # mostly all ranks find the same: rank 0 says it, and the launcher ends the others meanwhile
        raise


def check_job(p: Parser, args) -> None:
    """Exactly one job, and nothing asked for that it does not do."""
    jobs = [args.validate is not None, args.oof, args.use_folds, args.file_name is not None]
    if sum(jobs) != 1:
        p.error("give exactly one of --file_name, --use_folds, --oof and --validate")
    for job, others in NOT_TOGETHER.items():
        for other in others:
            if getattr(args, job) and getattr(args, other):
                p.error(f"--{other} does not go with --{job}")


def wrote(stem: Path, endings: list[str]) -> str:
    """Names of the files that lie beside each other, as a shell takes them."""
    return f"wrote {stem}{{{','.join(endings)}}}"


def weights_files(args) -> list[Path]:
    from models.ensemble import fold_files

    if args.file_name:
        return [Path(args.file_name)]
    return fold_files(args.weights_path, args.model, args.pick, allow_missing=args.allow_missing)


def load(args, files: list[Path], **settings):
    """The ensemble of these weights that the flags ask for; `settings` win over them."""
    from models.ensemble import fold_of, load_ensemble
    from models.weights import ENDING

    name = f"{args.model}_{len({*map(fold_of, files)})}_folds_{args.pick}"
    return load_ensemble(
        files,
        files[0].name.removesuffix(ENDING) if args.file_name else name,
        threshold=args.threshold,
        min_area=args.min_area,
        pick=args.pick,
        by_score=args.fold_weights == "score",
        **{"batch_size": args.batch_size, "tta": args.tta, "xla": args.xla} | settings,
    )


def check_same(args, ring, recipes: list[dict] = (), **facts) -> None:
    """InputError unless all ranks have the same flags but for paths, the same weights and `facts`."""
    flags = {f"flag --{name}": value for name, value in vars(args).items() if not name.endswith("_path")}
    ring.check_same(flags | facts | {"weights": [recipe.sha256 for recipe in recipes]})


# ---- tiles ---------------------------------------------------------------------------------------------------


def predict(args, ring) -> Path | None:
    """Predict the tiles under --data_path; the chief writes a submission, and keeps only what was asked for."""
    import numpy as np

    from common.files import write_text
    from data.kaggle.zips import UNPACKED
    from data.probabilities import writing_probabilities
    from data.rle import encode_rle
    from data.submission import reserved, tiles_to_predict, write_submission
    from data.tiles import read_ahead
    from models.decision import tile_masks
    from models.evaluation.report.contents import report_submission
    from models.predictor import share

    files = weights_files(args)
    ring.on_chief(lambda: len(tiles_to_predict(args.data_path)))  # which may unpack them
    tiles = tiles_to_predict(args.data_path)
    ensemble = load(args, files, ring=ring)
    check_same(args, ring, ensemble.recipes, tiles=list(tiles))
    predictor = share(ensemble.predictor, ring)
    if not ring.chief:
        for _ in predictor.each(images for _, images in read_ahead(tiles, args.batch_size)):
            pass
        return None
    masks: dict[str, str] = {}
    seen: list[tuple] = []  # for the report: images, probabilities and predictions, uint8
    with reserved(args.submission_path, f"submission_{ensemble.name}") as stem, ExitStack() as stack:
        endings = [".csv", ".yaml"]
        keep = None
        if args.probabilities:
            endings.append(PROBABILITIES[args.probabilities])
            keep = stack.enter_context(writing_probabilities(f"{stem}{endings[-1]}", args.probabilities, list(tiles)))
        with bar("predict", len(tiles)) as shown:
            batches, fed = tee(read_ahead(tiles, args.batch_size))
            found = predictor.each(images for _, images in fed)
            for (ids, images), probabilities in zip(batches, found, strict=True):
                decided = tile_masks(probabilities, ensemble.threshold, ensemble.min_area)
                masks |= zip(ids, map(encode_rle, decided), strict=True)
                if keep:
                    keep(probabilities)
                if args.report:
                    seen.append((images, (probabilities * 255).round().astype(np.uint8), decided.astype(np.uint8)))
                shown.update(len(ids))
        write_submission(f"{stem}.csv", masks)
        write_text(f"{stem}.yaml", config_text(args, SCRIPT))
        if args.report:
            endings.append(".html")
            images, gray, predictions = map(np.concatenate, zip(*seen, strict=True))
            report_submission(
                f"{stem}.html", ensemble, list(masks), images, probabilities=gray, predictions=predictions
            )
    salt = sum(text != "" for text in masks.values())
    print(f"{len(masks)} tiles, {salt} of them with salt, {ensemble}")
    print(wrote(stem, endings))
    where = UNPACKED if args.data_path.endswith(".zip") else args.data_path
    print(f"next: python tgs_predict.py --validate={stem}.csv --data_path={where}")
    return Path(f"{stem}.csv")


# ---- sections ------------------------------------------------------------------------------------------------


def predict_sections(args, paths: list[Path]) -> list[Path]:
    """Predict seismic sections by overlapping windows; writes of each its mask and a picture with the salt outlined."""
    from common.errors import InputError
    from common.files import write_text
    from data.probabilities import write_section
    from data.sections import load_section, write_pictures
    from data.submission import reserved
    from data.tiles import TILE
    from models.decision import salt_mask
    from models.windows import count_windows, predict_section

    if args.report:
        raise InputError("--report shows tiles; leave it out: a section gets a picture of its own")
    files = weights_files(args)
    for path in paths:  # all of them, before the first takes its minutes
        load_section(path)
    ensemble = load(args, files)
    tile, overlap = args.tile or TILE, args.overlap
    written = []
    for path in paths:
        section = load_section(path)
        for remark in section.remarks:
            print(f"{path}: {remark}")
        with reserved(args.submission_path, f"section_{path.stem}_{ensemble.name}") as stem:
            with bar(path.name, count_windows(section.gray.shape, tile, overlap), "window") as shown:
                probabilities = predict_section(
                    section.gray,
                    ensemble.predictor,
                    tile=tile,
                    overlap=overlap,
                    batch_size=args.batch_size,
                    progress=shown.update,
                )
            probabilities[section.nothing] = 0
            mask = salt_mask(probabilities, ensemble.threshold, ensemble.min_area)
            endings = [*write_pictures(stem, section.gray, mask), ".yaml"]
            write_text(f"{stem}.yaml", config_text(args, SCRIPT))
            if args.probabilities:
                endings.append(f"_probabilities.{args.probabilities}")
                write_section(f"{stem}{endings[-1]}", probabilities)
        height, width = mask.shape
        print(f"{path}: {width} x {height} px, {mask.mean():.1%} salt, {ensemble}")
        print(wrote(stem, endings))
        written.append(Path(f"{stem}_mask.png"))
    return written


# ---- surveys -------------------------------------------------------------------------------------------------


def predict_survey(args, ring) -> Path:
    """Predict a SEG-Y survey line by line, each rank its share; the chief writes its salt as SEG-Y, and a picture."""
    from common.errors import InputError
    from data.rle import TILE
    from data.segy import Survey
    from models.volumes import predict_lines
    from models.walk import Walk

    if args.report or args.probabilities == "png":
        raise InputError("--report and --probabilities=png show tiles; leave them out: a survey gets its own picture")
    started = time.perf_counter()
    survey = Survey(args.data_path, inline_byte=args.inline_byte, crossline_byte=args.crossline_byte)
    files = weights_files(args)
    windows = {"tile": args.tile or TILE, "overlap": args.overlap, "batch_size": args.batch_size}
    walk = Walk(survey, slices=args.slices, **windows)
    ensemble = load(args, files, ring=ring, batch_size=walk.batch_size)
    check_same(args, ring, ensemble.recipes, survey=survey.fingerprint)
    shaping = windows | {name: getattr(args, name) for name in ("slices", "fold_weights", "xla")}
    with ExitStack() as stack:
        unfinished = predict_lines(
            walk, ensemble, Path(args.submission_path), ring, stack, shaping=shaping, mask=args.mask
        )
        written = ring.on_chief(lambda: finish_survey(args, unfinished, ensemble))
    ring.print(f"{written['text']}, in {time.perf_counter() - started:.1f} s, {ensemble}\n{written['wrote']}")
    return Path(written["path"])


def finish_survey(args, unfinished, ensemble) -> dict[str, str]:
    """Write what is left to write, and say what was found."""
    from common.files import write_text
    from data.submission import reserved

    text = str(unfinished)
    with reserved(args.submission_path, f"survey_{Path(args.data_path).stem}_{ensemble.name}") as stem:
        endings = [*unfinished.finish(stem, ensemble, array=args.probabilities == "npy"), ".yaml"]
        write_text(f"{stem}.yaml", config_text(args, SCRIPT))
    return {"text": text, "wrote": wrote(stem, endings), "path": f"{stem}_salt.sgy"}


# ---- evaluation, export, validation --------------------------------------------------------------------------


def evaluate(args, ring) -> dict:
    """Score every fold's validation tiles with its own weights; the chief prints tables, writes them and pictures."""
    from models.evaluation.evaluation import Evaluation

    files = weights_files(args)
    check_same(args, ring)
    evaluation = Evaluation(files, args.folds_path, ring=ring, batch_size=args.batch_size, tta=args.tta, xla=args.xla)
    return ring.on_chief(lambda: write_evaluation(args, evaluation))


def write_evaluation(args, evaluation) -> dict:
    """Write an evaluation's tables and pictures, print the tables; returns its summary."""
    from common.files import write_text
    from data.probabilities import writing_probabilities
    from models.evaluation.report.contents import report_evaluation

    stem = Path(args.weights_path) / args.model / f"oof_{args.pick}"
    facts = {"model": args.model, "pick": args.pick, "tta": args.tta}
    endings = [*evaluation.write(stem, facts), ".yaml"]
    write_text(f"{stem}.yaml", config_text(args, SCRIPT))
    if args.probabilities:
        endings.append(PROBABILITIES[args.probabilities])
        with writing_probabilities(
            f"{stem}{endings[-1]}", args.probabilities, evaluation.result.ids, replace=True
        ) as keep:
            keep(evaluation.result.probabilities)
    if args.report:
        endings.append(".html")
        shown = {"_training.png": "Training of each fold", ".png": "Score against threshold, minimum area and coverage"}
        figures = {caption: f"{stem}{ending}" for ending, caption in shown.items() if ending in endings}
        report_evaluation(f"{stem}.html", evaluation, facts, figures)
    print(evaluation.text)
    print(wrote(stem, endings))
    also = " --allow_missing=True" * args.allow_missing
    also += "" if args.weights_path == "weights" else f" --weights_path={args.weights_path}"
    print(f"next: python tgs_predict.py --use_folds=True --model={args.model} --pick={args.pick}{also}")
    return facts | evaluation.summary


def export(args) -> Path:
    """Write the ensemble for other programs: uint8 tiles (B, 101, 101) in, probabilities out."""
    from common.errors import InputError
    from models.export import export as write

    path = args.export
    if os.path.lexists(path):  # said now, not after the weights are loaded
        raise InputError(f"{path} exists; name a new path, or remove it")
    ensemble = load(args, weights_files(args))
    write(path, ensemble.predictor, ensemble.note)
    print(f"wrote {path}: tiles uint8 (B, 101, 101) in, probabilities float32 (B, 101, 101) out, {ensemble}")
    run_it = {
        True: f"onnxruntime.InferenceSession('{path}').run(['probabilities'], {{'tiles': tiles}})",
        False: f"salt = tf.saved_model.load('{path}'); salt.serve(tiles)",
    }[path.lower().endswith(".onnx")]
    print(f"next, in Python: {run_it}")
    return Path(path)


def validate(args) -> tuple[int, int]:
    """Check a submission; returns its rows and how many of them have salt."""
    from data.submission import check_submission, expected_ids

    rows, salt = check_submission(args.validate, expected_ids(args.data_path))
    print(f"{args.validate} is valid: {rows} rows, {salt} of them with salt")
    print(
        f"next: kaggle competitions submit -c tgs-salt-identification-challenge -f {args.validate} -m 'which weights'"
    )
    return rows, salt


if __name__ == "__main__":
    run(main)
