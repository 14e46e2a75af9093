#!/usr/bin/env python3
"""Predict salt masks with trained weights, write a submission, judge weights out of fold, check a submission.

    python tgs_predict.py --file_name=weights/resnet34/fold_0_best.weights.h5     # one fold's weights
    python tgs_predict.py --use_folds=True --model=resnet34                       # mean over all folds
    python tgs_predict.py --oof=True --model=resnet34                             # honest score on the training tiles
    python tgs_predict.py --validate=submission/submission_X.csv                  # only checks, writes nothing

Writes submission/submission_<weights>_<time>.csv. --oof writes weights/<model>/oof_<pick>.json (score, threshold and
minimum area, which --threshold=auto then uses) and oof_<pick>.csv (a row a tile).
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data.command import Parser, auto_or, load_tensorflow, number, run


def parser() -> Parser:
    p = Parser(__doc__)
    p.option("file_name", None, "one weights file", metavar="FILE")
    p.flag("use_folds", False, "average every fold's weights of --model (default: False)")
    p.option("model", "resnet34", "which weights --use_folds and --oof take", metavar="NAME")
    p.option("pick", "best", "which of the kept weights: of the best epoch, or of the last", choices=("best", "last"))
    p.option("fold_weights", "equal", "folds count equally, or by their score", choices=("equal", "score"))
    p.flag("allow_missing", False, "go on when a fold has no weights (default: False)")
    p.option("data_path", "data/tgs", "folder with test/images, or a folder of PNGs", metavar="PATH")
    p.flag("tta", True, "average each tile with its mirror image (default: True)")
    p.option(
        "threshold",
        "auto",
        "salt where the probability is above; auto: as --oof found, else 0.5",
        type=auto_or(number(float, 0, 1)),
        metavar="X",
    )
    p.option(
        "min_area",
        "auto",
        "smaller masks are emptied, in pixels; auto: as --oof found, else 0",
        type=auto_or(number(int, 0, 10201)),
        metavar="N",
    )
    p.option("batch_size", 64, "tiles a step", type=number(int, 1, 4096), metavar="N")
    p.flag("xla", None, "compile with XLA (default: on a GPU)")
    p.flag("oof", False, "score each fold's validation tiles with its own weights (default: False)")
    p.option("validate", None, "check this submission against the ids under --data_path", metavar="FILE")
    p.option("weights_path", "weights", "where the weights are", metavar="PATH")
    p.option("folds_path", "folds", "where the folds are, for --oof", metavar="PATH")
    p.option("submission_path", "submission", "where submissions go", metavar="PATH")
    return p


def main(argv: list[str] | None = None):
    """Run the job the flags name; returns the path written, the out-of-fold summary, or the counts of --validate."""
    p = parser()
    args = p.parse_args(argv)
    jobs = [args.validate is not None, args.oof, args.use_folds, args.file_name is not None]
    if sum(jobs) != 1:
        p.error("give exactly one of --file_name, --use_folds, --oof and --validate")
    if args.validate is not None:
        return validate(args)
    load_tensorflow()
    if args.oof:
        return evaluate(args)
    return predict(args)


def validate(args) -> tuple[int, int]:
    from data.submission import expected_ids, validate_submission

    rows, salt = validate_submission(args.validate, expected_ids(args.data_path))
    print(f"{args.validate} is valid: {rows} rows, {salt} of them with salt")
    return rows, salt


def fold_files(args) -> list[Path]:
    """The weights files of --model and --pick, in order of fold; InputError when a fold is missing."""
    from data.errors import InputError
    from models.checkpoints import ENDING, load_recipe

    if Path(args.model).name != args.model:
        raise InputError(f"--model={args.model} is a path; name a model, and with --weights_path its folder")
    folder = Path(args.weights_path) / args.model
    files = sorted(folder.glob(f"fold_*_{args.pick}{ENDING}"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise InputError(f"no fold_*_{args.pick}{ENDING} in {folder}; train first, or name another --model")
    recipes = [load_recipe(file) for file in files]
    for file, recipe in zip(files, recipes, strict=True):
        if not file.name.startswith(f"{recipe['fold']}_"):
            raise InputError(f"{file} holds weights of {recipe['fold']}; give it that name, or train this fold")
        if recipe["fingerprint"] != recipes[0]["fingerprint"]:
            raise InputError(f"{file} and {files[0].name} were trained on different splits; train them again on one")
    missing = {f"fold_{k}" for k in range(recipes[0]["folds"])} - {recipe["fold"] for recipe in recipes}
    if missing and not args.allow_missing:
        raise InputError(f"{folder} lacks weights of {', '.join(sorted(missing))}; train them, or add --allow_missing")
    return files


def make_predictor(args, files: list[Path]):
    """A predictor over the models of weights files, and their recipes."""
    import tensorflow as tf

    from data.errors import InputError
    from data.geometry import Geometry
    from models.checkpoints import load_model
    from models.predictor import Predictor
    from models.ring import Solo

    Solo().claim_device()
    loaded = [load_model(file) for file in files]
    recipes = [recipe for _, recipe in loaded]
    if args.fold_weights == "score" and not any(recipe["score"] for recipe in recipes):
        raise InputError(f"every weights file in {files[0].parent} scored 0; use --fold_weights=equal")
    return Predictor(
        [(model, Geometry(recipe["target_size"])) for model, recipe in loaded],
        shares=[recipe["score"] for recipe in recipes] if args.fold_weights == "score" else None,
        batch_size=args.batch_size,
        tta=args.tta,
        xla=bool(tf.config.list_physical_devices("GPU")) if args.xla is None else args.xla,
    ), recipes


def predict(args) -> Path:
    """Predict the tiles under --data_path and write a submission; only masks' strings are kept in memory."""
    from tqdm import tqdm

    from data import rle
    from data.errors import InputError
    from data.submission import tiles_to_predict, write_submission
    from models.checkpoints import ENDING

    folder = Path(args.submission_path)
    if folder.exists() and not folder.is_dir():  # said now, not after minutes
        raise InputError(f"cannot create the folder {folder}: a file is in the way; choose another path")
    files = [Path(args.file_name)] if args.file_name else fold_files(args)
    tiles = tiles_to_predict(args.data_path)
    predictor, recipes = make_predictor(args, files)
    threshold, min_area = decision(args, files[0].parent, recipes)
    masks: dict[str, str] = {}
    bar = tqdm(total=len(tiles), desc="predict", unit="tile", disable=not sys.stderr.isatty())
    for ids, images in stream(tiles, args.batch_size):
        for name, mask in zip(ids, predictor(images) > threshold, strict=True):
            masks[name] = rle.encode(mask) if mask.sum() >= min_area else ""
        bar.update(len(ids))
    bar.close()
    name = files[0].name.removesuffix(ENDING) if args.file_name else f"{args.model}_{len(files)}_folds_{args.pick}"
    path = write_submission(args.submission_path, name, masks)
    salt = sum(text != "" for text in masks.values())
    print(
        f"wrote {path}: {len(masks)} tiles, {salt} of them with salt, by {len(files)} model(s), "
        f"threshold {threshold}, minimum area {min_area}, flip TTA {'on' if args.tta else 'off'}"
    )
    print(f"next: python tgs_predict.py --validate={path} --data_path={args.data_path}")
    return path


