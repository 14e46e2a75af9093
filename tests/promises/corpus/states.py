"""States of trainings, and pretrained encoders."""

import pickle
from functools import cache
from pathlib import Path

from common.ring.single import SingleProcess
from models.pretrained.load import load_encoder
from tests.promises.corpus.commands import ENCODER, TRAIN, Case
from tests.promises.corpus.damage import (
    Touch,
    both,
    change,
    folder_at,
    forbid,
    nothing,
    pipe_at,
    put,
    restate,
    safetensors,
    tensor,
)
from tests.promises.corpus.weights import object_array
from tests.promises.corpus.zips import inner
from training.learner import Learner
from training.settings import Settings
from training.state import Progress, TrainingState

STATE = "weights/tiny/fold_0_state/state.npz"


@cache
def learner() -> Learner:
    """A training of the tiny model, built once."""
    return Learner(Settings(model="tiny", target_size=32, epochs=2), 1, SingleProcess(), batch_size=8)


RESUME = (lambda _: TrainingState(Path(STATE).parent, learner().variables).resume(Progress()),)
LOAD = (lambda _: load_encoder(learner().net, "r.safetensors"),)

STATES: dict[str, Case] = {
    "empty": (put(STATE, b""), TRAIN, f"{STATE} cannot be read"),
    "truncated": (change(STATE, lambda content: content[:-100]), RESUME, f"{STATE} cannot be read"),
    "a bit flipped": (
        change(STATE, lambda c: c[:5000] + bytes([c[5000] ^ 1]) + c[5001:]),
        RESUME,
        f"{STATE} cannot be re",
    ),
    "a pickle": (put(STATE, pickle.dumps(Touch())), RESUME, f"{STATE} cannot be read"),
    "a pickle in it": (change(STATE, object_array), RESUME, f"{STATE} cannot be read"),
    "a directory": (folder_at(STATE), RESUME, f"{STATE} cannot be read"),
    "unreadable": (forbid(STATE), RESUME, f"{STATE} cannot be read"),
    "of another input size": (nothing, (*TRAIN, "--target_size=64"), f"{STATE} was made with --target_size=32, not 64"),
    "of other folds": (
        lambda project: restate(fingerprint="0")(project / STATE),
        TRAIN,
        f"{STATE} was made with other f",
    ),
    "with epochs of text": (lambda project: restate(epoch="two")(project / STATE), RESUME, f"{STATE} cannot be read"),
    "of the future": (lambda project: restate(epoch=7)(project / STATE), RESUME, f"{STATE} "),
}

ENCODERS: dict[str, Case] = (
    {
        name: (
            put("r.safetensors", content),
            LOAD,
            f"r.safetensors is neither a PyTorch nor a safetensors file (Error while deserializing: {said}",
        )
        for name, (content, said) in {
            "empty": (b"", "header too small"),
            "truncated header": (tensor("F32")[:50], "invalid header length"),
            "truncated data": (tensor("F32")[:-1], "incomplete metadata"),
            "a header of 2**63 bytes": (safetensors({}, length=2**63), "header too large"),
            "a header of 90 MB": (safetensors({}, length=90_000_000), "invalid header length"),
            "a header that is not JSON": (safetensors(b"no JSON"), "invalid JSON"),
            "a header of a list": (safetensors([1]), "invalid JSON"),
            "a deep header": (safetensors(b"[" * 100000), "invalid JSON"),
            "a shape beyond all memory": (tensor("F32", (2**40, 2**40)), "overflow"),
        }.items()
    }
    | {
        name: (put("r.safetensors", content), LOAD, f"r.safetensors is {said}")
        for name, (content, said) in {
            "8-bit floats": (
                tensor("F8_E4M3", data=bytes(144)),
                "neither a PyTorch nor a safetensors file ('stride2.c",
            ),
            "a pickle": (pickle.dumps(Touch()), "no PyTorch file of tensors alone (asks for "),
            "a torch file": (
                inner({"archive/data.pkl": pickle.dumps(Touch())}),
                "no PyTorch file of tensors alone (compressed",
            ),
        }.items()
    }
    | {
        "missing": (nothing, ENCODER, "cannot read r.safetensors: No such file"),
        "a directory": (folder_at("r.safetensors"), LOAD, "cannot read r.safetensors: Is a dir"),
        "a pipe": (pipe_at("r.safetensors"), LOAD, "r.safetensors is a pipe"),
        "unreadable": (
            both(put("r.safetensors", tensor("F32")), forbid("r.safetensors")),
            LOAD,
            "cannot read r.safetensors: Permission denied",
        ),
        **{
            name: (put("r.safetensors", content), LOAD, f"r.safetensors{said}")
            for name, (content, said) in {
                "whole numbers": (
                    tensor("I64", data=bytes(1152)),
                    ": 'stride2.conv1.weight' holds int64, not floating-p",
                ),
                "brain floats": (tensor("BF16", data=bytes(288)), ""),
                "not a number": (
                    tensor("F32", data=b"\xff" * 576),
                    ": 'stride2.conv1.weight' holds what is not a number",
                ),
                "another shape": (tensor("F32", (16, 1, 9)), ": 'stride2.conv1.weight' has the shape (16, 1, 9)"),
                "one tensor only": (tensor("F32"), " has no tensor 'stride2.bn1.weight'"),
            }.items()
        },
    }
)
