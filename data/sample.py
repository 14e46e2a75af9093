"""Write sample data, all generated: tiles with salt in the layout of Kaggle's TGS Salt Identification Challenge.

    python -m data.sample --path=data/tgs --n_train=400 --n_test=100 --seed=1
    python -m data.sample --survey=survey.sgy --seed=1     # instead: a SEG-Y volume, and survey_mask.sgy

Nothing that exists is overwritten. data/synthetic/ says what tiles and volumes are modelled on.
"""

from pathlib import Path

from common.command import run
from common.flags import Parser, command_line, number
from data.synthetic.survey import SIZE, make_survey, survey_size
from data.synthetic.tiles import make_sample, sample_sheet


def main(argv: list[str] | None = None) -> Path:
    """Write the sample data, or a survey, and say where; returns the folder, or the survey's path."""
    parser = Parser(description=__doc__)
    parser.option("path", "data/tgs", "folder to write to", metavar="PATH")
    parser.option("n_train", 400, "labelled tiles", type=number(int, 1, 100_000))
    parser.option("n_test", 100, "tiles without masks", type=number(int, 1, 100_000))
    parser.option("seed", 1, "the same seed gives the same bytes", type=number(int, 0))
    parser.option("sheet", None, "also draw a contact sheet, salt outlined, to this PNG", metavar="FILE")
    parser.option("survey", None, "write a SEG-Y volume and its mask instead, to this file", metavar="FILE")
    size = "its inlines, crosslines and samples"
    parser.option("survey_size", "x".join(map(str, SIZE)), size, type=survey_size, metavar="LxMxN")
    args = parser.parse_args(argv)
    if args.survey:
        mask = make_survey(args.survey, size=args.survey_size, seed=args.seed)
        lines = "{} inlines x {} crosslines x {} samples".format(*args.survey_size)
        print(f"wrote {args.survey} and its salt, {mask}: {lines}, all generated")
        print(f"next: {command_line('tgs_predict.py', use_folds=True, data_path=args.survey)}")
        return args.survey
    make_sample(args.path, n_train=args.n_train, n_test=args.n_test, seed=args.seed)
    print(f"wrote {args.n_train} labelled and {args.n_test} test tiles, all generated, to {args.path}/")
    if args.sheet:
        sample_sheet(args.path, args.sheet)
        print(f"drew {args.sheet}")
    print(f"next: {command_line('tgs_preprocess.py', data_path=args.path)}")
    return Path(args.path)


if __name__ == "__main__":
    run(main)
