"""Time to score beside the peer: what is made of two curves, and both sides' trainings on a few tiles."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import tgs_train
from benchmarks import race
from benchmarks.race import RACES, Race, summary, table, unpacked
from tests.helpers.commands import ROOT, error_line, run_here
from training.settings import Settings

PEER = [{"seconds": 50.0, "score": 0.6}, {"seconds": 100.0, "score": 0.7}]


def curve(*scores: float) -> list[dict]:
    return [{"seconds": 20.0 * (k + 1), "score": score} for k, score in enumerate(scores)]


def test_ours_is_the_first_epoch_at_the_peers_last_score():
    assert summary(PEER, curve(0.5, 0.69, 0.7, 0.8)) == {
        "score": 0.7, "peer_seconds": 100.0, "our_seconds": 60.0, "of_its_time": 0.6,
    }  # fmt: skip
    assert summary(PEER, curve(0.6, 0.69))["our_seconds"] is None


def test_the_table_by_hand():
    common = {"model": "lite", "size": 64, "peer": PEER, "cores": 2, "cpu": "Some CPU"}
    races = [{**common, "ours": ours, **summary(PEER, ours)} for ours in (curve(0.5, 0.7, 0.72), curve(0.5))]
    assert table(races).splitlines()[2:] == [
        "| lite, 64 px, 2 epochs | 0.7000, 100 s | 40 s | 0.40 | 0.7200, 60 s | 2 cores, Some CPU |",
        "| lite, 64 px, 2 epochs | 0.7000, 100 s | not reached |  | 0.5000, 20 s | 2 cores, Some CPU |",
    ]


def test_masks_come_back_as_the_peer_packs_them():
    masks = np.random.default_rng(1).random((3, 101, 101)) < 0.3
    assert np.array_equal(unpacked(np.packbits(masks).tobytes().hex(), masks.shape), masks)


@pytest.mark.parametrize(("name", "size"), [("64", 64), ("128", 96)])  # ours may reach the score by fewer pixels
def test_our_flags_are_those_of_the_command(name, size):
    settings = Settings.from_flags(tgs_train.parser(False).parse_args(RACES[name].ours))
    assert settings.target_size == size


def test_an_unknown_race_is_one_line(tmp_path):
    said = error_line(run_here(race.main, "--only=65", cwd=tmp_path))
    assert said == "no race '65'; choose from 64, 128"


needs_peer = pytest.mark.skipif(not Path(race.PEER).exists(), reason="no environment of the peer; make bench has it")
FEATURES = """
import sys
import numpy as np, torch
from benchmarks.race_peer import network
with np.load(sys.argv[1]) as file:
    weights = {name.removeprefix("encoder."): file[name] for name in file if name != "image"}
    image = torch.from_numpy(file["image"].transpose(0, 3, 1, 2))
with torch.inference_mode():
    np.save(sys.argv[2], network("efficientnet_lite0", weights).eval().encoder(image)[-1].numpy().transpose(0, 2, 3, 1))
"""


@pytest.mark.slow
@needs_peer
def test_both_sides_begin_with_the_same_encoder(tmp_path, monkeypatch):
    """With random weights, normalisation's statistics too: the deepest features are the same."""
    import keras

    nets, chance = [], np.random.default_rng(1)

    def load(net, source):
        nets.append(net)
        net.set_weights([chance.uniform(0.5, 1.5, w.shape) / np.sqrt(w[..., 0].size or 1) for w in net.get_weights()])

    monkeypatch.setattr("models.pretrained.load.load_encoder", load)
    weights, image = race.encoder_weights("efficientnet_lite0"), chance.normal(size=(1, 64, 64, 1)).astype(np.float32)
    np.savez(tmp_path / "in.npz", image=image, **weights)
    line = [race.PEER, "-c", FEATURES, tmp_path / "in.npz", tmp_path / "out.npy"]
    subprocess.run(line, cwd=ROOT, check=True)
    deepest = keras.Model(nets[0].input, nets[0].get_layer("encoder.blocks.6.0.bn3").output)
    ours, theirs = deepest(image, training=False).numpy(), np.load(tmp_path / "out.npy")
    assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(ours).max())
    assert ours.std() > 0


@pytest.mark.slow
@needs_peer
def test_both_sides_train_on_a_few_tiles(workspace, monkeypatch):
    """With random weights in place of ImageNet's, by their names: all that the peer needs is there."""
    from models.pretrained.load import Pretrained

    monkeypatch.setattr("models.pretrained.load.load_encoder", lambda net, source: Pretrained("none", ""))
    ours = ("--model=tiny", "--target_size=64", "--epochs=2", "--warmup_epochs=0")
    monkeypatch.setitem(RACES, "tiny", Race("efficientnet_lite0", 64, 2, ours))
    flags = ("--only=tiny", "--data_path=folds/fold_0", "--work_path=work", "--results_path=results")
    done = run_here(race.main, *flags, cwd=workspace)
    assert done.returncode == 0, done.stderr
    (found,) = [race.read_json(workspace / "results/race_tiny.json")]
    assert [len(found[side]) for side in ("peer", "ours")] == [2, 2]
    for side in ("peer", "ours"):
        assert 0 < found[side][0]["seconds"] < found[side][1]["seconds"]
        classes = found["coverage"][side].values()
        assert sum(each["tiles"] for each in classes) == 20
        whole = sum(each["tiles"] * each["score"] for each in classes) / 20
        assert whole == pytest.approx(found[side][-1]["score"], abs=2e-4)
    again = run_here(race.main, *flags, "--figure=coverage.png", cwd=workspace)  # nothing is trained again
    assert again.stdout.splitlines() == done.stdout.splitlines()[-3:]
    assert (workspace / "coverage.png").read_bytes().startswith(b"\x89PNG")
