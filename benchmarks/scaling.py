"""A model, and nothing but a model, of ring training on up to 512 GPUs: what the allreduce costs, what is left.

    python -m benchmarks.scaling                                  # H100s, eight a node, an InfiniBand port for each
    python -m benchmarks.scaling --network=ethernet               # one port of 100 Gbit/s a node
    python -m benchmarks.scaling --batch_size=64 --speed=7184     # of one GPU alone, images/s, measured

The step is the toolkit's: forward and backward compiled as one function, then one grouped allreduce of all gradients,
then the update, so nothing hides the allreduce. With N GPUs on M nodes of G, S bytes of gradients, and b bytes/s each
way in the slowest link that a ring crosses (NVLink, or all the ports of a node together), the allreduce takes

    ring           2 (N - 1) / N S / b + latency of 2 (N - 1) steps, 2 M of them (if M > 1) between nodes
    tree           2 S / (0.92 b) + latency of 2 (G - 1) steps within and 2 log2 M between nodes
    hierarchical   reduce-scatter within the nodes, ring between them on a G-th each, allgather within

Formulas and latencies of ring and tree are those by which NCCL chooses between them (ncclTopoTuneModel in its
src/graph/tuning.cc, version 2.2x, protocol LL128); the model takes the faster one, as NCCL does. The ring's is also in
Patarasuk and Yuan, 2009, doi:10.1016/j.jpdc.2008.09.002. Left out: switches that add (SHARP) and would help, and slow
ranks, a shared network and waiting for data, which would not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from common.backend import load_tensorflow
from common.command import run
from common.errors import InputError
from common.flags import Parser, number

# ---- published figures, and what is assumed ----------------------------------------------------------------

GPUS_PER_NODE = 8  # DGX H100
NVLINK = 450e9  # bytes/s each way: NVIDIA's H100 datasheet, NVLink 900 GB/s both ways together
INFINIBAND = 8 * 400e9 / 8  # bytes/s of a node each way: DGX H100 datasheet, eight NDR ports of 400 Gbit/s
ETHERNET = 100e9 / 8  # bytes/s of a node each way: a single port of 100 Gbit/s
# What NCCL's maintainers tell users of nccl-tests to expect: 370 GB/s of NVLink's 450, 46 of an NDR port's 50. Ethernet
# is assumed to do as well, which takes RDMA (RoCE).
NVLINK_SHARE, NETWORK_SHARE = 370 / 450, 46 / 50
LL128 = 120 / 128  # the protocol's payload: 8 of 128 bytes are flags
TREE_SHARE = 0.92  # NCCL's correction of a tree's bandwidth

START = 14e-6  # s, of any NCCL call
RING_NVLINK, RING_NETWORK = 1.9e-6, 4.0e-6  # s, a step of a ring within a node, between nodes
TREE_NVLINK, TREE_NETWORK = 1.25e-6, 8.5e-6  # s, a step of a tree

HOROVOD = 1e-3  # s, assumed: its thread looks for work once in 1 ms (since version 0.21), negotiates, fills a buffer
BACKWARD = 2 / 3  # of forward and backward together: two convolutions each for the forward's one (benchmarks.floor)
TILES = 2880  # that one fold of five trains on: 4 / 5 of 3,601
FOLDS, EPOCHS = 5, 160
SPEED = {16: 2486, 64: 7184, 256: 12460}  # images/s by batch on one H100: a prototype of resnet34, bfloat16, XLA


@dataclass(frozen=True)
class Cluster:
    """Usable bytes/s each way: of a GPU's `nvlink`, and of a node's `network`, all its ports together."""

    nvlink: float
    network: float

    def slowest(self, gpus: int) -> float:
        """Of the links that a ring of `gpus` crosses."""
        return self.nvlink if gpus <= GPUS_PER_NODE else min(self.nvlink, self.network)


CLUSTERS = {
    "infiniband": Cluster(NVLINK * NVLINK_SHARE * LL128, INFINIBAND * NETWORK_SHARE * LL128),
    "ethernet": Cluster(NVLINK * NVLINK_SHARE * LL128, ETHERNET * NETWORK_SHARE * LL128),
}


# ---- the allreduce: seconds for `size` bytes ---------------------------------------------------------------


def nodes(gpus: int) -> int:
    """Nodes that hold this many GPUs."""
    return math.ceil(gpus / GPUS_PER_NODE)


def ring(gpus: int, size: float, cluster: Cluster) -> float:
    """One ring through all GPUs."""
    if gpus == 1:
        return 0.0
    between = 2 * nodes(gpus) if nodes(gpus) > 1 else 0
    within = 2 * (gpus - 1) - between
    moving = 2 * (gpus - 1) / gpus * size / cluster.slowest(gpus)
    return START + moving + within * RING_NVLINK + between * RING_NETWORK


def tree(gpus: int, size: float, cluster: Cluster) -> float:
    """A chain within each node, a double binary tree between nodes."""
    if gpus == 1:
        return 0.0
    within, between = 2 * (min(gpus, GPUS_PER_NODE) - 1), 2 * math.log2(nodes(gpus))
    moving = 2 * size / (TREE_SHARE * cluster.slowest(gpus))
    return START + moving + within * TREE_NVLINK + between * TREE_NETWORK


def hierarchical(gpus: int, size: float, cluster: Cluster) -> float:
    """Rings within the nodes, and rings between them that share the node's network, each with its part."""
    local, far = min(gpus, GPUS_PER_NODE), nodes(gpus)
    seconds = ring(local, size, cluster)  # its two halves, reduce-scatter and allgather, before and after the others
    if far > 1:
        seconds += START + 2 * (far - 1) / far * size / cluster.network + 2 * (far - 1) * RING_NETWORK
    return seconds


