"""--config=FILE.yaml: the flags' own names and rules, the command line wins, and a run's saved flags repeat it."""

import re

import pytest

import tgs_predict
import tgs_preprocess
import tgs_train
from common.flags import config_text
from tests.helpers.commands import error_line, run_here
from tests.promises.corpus.damage import tree

PARSERS = {
    "tgs_preprocess.py": tgs_preprocess.parser,
    "tgs_train.py": lambda: tgs_train.parser(False),
    "tgs_predict.py": tgs_predict.parser,
}


@pytest.fixture
def config(tmp_path):
    """Write a configuration; returns the flag that names it."""

    def write(text: str | bytes) -> str:
        path = tmp_path / "run.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return f"--config={path}"

    return write


def test_values_are_read_as_on_the_command_line_which_wins(config):
    given = config(
        "epochs: 7\nlearning_rate: 1e-4  # to YAML a text\nuse_lovasz: no\n"
        "loss: 'bce+dice'\nencoder_weights:\nseed: 010\n"
    )
    args = tgs_train.parser(False).parse_args([given, "--epochs=9"])
    assert (args.epochs, args.learning_rate, args.use_lovasz, args.loss) == (9, 1e-4, False, "bce+dice")
    assert (args.encoder_weights, args.seed, args.batch_size) == (None, 10, 16)
    assert tgs_train.parser(False).parse_args(["--epochs=16", given, "--use_lovasz"]).use_lovasz is True
    assert tgs_predict.parser().parse_args([config("threshold: auto\npick: last\n")]).pick == "last"
    assert tgs_train.parser(False).parse_args([config("# nothing yet\n")]).epochs == 90


@pytest.mark.parametrize("script", PARSERS)
def test_what_is_saved_gives_the_same_flags_again(config, script):
    made = PARSERS[script]()
    args = made.parse_args(["--data_path=ein Ordner: ü'\"#", "--verbose"])
    again = PARSERS[script]().parse_args([config(config_text(args, script))])
    assert again.verbose is False  # of the screen, not of the run
    assert vars(again) | {"config": None, "verbose": True} == vars(args)
    assert config_text(args, script).startswith(f"# {script} --config=FILE")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs: 0\n", " line 1: argument --epochs: 0 is outside 1 to 100000"),
        ("seed: 1\nepochs: many\n", " line 2: argument --epochs: 'many' is not a number of type int"),
        ("use_lovasz: maybe\n", " line 1: argument --use_lovasz: 'maybe' is not True or False"),
        ("epoch: 3\n", " line 1: no flag 'epoch'; did you mean epochs?"),
        ("--epochs: 3\n", " line 1: no flag '--epochs'; did you mean epochs?"),
        ("pick: best\n", " line 1: no flag 'pick'"),
        ("config: other.yaml\n", " line 1: no flag 'config'"),
        ("help: true\n", " line 1: no flag 'help'"),
        ("epochs: 3\nseed: 1\nepochs: 4\n", " line 3 has 'epochs' a second time"),
        ("epochs: [3, 4]\n", " line 1: 'epochs' has several values; give one"),
        ("epochs: {a: 1}\n", " line 1: 'epochs' has several values; give one"),
        ("epochs:\n", " line 1: 'epochs' has no value"),
        ("[1, 2]: 3\n", " line 1: no flag 'a list'"),
        ("- epochs\n", " holds no flags"),
        ("epochs\n", " holds no flags"),
        ("epochs: 3\n  seed: 1\n", " is not YAML ("),
        ("a: b: c\n", " is not YAML ("),
        ("!!python/object/apply:os.system ['touch pwned']\n", " holds no flags"),
        ("epochs: !!python/object/apply:os.system ['touch pwned']\n", " line 1: 'epochs' has several values"),
        (b"\xff\xfe\x00", " is not YAML ("),
        ("seed: 1\n" * 200_000, " is larger than a file of flags can be"),
        ("seed: &a 1\nepochs: *b\n", " is not YAML ("),
    ],
)
def test_wrong_ones_are_one_line_and_nothing_is_written(config, tmp_path, text, said):
    given = config(text)
    before = tree(tmp_path)
    line = error_line(run_here(tgs_train.main, given, cwd=tmp_path))
    assert line.startswith(given.removeprefix("--config=") + said), line
    assert tree(tmp_path) == before


def test_a_file_that_cannot_be_read(tmp_path):
    said = error_line(run_here(tgs_predict.main, "--config=none.yaml", cwd=tmp_path))
    assert said == "cannot read none.yaml: No such file or directory; name another with --config"
    said = error_line(run_here(tgs_predict.main, "--config=.", cwd=tmp_path))
    assert said.startswith(f"cannot read {tmp_path}: Is a directory")


def test_flags_of_the_command_line_are_judged_first_and_jobs_after_the_file(config, tmp_path):
    assert "unknown argument '--epoch=3'" in error_line(
        run_here(tgs_train.main, config("no: 1\n"), "--epoch=3", cwd=tmp_path)
    )
    both = config("use_folds: true\noof: true\n")
    assert "give exactly one of" in error_line(run_here(tgs_predict.main, both, cwd=tmp_path))


def test_a_run_is_repeated_by_the_flags_it_left(sample, tmp_path):
    flags = (f"--data_path={sample}", "--fold=4", "--seed=7", "--stratify=coverage_depth")
    first = run_here(tgs_preprocess.main, *flags, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    saved = tmp_path / "folds" / "config.yaml"
    assert "seed: 7" in saved.read_text()
    again = run_here(tgs_preprocess.main, f"--config={saved}", "--folds_path=again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again/folds.csv").read_bytes() == (tmp_path / "folds/folds.csv").read_bytes()
    assert re.search("^folds_path: again$", (tmp_path / "again/config.yaml").read_text(), re.M)
