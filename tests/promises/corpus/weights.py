"""Weights and their recipes: damaged, hostile, of something else."""

import io
import json
import pickle
from collections.abc import Callable
from dataclasses import MISSING, fields

import h5py
import numpy as np

import tgs_predict
from models.weights import Recipe
from tests.promises.corpus.commands import OOF, PREDICT, USE_FOLDS, Case
from tests.promises.corpus.damage import (
    BEST,
    Touch,
    both,
    change,
    folder_at,
    forbid,
    hostile_archive,
    link_at,
    move,
    put,
    recipe,
    remove,
    vouched,
)

H5, JSON = f"{BEST}.weights.h5", f"{BEST}.json"
OTHER = f"{H5} does not hold the weights that fold_0_best.json describes"
NONE_OF_TINY = f"{H5} holds no weights of tiny ("
NEEDED = [*(field.name for field in fields(Recipe) if field.default is MISSING), "sha256"]
OF_A_KIND = [field.name for field in fields(Recipe)]
LINK = h5py.ExternalLink("other.h5", "/")


def with_hdf5(how: Callable[[h5py.File], object]) -> Callable[[bytes], bytes]:
    """A change of an HDF5 file's bytes, made through HDF5."""

    def changed(content: bytes) -> bytes:
        memory = io.BytesIO(content)
        with h5py.File(memory, "r+") as file:
            how(file)
        return memory.getvalue()

    return changed


def first_dataset(file: h5py.File) -> h5py.Dataset:
    """The first array of a weights file that has more than one number."""
    found: list[h5py.Dataset] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) and item.size > 1 else None)
    return found[0]


def in_its_place(make: Callable[[h5py.Group, str], object]) -> Callable[[bytes], bytes]:
    """A change of an HDF5 file's bytes: its first array replaced by what `make(group, name)` makes."""

    def how(file: h5py.File) -> None:
        group, name = first_dataset(file).name.rsplit("/", 1)
        del file[group][name]
        make(file[group], name)

    return with_hdf5(how)


def object_array(content: bytes) -> bytes:
    """A state with a pickled object in it."""
    file = io.BytesIO()
    np.savez(file, progress=np.array([Touch()], dtype=object))
    return file.getvalue()


WEIGHTS: dict[str, Case] = {
    **{
        f"truncated by {n} bytes": (change(H5, lambda content, n=n: content[:-n]), PREDICT, OTHER)
        for n in (1, 999, 99999)
    },
    "a bit flipped": (
        change(H5, lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]),
        PREDICT,
        OTHER,
    ),
    "empty": (put(H5, b""), PREDICT, OTHER),
    "of another fold": (move("weights/tiny/fold_1_best.weights.h5", H5), PREDICT, OTHER),
    "missing": (remove(H5), PREDICT, f"no weights file {H5}"),
    "a directory": (folder_at(H5), PREDICT, f"no weights file {H5}"),
    "a broken link": (link_at(H5, "gone"), PREDICT, f"no weights file {H5}"),
    "unreadable": (forbid(H5), PREDICT, f"cannot read {H5}: Permission denied"),
    "another ending": (
        move(H5, "weights/w.h5"),
        (tgs_predict.main, "--file_name=weights/w.h5", "--data_path=tgs"),
        "weights/w.h5 does not end in .weights.h5",
    ),
    **{
        f"vouched for, {name}": (vouched(how), PREDICT, NONE_OF_TINY)
        for name, how in {
            "truncated": lambda content: content[: len(content) // 2],
            "truncated by a byte": lambda content: content[:-1],
            "empty": lambda _: b"",
            "a text file": lambda _: b"id,rle_mask\n",
            "a pickle": lambda _: pickle.dumps(Touch()),
            "a Keras archive with code": lambda _: hostile_archive(".keras"),
            "a whole model with code": lambda _: hostile_archive(".h5"),
            "an array of numbers": object_array,
            "text for numbers": in_its_place(lambda group, name: group.create_dataset(name, data=["pwned"])),
            "another shape": in_its_place(lambda group, name: group.create_dataset(name, data=np.zeros(7))),
            "more than all memory": in_its_place(
                lambda group, name: group.create_dataset(name, (2**40,), "f4", chunks=(1024,), compression="gzip")
            ),
            "numbers from another file": in_its_place(
                lambda group, name: group.create_dataset(name, (3,), "u1", external=[("submission.csv", 0, 3)])
            ),
            "a link to another file": in_its_place(lambda group, name: group.__setitem__(name, LINK)),
            "a layer missing": with_hdf5(lambda file: file.__delitem__(first_dataset(file).parent.parent.name)),
        }.items()
    },
    "another architecture": (recipe(model="resnet18"), PREDICT, f"{H5} holds no weights of resnet18 ("),
    "no such architecture": (recipe(model="../tiny"), PREDICT, f"{JSON} "),
    **{
        f"input size {size!r}": (recipe(target_size=size), PREDICT, f"{JSON} ")
        for size in (33, 0, -32, 1056, "32", 32.0, True, None)
    },
    **{f"tile size {size!r}": (recipe(tile_size=size), PREDICT, f"{JSON} ") for size in (31, 33, "32", 32.0, True)},
}