# ---- the step and the run ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """Seconds of one training step, and the GPUs and images it is for."""

    gpus: int
    batch: int
    compute: float
    seconds: float

    @property
    def efficiency(self) -> float:
        """Share of the step that the GPUs compute, 0..1: speed by speed of as many GPUs that need not communicate."""
        return self.compute / self.seconds

    @property
    def speed(self) -> float:
        """Images/s of all GPUs."""
        return self.gpus * self.batch / self.seconds

    @property
    def steps(self) -> int:
        """Steps an epoch, whole global batches only, as the toolkit cuts them; 0: the batch exceeds the fold."""
        return TILES // (self.gpus * self.batch)

    @property
    def minutes(self) -> float:
        """Of training for five folds in turn, without start, compiling and validation."""
        return FOLDS * EPOCHS * self.steps * self.seconds / 60


@dataclass(frozen=True)
class Job:
    """What trains: images a GPU and step, seconds to compute them, bytes of gradients, where, seconds lost a step."""

    batch: int
    compute: float
    size: float
    cluster: Cluster
    overhead: float = HOROVOD

    def step(self, gpus: int, *, overlap: bool = False, fp16: bool = False) -> Step:
        """A step on `gpus`, with the faster allreduce.

        `overlap`: what if the allreduce started with the first gradient and ran beside the rest of the backward pass;
        `fp16`: what if it moved half of the bytes (Horovod's Compression.fp16).
        """
        if gpus == 1:
            return Step(gpus, self.batch, self.compute, self.compute)
        exchange = min(way(gpus, self.size / (2 if fp16 else 1), self.cluster) for way in (ring, tree))
        if overlap:
            exchange = max(0.0, exchange - BACKWARD * self.compute)
        return Step(gpus, self.batch, self.compute, self.compute + self.overhead + exchange)


def table(counts: Sequence[int], job: Job) -> str:
    """In Markdown, a line for each number of GPUs."""
    lines = [
        "| GPUs | nodes | allreduce by ring, ms | by tree, ms | hierarchical, ms | step, ms | efficiency "
        "| images/s | if overlapped | if fp16 | if both | steps an epoch | 5 folds in turn, min |",
        "|---" * 13 + "|",
    ]
    for gpus in counts:
        now = job.step(gpus)
        others = job.step(gpus, overlap=True), job.step(gpus, fp16=True), job.step(gpus, overlap=True, fp16=True)
        ways = " | ".join(f"{1000 * way(gpus, job.size, job.cluster):.2f}" for way in (ring, tree, hierarchical))
        what_if = " | ".join(f"{other.efficiency:.0%}" for other in others)
        length = f"{now.steps} | {now.minutes:.1f}" if now.steps else "less than 1 | "
        cells = f"{ways} | {1000 * now.seconds:.2f} | {now.efficiency:.0%} | {now.speed:,.0f} | {what_if} | {length}"
        lines.append(f"| {gpus} | {nodes(gpus)} | {cells} |")
    return "\n".join(lines)


def gradient_bytes(name: str) -> int:
    """Bytes of a model's gradients in float32."""
    from models import make_model

    return 4 * sum(math.prod(v.shape) for v in make_model(name).trainable_variables)


def main(argv: list[str] | None = None) -> str:
    """Command line: print the table; returns it."""
    parser = Parser(description=__doc__)
    whole = number(int, 1)
    parser.option("model", "resnet34", "whose gradients are exchanged", metavar="NAME")
    parser.option("batch_size", 16, "images a GPU and step", type=whole)
    parser.option("speed", None, "images/s of one GPU (default: a prototype's, measured)", type=number(float, 1e-6))
    parser.option("network", "infiniband", "between the nodes", choices=list(CLUSTERS))
    parser.option("overhead", 1000 * HOROVOD, "ms a step until the allreduce begins, assumed", type=number(float, 0))
    parser.option("gpus", [1, 8, 16, 32, 64, 128, 256, 512], "how many, one or more numbers", type=whole, nargs="+")
    args = parser.parse_args(argv)
    speed = args.speed or SPEED.get(args.batch_size)
    if speed is None:
        raise InputError(f"no measured speed for batch {args.batch_size}: give --speed=IMAGES_PER_SECOND of one GPU")
    load_tensorflow(verbose=args.verbose)
    batch, size = args.batch_size, gradient_bytes(args.model)
    job = Job(batch, batch / speed, size, CLUSTERS[args.network], args.overhead / 1000)
    lines = table(args.gpus, job)
    alone, node = (job.step(gpus).minutes / FOLDS for gpus in (1, GPUS_PER_NODE))
    print(
        f"A model, not a measurement: {args.model}, {size / 1e6:.1f} MB of gradients, batch {batch} a GPU, "
        f"{args.network}, one GPU at {speed:,.0f} images/s.\n\n{lines}\n\n"
        f"An epoch of a fold is {TILES:,} tiles: beyond {TILES // batch} GPUs it is less than one step.\n"
        f"Five folds side by side, a job each: {alone:.1f} min on 5 GPUs, {node:.1f} min on 5 nodes of {GPUS_PER_NODE}."
    )
    return lines


if __name__ == "__main__":
    run(main)
