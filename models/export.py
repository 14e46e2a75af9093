"""A predictor for other programs: one ONNX file, or TensorFlow's SavedModel folder. All of it is in the graph.

"tiles", uint8 (B, 101, 101) gray values as in the PNG files, go in; "probabilities" of salt, float32 (B, 101, 101) in
0..1, come out. Normalisation, padding, mirror images and the mean over models are inside; B is free.

    onnxruntime.InferenceSession("salt.onnx").run(["probabilities"], {"tiles": tiles})[0]
    salt = tf.saved_model.load("salt"); salt.serve(tiles)["probabilities"]
"""

import json
import math
import os
from pathlib import Path

import keras
import tensorflow as tf

from common.errors import InputError
from common.files import make_folder, replacing
from data.tiles import TILE
from models.predictor import Predictor

TILES = tf.TensorSpec((None, TILE, TILE), tf.uint8, "tiles")
OPSET = 17  # of 2022; onnxruntime reads it since 1.12
ONNX_BYTES = 2_000_000_000  # of kernels: protocol buffers, and so an ONNX file, end at 2 GiB
NOTE = "note.json"  # in a SavedModel folder


def export_predictor(path: str | Path, predictor: Predictor, note: dict) -> None:
    """Write `predictor` to a new `path`: ONNX where that ends in .onnx, a SavedModel folder otherwise.

    Args:
        path: nothing may be there; folders above it are made.
        note: what a user wants to know (threshold, minimum area, where from), for JSON. ONNX has it as metadata, each
            value a string, or its JSON; the folder as note.json.
    Raises:
        InputError: something is there, it cannot be written, or the models are more than an ONNX file holds.
    """
    path = Path(path)
    taken = InputError(f"{path} exists; name a new path, or remove it")
    if os.path.lexists(path):
        raise taken
    write = write_onnx if path.suffix.lower() == ".onnx" else write_saved_model
    make_folder(path.parent)
    try:
        with replacing(path, exclusive=True) as temporary:
            write(temporary, predictor, note)
    except FileExistsError:  # since then
        raise taken from None


def write_saved_model(path: Path, predictor: Predictor, note: dict) -> None:
    """Save variables and one signature, `serve`, with the note beside them; OSError on a full disk."""
    module = tf.Module()
    module.variables_of_models = [variable.value for model, _ in predictor.models for variable in model.variables]
    module.serve = tf.function(
        lambda tiles: {"probabilities": predictor.probabilities(tiles)}, input_signature=[TILES], autograph=False
    )
    try:
        tf.saved_model.save(module, str(path), signatures=module.serve)
    except tf.errors.OpError as error:  # what TensorFlow makes of a full disk
        raise OSError(error.message.splitlines()[0]) from None
    (path / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def write_onnx(path: Path, predictor: Predictor, note: dict) -> None:
    """Convert with the convolutions' kernels as inputs, and put in their values afterwards.

    tf2onnx copies all constants at each of its steps: 9 GB for one resnet34 (0.1 GB of weights). Without the kernels
    it needs none of that, and mirror images and upright ones share them. The other variables are small, and known to
    it: it then moves its transpositions out of the network.
    """
    import onnx
    import tf2onnx

    variables = [variable for model, _ in predictor.models for variable in model.variables if len(variable.shape) > 1]
    size = sum(4 * math.prod(variable.shape) for variable in variables)
    if size > ONNX_BYTES:
        raise InputError(
            f"{len(predictor.models)} model(s) are {size / 1e9:.1f} GB, an ONNX file holds 2; "
            "export fewer folds, or a SavedModel (a path without .onnx)"
        )
    kernels = {f"kernel_{k}": variable for k, variable in enumerate(variables)}

    def graph(tiles: tf.Tensor, *values: tf.Tensor) -> dict[str, tf.Tensor]:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return {"probabilities": predictor.probabilities(tiles)}

    signature = [TILES, *(tf.TensorSpec(variable.shape, tf.float32, name) for name, variable in kernels.items())]
    function = tf.function(graph, input_signature=signature, autograph=False)
    model, _ = tf2onnx.convert.from_function(function, signature, opset=OPSET)

    (tiles,) = (value for value in model.graph.input if value.name == TILES.name)
    del model.graph.input[:]
    model.graph.input.append(tiles)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for name, variable in kernels.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(variable.numpy(), name))
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in note.items()}
    onnx.helper.set_model_props(model, texts)
    path.write_bytes(model.SerializeToString())