RECIPES: dict[str, Case] = {
    "missing": (remove(JSON), PREDICT, f"cannot read {JSON}: No such file"),
    "unreadable": (forbid(JSON), PREDICT, f"cannot read {JSON}: Permission denied"),
    "empty": (put(JSON, ""), PREDICT, f"{JSON} is not JSON"),
    "truncated": (change(JSON, lambda content: content[:100]), PREDICT, f"{JSON} is not JSON"),
    "a list": (put(JSON, "[]"), PREDICT, f"{JSON} holds no JSON object"),
    "deep": (put(JSON, "[" * 100000), PREDICT, f"{JSON} is not JSON"),
    "no text": (put(JSON, b"\xff\xfe"), PREDICT, f"{JSON} is not JSON"),
    **{f"without {key}": (recipe(**{key: ...}), PREDICT, f"{JSON} lacks '{key}'") for key in NEEDED},
    **{f"{key} a list": (recipe(**{key: []}), PREDICT, f"{JSON} lacks '{key}'") for key in OF_A_KIND},
    "of other weights": (recipe(sha256="0" * 64), PREDICT, OTHER),
    "threshold 7": (recipe(threshold=7.0), PREDICT, f"{JSON} "),
    "threshold NaN": (recipe(threshold=float("nan")), PREDICT, f"{JSON} "),
    "of another fold": (recipe(fold="fold_1"), OOF, f"{H5} holds weights of fold_1"),
    "of a fold elsewhere": (recipe(fold="../fold_0"), OOF, f"{H5} holds weights of ../fold_0"),
    "of another split": (recipe(fingerprint="0" * 16), OOF, "weights/tiny/fold_1_best.weights.h5 and fold_0_best."),
    "of more folds": (recipe(folds=200), (*USE_FOLDS, "--allow_missing=False"), f"{JSON} "),
    "a fold missing": (
        both(remove("weights/tiny/fold_1_best.weights.h5")),
        (*USE_FOLDS, "--allow_missing=False"),
        "weights/tiny lacks weights of fold_1",
    ),
    "no weights": (remove("weights"), USE_FOLDS, "no fold_*_best.weights.h5 in weights/tiny"),
    **{
        f"out of fold, {name}": (put("weights/tiny/oof_best.json", content), PREDICT, "weights/tiny/oof_best.json ")
        for name, content in {
            "not JSON": "{",
            "a list": "[0.5]",
        }.items()
    },
    **{
        f"out of fold, {key} {value!r}": (
            lambda project, key=key, value=value: put(
                "weights/tiny/oof_best.json",
                json.dumps(
                    {"fingerprint": json.loads((project / JSON).read_text())["fingerprint"], "threshold": 0.5}
                    | {key: value}
                ),
            )(project),
            PREDICT,
            "weights/tiny/oof_best.json ",
        )
        for key, value in (("threshold", "high"), ("threshold", 7), ("min_area", "large"), ("min_area", -1))
    },
}
