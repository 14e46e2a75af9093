"""How far a training step is from the machine's limit: what the step must compute and move, and how fast that can go.

    python -m benchmarks.floor                # this machine, measured
    python -m benchmarks.floor --published    # an H100 by its datasheet, computed and not measured

Counted are the convolutions' multiply-adds and the bytes of a compiler that fuses all it can: convolutions, the adds of
residual blocks and max-pooling store a tensor; padding, normalisation, ReLU, up-sampling and concatenation are computed
while a stored tensor is read. A layer that stores passes twice over memory:

    forward   reads its inputs and weights, writes its output
    backward  reads its inputs, its output (where a normalisation or ReLU behind it needs it), its weights, and the
              gradient from every layer that reads the output; writes the gradients of inputs and weights

A pass takes what is longer, computing or moving (the roofline of Williams et al., 2009, doi:10.1145/1498765.1498785).
Nothing stays in a cache between passes; convolutions are direct (a Winograd transform would need fewer operations);
augmentation and loss, on images of one channel, are left out. Depthwise convolutions cannot come near the peak.

`UpConv2D` reads its small input and the skip. Where it computes a transposed convolution, the enlarged part costs 4
multiplications instead of 9 (the sums of the kernel, once a step, are not counted). The classic count has 9 everywhere:
what the peer computes; the prototype, older than `UpConv2D`, is taken to have done so too.
"""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from benchmarks.peaks import H100, Machine, adder, multiplier
from benchmarks.table import Row, text
from common.backend import load_tensorflow
from common.command import run
from common.flags import Parser, number

BYTES = {"float32": 4, "bfloat16": 2}  # of an activation; weights, gradients and moments are float32 with both
MODELS = {"": "resnet34", "efficientnet_lite0, ": "efficientnet_lite0"}  # in the rows' names, and in models.MODELS
CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D", "UpConv2D")
FUSED = ("ZeroPadding2D", "BatchNormalization", "ReLU", "UpSampling2D", "Concatenate")
PROTOTYPE = {16: 2486, 64: 7184, 256: 12460}  # images/s by batch, measured: a prototype of this network, bfloat16, XLA


@dataclass(frozen=True)
class Pass:
    """One pass over memory: operations and stored elements of one image, bytes of weights of the whole batch."""

    name: str
    operations: int
    elements: int
    weight_bytes: int


@dataclass(frozen=True)
class Floor:
    """The least a step takes: operations, bytes and seconds of the whole batch.

    `compute_bound`: share 0..1 of the seconds spent in passes that wait for arithmetic, the others wait for memory.
    """

    batch: int
    operations: float
    bytes: float
    seconds: float
    compute_bound: float

    @property
    def speed(self) -> float:
        """Images/s."""
        return self.batch / self.seconds


# ---- counting ----------------------------------------------------------------------------------------------


@dataclass
class _Stored:
    """A tensor in memory, by its elements in one image, and what reads it."""

    elements: int
    has_gradient: bool = True
    readers: int = 0
    normalised: bool = False
    rectified: bool = False

    @property
    def read_backward(self) -> int:
        """Elements to read: its gradient, a part of each reader or the loss's; and itself where what follows asks."""
        return (max(1, self.readers) + (self.normalised or self.rectified)) * self.elements


def passes(model, *, classic: bool = False) -> list[Pass]:
    """Every layer's passes, forward and backward, and the update: AdamW and the moving average of all variables.

    Args:
        classic: count UpConv2D as a convolution of the enlarged and joined input; bytes are the same.
    Raises:
        TypeError: a layer of a kind that the count does not know.
    """
    work = list(_layers(model))  # all of it first: the backward pass depends on how many read a tensor
    found = []
    for layer, sources, out in work:
        kind, inputs = type(layer).__name__, sum(s.elements for s in sources)
        weights = 4 * layer.count_params()
        operations = 2 * out.elements * _multiplications(layer, classic)
        found.append(Pass(layer.name, operations, inputs + out.elements, weights))
        if kind == "Add":  # both terms have the same gradient, stored once
            again, written = sum(s.elements for s in sources if s.normalised), out.elements
        else:
            again, written = inputs, sum(s.elements for s in sources if s.has_gradient)
        times = 2 if written else 1  # the gradient of the weights, and of the inputs where someone wants it
        elements = again + out.read_backward + written
        found.append(Pass(f"{layer.name}, backward", times * operations, elements, times * weights))
    trainable = sum(math.prod(v.shape) for v in model.trainable_variables)
    # AdamW reads weight, gradient and two moments and writes all but the gradient; the average is read and written.
    return [*found, Pass("update", 0, 0, 4 * (7 * trainable + 2 * model.count_params()))]


def _multiplications(layer, classic: bool) -> int:
    """For one element of the layer's output."""
    from models.blocks import FEW_PIXELS

    kind = type(layer).__name__
    if kind not in CONVOLUTIONS:
        return 0
    found = math.prod(layer.kernel.shape[: 2 if kind == "DepthwiseConv2D" else 3])
    if kind == "UpConv2D" and not classic:
        _, height, _, channels = _inputs(layer)[0].shape
        if height >= FEW_PIXELS[layer.compute_dtype]:  # of nine taps on enlarged pixels four sums are left
            found -= 5 * channels
    return found


