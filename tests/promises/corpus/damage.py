"""A small project to damage, what its files are, and hostile contents to put there."""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

import tgs_preprocess
from data.folds.fold import fingerprint, read_folds_csv
from data.rle import encode_rle
from tests.helpers.commands import run_here
from tests.helpers.pngs import png

BEST = "weights/tiny/fold_0_best"
TRAIN_IDS, TEST_IDS = "abcdefghijkl", "xyz"


def make_project(path: Path, trained: Path) -> Path:
    """A project as a user has it after training: 12 labelled and 3 test tiles in tgs/, and folds/, weights/ and logs/.

    The two folds' weights, state and logs are those of `trained`, made out to be of this split.
    """
    rng = np.random.default_rng(5)
    for folder in ("train/images", "train/masks", "test/images"):
        (path / "tgs" / folder).mkdir(parents=True)
    for name in TRAIN_IDS + TEST_IDS:
        part = "train" if name in TRAIN_IDS else "test"
        content = png(rng.integers(0, 256, (101, 101), np.uint8))
        (path / "tgs" / part / "images" / f"{name}.png").write_bytes(content)
    masks = {name: np.zeros((101, 101), np.uint8) for name in TRAIN_IDS}
    for k, name in enumerate(TRAIN_IDS):
        masks[name][:, : k // 2 * 20] = 1
        (path / "tgs/train/masks" / f"{name}.png").write_bytes(png(masks[name] * np.uint16(65535)))
    write_csv(path / "tgs/train.csv", "id,rle_mask", {name: encode_rle(mask) for name, mask in masks.items()})
    write_csv(path / "tgs/depths.csv", "id,z", {name: 100 + ord(name) for name in TRAIN_IDS + TEST_IDS})
    write_csv(path / "tgs/sample_submission.csv", "id,rle_mask", dict.fromkeys(TEST_IDS, "1 1"))
    write_csv(path / "submission.csv", "id,rle_mask", dict.fromkeys(TEST_IDS, "1 1 3 1"))
    done = run_here(tgs_preprocess.main, "--data_path=tgs", "--fold=2", cwd=path)
    assert done.returncode == 0, done.stderr
    others = shutil.ignore_patterns("fold_2*", "fold_1_state", "fold_1_last*", "events*")
    shutil.copytree(trained / "weights", path / "weights", ignore=others)
    shutil.copytree(trained / "logs", path / "logs", ignore=others)
    split = fingerprint(read_folds_csv(path / "folds"))
    for file in path.glob("weights/tiny/*.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"folds": 2, "fingerprint": split}))
    for file in path.glob("weights/tiny/*/state.npz"):
        restate(fingerprint=split)(file)
    return path


def write_csv(path: Path, header: str, rows: dict[str, object]) -> None:
    path.write_text("\n".join([header, *(f"{name},{value}" for name, value in rows.items())]) + "\n")


def tree(path: Path) -> dict[str, tuple]:
    """All under a folder: kind, permissions, and the content of files or the target of links."""
    found = {}
    for folder, folders, files in os.walk(path):
        for place in (Path(folder, name) for name in folders + files):
            status = place.lstat()
            content: object = None
            if place.is_symlink():
                content = os.readlink(place)
            elif place.is_file():
                content = hashlib.sha256(place.read_bytes()).digest() if os.access(place, os.R_OK) else status.st_size
            found[str(place.relative_to(path))] = (stat.filemode(status.st_mode), content)
    return found


# ---- ways to damage a project: each makes a function of its folder ------------------------------------------

Damage = Callable[[Path], object]


def put(name: str, content: bytes | str) -> Damage:
    """Replace a file."""

    def damage(project: Path) -> None:
        path = project / os.fsdecode(name)
        path.unlink(missing_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return damage


def change(name: str, how: Callable[[bytes], bytes]) -> Damage:
    """Replace a file's content by a function of it."""
    return lambda project: (project / name).write_bytes(how((project / name).read_bytes()))


def edit(name: str, old: str, new: str) -> Damage:
    """Replace a part of a text once."""

    def damage(project: Path) -> None:
        text = (project / name).read_text()
        assert old in text, (old, text)
        (project / name).write_text(text.replace(old, new, 1))

    return damage


def remove(name: str) -> Damage:
    """Remove a file, or a folder with all in it."""
    return lambda project: shutil.rmtree(project / name) if (project / name).is_dir() else (project / name).unlink()


def folder_at(name: str) -> Damage:
    """A folder in the place of a file."""
    return lambda project: ((project / name).unlink(missing_ok=True), (project / name).mkdir())


def link_at(name: str, target: str) -> Damage:
    """A link in the place of a file."""
    return lambda project: ((project / name).unlink(missing_ok=True), (project / name).symlink_to(target))


def pipe_at(name: str) -> Damage:
    """A pipe in the place of a file: who opens it waits."""
    return lambda project: ((project / name).unlink(missing_ok=True), os.mkfifo(project / name))


def forbid(name: str, mode: int = 0) -> Damage:
    """Take permissions from a file or folder."""
    return lambda project: (project / name).chmod(mode)


def move(name: str, to: str) -> Damage:
    return lambda project: (project / name).rename(project / to)


def copied(name: str, to: str) -> Damage:
    """Copy a folder, and its links as they are."""
    return lambda project: shutil.copytree(project / name, project / to, symlinks=True)


def both(*damages: Damage) -> Damage:
    return lambda project: [damage(project) for damage in damages]


def nothing(project: Path) -> None:
    """No damage: the command line is what is wrong."""


# ---- contents ------------------------------------------------------------------------------------------------


def zipped(name: str, members: dict[str, bytes], *, link: str = "", compression: int = zipfile.ZIP_DEFLATED) -> Damage:
    """A zip of members under any names; the one named `link` is a symbolic link to its content."""

    def damage(project: Path) -> None:
        with zipfile.ZipFile(project / name, "w") as archive:
            for member, content in members.items():
                info = zipfile.ZipInfo(member)
                info.external_attr = (0o120777 if member == link else 0o100644) << 16
                archive.writestr(info, content, compression)

    return damage


def declaring(size: int) -> Callable[[bytes], bytes]:
    """A change of a zip's bytes: every member declares this size."""

    def changed(content: bytes) -> bytes:
        lying, at = bytearray(content), -1
        while (at := lying.find(b"PK\x01\x02", at + 1)) >= 0:  # an entry of the directory
            struct.pack_into("<I", lying, at + 24, size)
        return bytes(lying)

    return changed


def encrypted(content: bytes) -> bytes:
    """A zip's bytes with the flags of its first member saying that it is encrypted, locally and in the directory."""
    changed = bytearray(content)
    changed[6] |= 1
    changed[changed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file whose header can be any JSON, or bytes, and lie about its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(kind: str, shape: tuple[int, ...] = (16, 1, 3, 3), data: bytes = bytes(576)) -> bytes:
    """A safetensors file of one tensor: by its name, and as it is by default its shape, the tiny model's first."""
    return safetensors({"stride2.conv1.weight": {"dtype": kind, "shape": shape, "data_offsets": [0, len(data)]}}, data)


def vouched(how: Callable[[bytes], bytes] = bytes) -> Damage:
    """Change fold_0_best's weights, and let their recipe vouch for what then is there."""

    def damage(project: Path) -> None:
        change(f"{BEST}.weights.h5", how)(project)
        recipe(sha256=hashlib.sha256((project / f"{BEST}.weights.h5").read_bytes()).hexdigest())(project)

    return damage


def recipe(**values: object) -> Damage:
    """Change values of fold_0_best's recipe; `...` removes one."""

    def how(content: bytes) -> bytes:
        changed = json.loads(content) | values
        return json.dumps({key: value for key, value in changed.items() if value is not ...}).encode()

    return change(f"{BEST}.json", how)


def restate(**values: object) -> Damage:
    """Change values of the progress in a file state.npz."""

    def damage(path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        progress = json.loads(arrays["progress"].tobytes()) | values
        np.savez(path, **arrays | {"progress": np.frombuffer(json.dumps(progress).encode(), np.uint8)})

    return damage


class Touch:
    """Pickled: a call of `touch pwned` when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def hostile_archive(ending: str) -> bytes:
    """A whole Keras model (.keras or .h5) with a layer of Python code that makes a file `pwned`."""
    layer = keras.layers.Lambda(lambda x: [open("pwned", "w").close(), x][1], output_shape=(2,))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"model{ending}")
        with contextlib.chdir(folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # .h5 is legacy
            keras.Sequential([keras.Input((2,)), layer]).save(path)
        return path.read_bytes()
