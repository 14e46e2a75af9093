#!/usr/bin/env python3
"""Split the TGS tiles into stratified folds of symlinks.

    python tgs_preprocess.py                                     # data/tgs -> folds/, five folds by salt coverage
    python tgs_preprocess.py --data_path=path/to/train.zip       # Kaggle's zips are unpacked into data/tgs first
    python tgs_preprocess.py --stratify=coverage_depth --fold=10
    python tgs_preprocess.py --group=mosaic                      # neighbouring tiles stay together: no leak

Writes folds/fold_k/{train,val}/{images,masks}/<id>.png and folds/folds.csv; how even the folds are: folds/evenness.csv
and folds.png; some tiles of each coverage: folds/samples.png; and the flags: folds/config.yaml.
"""

import data  # its names load when they are used: --help and a misspelt flag are answered at once
from common.command import run
from common.files import write_text
from common.flags import Parser, command_line, config_text, number
from common.names import find, list_names


def parser() -> Parser:
    p = Parser(__doc__)
    p.group("the folds")
    p.option("data_path", "data/tgs", "folder with train/images and train/masks, or Kaggle's zip", metavar="PATH")
    p.option("folds_path", "folds", "where the folds are written", metavar="PATH")
    p.option("fold", 5, "number of folds", type=number(int, 2, 100), metavar="K")
    p.option("stratify", "coverage", "quality spread evenly over the folds; list: shows them", metavar="NAME")
    p.option("group", "none", "mosaic: tiles with matching borders share a fold", choices=("none", "mosaic"))
    p.option("seed", 1, "seed of the split", type=number(int, 0, 2**32 - 1), metavar="N")
    p.flag("copy", False, "copy the tiles, for file systems without symlinks")
    return p


def main(argv: list[str] | None = None):
    """Write the folds; returns the table of folds.csv (pandas)."""
    args = parser().parse_args(argv)
    if args.stratify == "list":
        print(f"--stratify\n{list_names(data.STRATIFICATIONS)}")
        return None
    preprocessor = find(args.stratify, data.STRATIFICATIONS, "stratification").function(
        args.data_path, args.folds_path, n_folds=args.fold, group=args.group, seed=args.seed, copy=args.copy
    )
    table, tiles = preprocessor.run()
    even = data.evenness(table)
    write_text(f"{args.folds_path}/config.yaml", config_text(args, "tgs_preprocess.py"))
    write_text(f"{args.folds_path}/evenness.csv", even.to_csv())
    data.draw_folds(f"{args.folds_path}/folds.png", table)
    data.draw_samples(f"{args.folds_path}/samples.png", table, tiles)
    print(even.to_string())
    others = "folds.csv, evenness.csv, config.yaml; pictures: folds.png, samples.png"
    print(f"wrote {args.fold} folds of {len(table)} tiles to {args.folds_path}/ ({others})")
    print(f"next: {command_line('tgs_train.py', data_path=f'{args.folds_path}/fold_0')}")
    return table


if __name__ == "__main__":
    run(main)