def _inputs(layer) -> list:
    """The KerasTensors that a layer reads."""
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _layers(model) -> Iterator[tuple[object, list[_Stored], _Stored]]:
    """The layers that store a tensor, in order, with the stored tensors they read and the one they write."""
    reached: dict[int, list[_Stored]] = {}  # KerasTensor -> the stored tensors it is computed from
    for layer in model.layers:
        kind, out = type(layer).__name__, layer.output
        if kind == "InputLayer":
            reached[id(out)] = [_Stored(math.prod(out.shape[1:]), has_gradient=False)]
            continue
        sources = [stored for tensor in _inputs(layer) for stored in reached[id(tensor)]]
        if kind in FUSED or (kind == "Activation" and layer.activation.__name__ == "linear"):  # the latter is a cast
            for stored in sources:
                stored.normalised |= kind == "BatchNormalization"
                stored.rectified |= kind == "ReLU"
            reached[id(out)] = sources
        elif kind in (*CONVOLUTIONS, "Add", "MaxPooling2D"):
            for stored in sources:
                stored.readers += 1
            reached[id(out)] = [_Stored(math.prod(out.shape[1:]))]
            yield layer, sources, *reached[id(out)]
        else:
            raise TypeError(f"benchmarks.floor cannot count layer '{layer.name}', a {kind}")


def floor(model, batch: int, dtype: str, machine: Machine, *, classic: bool = False) -> Floor:
    """The least time of a training step of `model` on `batch` images with activations of `dtype`."""
    operations = moved = seconds = computing = 0.0
    for part in passes(model, classic=classic):
        work, traffic = batch * part.operations, batch * part.elements * BYTES[dtype] + part.weight_bytes
        compute, move = work / machine.peak[dtype], traffic / machine.bandwidth
        operations, moved, seconds = operations + work, moved + traffic, seconds + max(compute, move)
        computing += compute if compute > move else 0
    return Floor(batch, operations, moved, seconds, computing / seconds)


def rows(rounds: int, tiny: bool) -> list[Row]:
    """Peaks of this machine, and by them the floors of a step of MODELS at 128 px; `tiny`: sizes for a test."""
    import tensorflow as tf

    from models import make_model

    gpu = bool(tf.config.list_physical_devices("GPU"))
    side, elements = (128, 1 << 16) if tiny else (8192, 1 << 28) if gpu else (2048, 1 << 26)
    batches = (16, 64, 256) if gpu else (16,)
    models = {"": make_model("tiny", 32)} if tiny else {told: make_model(name, 128) for told, name in MODELS.items()}
    multiply, add = {dtype: multiplier(dtype, side) for dtype in BYTES}, adder(elements)
    machines = [Machine({dtype: measure() for dtype, measure in multiply.items()}, add()) for _ in range(rounds)]

    note = f"tf.matmul, {side} x {side}"
    table = [
        Row(f"peak, {dtype}", "GFLOP/s", [machine.peak[dtype] / 1e9 for machine in machines], note=note)
        for dtype in BYTES
    ]
    note = f"a += b of {4 * elements / 1e6:.0f} MB"
    table.append(Row("memory bandwidth", "GB/s", [machine.bandwidth / 1e9 for machine in machines], note=note))
    for (told, model), batch, dtype in product(models.items(), batches, BYTES):
        floors = [floor(model, batch, dtype, machine) for machine in machines]
        bound = statistics.median(f.compute_bound for f in floors)
        note = f"computed from the peaks above; {bound:.0%} of it waits for arithmetic"
        table.append(Row(f"floor, {told}batch {batch}, {dtype}", "images/s", [f.speed for f in floors], note=note))
    return table


def published(model) -> str:
    """The floor on an H100 by its datasheet, and what the prototype reached of the classic one; Markdown."""
    lines = [
        "| batch | floor, ms | floor, images/s | of it waiting for arithmetic "
        "| classic floor, images/s | prototype, images/s | its share of the classic floor |",
        "|---" * 7 + "|",
    ]
    for batch, measured in PROTOTYPE.items():
        ours, theirs = (floor(model, batch, "bfloat16", H100, classic=classic) for classic in (False, True))
        cells = f"{1000 * ours.seconds:.2f} | {ours.speed:,.0f} | {ours.compute_bound:.0%} | {theirs.speed:,.0f}"
        lines.append(f"| {batch} | {cells} | {measured:,} | {measured / theirs.speed:.0%} |")
    return "\n".join(lines)


def needs(model) -> str:
    """What a step of `model` needs, in words."""
    parts, classic = passes(model), passes(model, classic=True)
    elements, weights = sum(p.elements for p in parts), sum(p.weight_bytes for p in parts)
    return (
        f"{model.name}: {_operations(parts)} an image, classic: {_operations(classic)}; "
        f"{4 * elements / 1e6:.1f} MB of activations an image in float32, {2 * elements / 1e6:.1f} MB in bfloat16, "
        f"{weights / 1e6:,.0f} MB a step for weights, gradients, moments and moving average; {len(parts)} passes"
    )


def _operations(parts: list[Pass]) -> str:
    """Their sum, in words."""
    whole = sum(p.operations for p in parts)
    forward = sum(p.operations for p in parts if not p.name.endswith("backward"))
    return f"{whole / 1e9:.2f} GFLOP ({forward / 1e9:.2f} of them forward)"


def main(argv: list[str] | None = None) -> str:
    """Command line: print what a step needs, and its floor; returns the table."""
    parser = Parser(description=__doc__)
    parser.option("rounds", 5, "measurements of each", type=number(int, 1, 1000))
    parser.flag("published", False, "an H100 by its datasheet instead of this machine")
    args = parser.parse_args(argv)
    load_tensorflow(verbose=args.verbose)
    from models import make_model

    known = {name: make_model(name, 128) for name in MODELS.values()}
    table = published(known["resnet34"]) if args.published else text(rows(args.rounds, tiny=False))
    print("\n".join(map(needs, known.values())), table, sep="\n\n")
    return table


if __name__ == "__main__":
    run(main)