def stream(tiles: dict[str, Path], batch_size: int) -> Iterator[tuple[list[str], object]]:
    """Yield ids and images uint8 (B, 101, 101), reading one batch ahead."""
    from data.tiles import read_images

    ids = list(tiles)
    parts = [ids[k : k + batch_size] for k in range(0, len(ids), batch_size)]
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read_images, [tiles[name] for name in parts[0]])
        for part, following in zip(parts, [*parts[1:], []], strict=True):
            images = ahead.result()
            if following:
                ahead = pool.submit(read_images, [tiles[name] for name in following])
            yield part, images


def decision(args, folder: Path, recipes: list[dict]) -> tuple[float, int]:
    """Threshold and minimum area: the flags', else those that --oof saved for these weights, else 0.5 and 0."""
    from data.errors import InputError
    from data.files import read_json

    saved = folder / f"oof_{args.pick}.json"
    found = read_json(saved) if saved.is_file() else {}
    if found.get("fingerprint") != recipes[0]["fingerprint"]:
        found = {}
    for key, most in (("threshold", 1), ("min_area", 10201)) if found else ():
        value = found.get(key)
        if not (isinstance(value, int | float) and 0 <= value <= most):
            raise InputError(f"{saved} has {value!r} as '{key}'; run --oof again")
    threshold = found.get("threshold", recipes[0]["threshold"]) if args.threshold == "auto" else args.threshold
    min_area = found.get("min_area", 0) if args.min_area == "auto" else args.min_area
    return threshold, min_area


