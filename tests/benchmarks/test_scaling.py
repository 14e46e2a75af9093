"""The model of ring training: its formulas by hand, and what must hold for every number of GPUs."""

import pytest

from benchmarks.scaling import CLUSTERS, Cluster, Job, hierarchical, main, ring, tree
from common.errors import InputError

SLOW = Cluster(nvlink=100e9, network=25e9)  # bytes/s
SIZE = 100e6
COUNTS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
WAYS = [ring, tree, hierarchical]


@pytest.mark.parametrize("way", WAYS)
def test_one_gpu_exchanges_nothing(way):
    assert way(1, SIZE, SLOW) == 0


@pytest.mark.parametrize(
    ("gpus", "seconds"),
    [
        (2, 14e-6 + 1e-3 + 2 * 1.9e-6),  # 2 * 1/2 * 100 MB at 100 GB/s
        (8, 14e-6 + 1.75e-3 + 14 * 1.9e-6),  # 2 * 7/8
        (16, 14e-6 + 7.5e-3 + 26 * 1.9e-6 + 4 * 4e-6),  # 2 * 15/16 at 25 GB/s; of 30 steps 4 between the two nodes
    ],
)
def test_ring(gpus, seconds):
    assert ring(gpus, SIZE, SLOW) == pytest.approx(seconds)


def test_tree():
    assert tree(8, SIZE, SLOW) == pytest.approx(14e-6 + 2e-3 / 0.92 + 14 * 1.25e-6)
    assert tree(32, SIZE, SLOW) == pytest.approx(14e-6 + 8e-3 / 0.92 + 14 * 1.25e-6 + 4 * 8.5e-6)


def test_hierarchical():
    assert hierarchical(8, SIZE, SLOW) == ring(8, SIZE, SLOW)
    between = 14e-6 + 2 * 3 / 4 * SIZE / 25e9 + 6 * 4e-6
    assert hierarchical(32, SIZE, SLOW) == pytest.approx(ring(8, SIZE, SLOW) + between)


def test_a_flat_ring_pays_for_every_gpu_and_a_tree_for_every_doubling():
    assert ring(512, 0, SLOW) / ring(64, 0, SLOW) > 7
    assert tree(512, 0, SLOW) / tree(64, 0, SLOW) < 2


def test_step_by_hand():
    """8 GPUs: 10 ms of computing, 1 ms of overhead, the ring's 1.7906 ms."""
    job = Job(16, 0.010, SIZE, SLOW, 0.001)
    found = job.step(8)
    assert found.seconds == pytest.approx(0.0127906)
    assert found.efficiency == pytest.approx(10 / 12.7906)
    assert found.speed == pytest.approx(8 * 16 / 0.0127906)
    assert found.steps == 22  # 2,880 tiles by 128
    assert found.minutes == pytest.approx(5 * 160 * 22 * 0.0127906 / 60)
    assert job.step(512).steps == 0
    assert job.step(8, fp16=True).seconds == pytest.approx(0.0127906 - 0.000875)


def test_overlap_hides_no_more_than_the_backward_pass():
    exchange = ring(8, SIZE, SLOW)
    assert Job(16, 0.010, SIZE, SLOW, 0.001).step(8, overlap=True).seconds == pytest.approx(0.011)
    assert Job(16, 0.0015, SIZE, SLOW, 0.001).step(8, overlap=True).seconds == pytest.approx(0.0015 + exchange)


@pytest.mark.parametrize("cluster", CLUSTERS.values(), ids=CLUSTERS)
@pytest.mark.parametrize("what_if", [{}, {"overlap": True}, {"fp16": True}, {"overlap": True, "fp16": True}])
def test_efficiency_falls_with_gpus_and_what_ifs_never_slow_down(cluster, what_if):
    job = Job(16, 0.0064, SIZE, cluster)
    steps = [job.step(gpus, **what_if) for gpus in COUNTS]
    efficiencies = [step.efficiency for step in steps]
    assert efficiencies[0] == 1
    assert efficiencies == sorted(efficiencies, reverse=True)
    assert all(step.seconds <= job.step(step.gpus).seconds for step in steps)


def test_a_second_node_behind_a_slow_network_trains_slower_than_one_alone():
    slow, fast = (Job(16, 0.0064, SIZE, CLUSTERS[name]) for name in ("ethernet", "infiniband"))
    assert slow.step(16).speed < slow.step(8).speed
    assert fast.step(16).speed > 1.9 * fast.step(8).speed


def test_command(capsys):
    table = main(["--gpus", "8", "512", "--speed=2000"])
    assert "97.7 MB of gradients" in capsys.readouterr().out  # 24,430,097 float32
    assert len(table.splitlines()) == 2 + 2
    assert "less than 1" in table.splitlines()[-1]


def test_an_unmeasured_batch_needs_a_speed():
    with pytest.raises(InputError, match="batch 17: give --speed"):
        main(["--batch_size=17"])