def evaluate(args) -> dict:
    """Score every fold's validation tiles with its own weights; prints tables and writes oof_<pick>.json and .csv."""
    import numpy as np
    import pandas as pd
    from tqdm import tqdm

    from data.errors import InputError
    from data.files import replacing, write_json
    from data.folds import fingerprint, read_folds_csv, read_part
    from models.out_of_fold import OutOfFold, by_coverage, points_at, search

    files = fold_files(args)
    table = read_folds_csv(args.folds_path)
    ids, folds, truth, probabilities = [], [], [], []
    for file in tqdm(files, "out of fold", unit="fold", disable=not sys.stderr.isatty()):
        predictor, (recipe,) = make_predictor(args, [file])
        if recipe["fingerprint"] != fingerprint(table):
            raise InputError(
                f"{file} was trained on another split than {args.folds_path}; name its folds, or train again"
            )
        tiles = read_part(Path(args.folds_path) / recipe["fold"], "val", table)
        ids += tiles.ids
        folds += [recipe["fold"]] * len(tiles)
        truth.append(tiles.masks)
        probabilities.append(predictor(tiles.images).astype(np.float16))
    result = OutOfFold(ids, np.array(folds), np.concatenate(truth), np.concatenate(probabilities))

    scores = points_at(result, 0.5, np.array([0]))[0] / 10  # (N,)
    found = search(result)
    per_fold = pd.Series(scores).groupby(result.folds).mean()
    summary = {
        "model": args.model,
        "pick": args.pick,
        "fingerprint": fingerprint(table),
        "tta": args.tta,
        "tiles": len(ids),
        "score": float(scores.mean()),
        "score_per_fold": per_fold.round(4).to_dict(),
        "threshold": found.threshold,
        "min_area": found.min_area,
        "score_at_found": found.score,
        "score_cross_fitted": found.cross_fitted,
    }
    out = Path(args.weights_path) / args.model / f"oof_{args.pick}"
    with replacing(out.with_suffix(".csv")) as temporary:
        rows = {"id": ids, "fold": result.folds, "coverage": result.truth.mean(axis=(1, 2)).round(4), "score": scores}
        pd.DataFrame(rows).to_csv(temporary, index=False)
    write_json(out.with_suffix(".json"), summary)

    print(per_fold.round(4).rename("score").rename_axis("fold").to_frame().to_string())
    print(by_coverage(result.truth, scores).round(4).to_string())
    print(
        f"out of fold, {len(ids)} tiles of {len(files)} fold(s), {args.pick} weights, threshold 0.5: "
        f"score {scores.mean():.4f}"
    )
    honest = "" if found.cross_fitted is None else f"; cross-fitted over the folds {found.cross_fitted:.4f}"
    print(f"best threshold {found.threshold}, minimum area {found.min_area}: {found.score:.4f} (optimistic){honest}")
    print(f"wrote {out}.json and {out}.csv")
    return summary


if __name__ == "__main__":
    run(main)
