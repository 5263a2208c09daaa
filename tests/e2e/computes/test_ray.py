"""What is Ray's own about a cluster that has its nodes from it."""

import os
import signal
from collections.abc import Iterator

import pytest
from tests.contracts import ray_cluster
from tests.e2e.installation import Installation, carriers, until

from .conftest import Install

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def it(on_ray: Install) -> Iterator[Installation]:
    with on_ray() as made:
        made.up()
        made.cluster("fleet", nodes=2)
        yield made


def test_a_job_runs_on_a_node_that_ray_gave(it: Installation):
    it.submit("one", "echo here; env", compute="fleet")
    it.comes_to("one", "Completed", within_s=120)
    said = it.log("one", 1)
    assert said.startswith("here\n")
    assert "RAY_" not in said, "the token of the cluster is no job's business"
    assert it.job("one")["nodes"][0].endswith(".0")


def test_a_job_goes_on_when_the_engine_is_killed_and_the_next_one_finds_its_nodes(it: Installation):
    it.submit("long", "sleep 4; echo done", compute="fleet")
    it.comes_to("long", "Running", within_s=120)
    [before] = engines(it)
    os.kill(before, signal.SIGKILL)
    it.comes_to("long", "Completed", within_s=60)
    until(lambda: [pid for pid in engines(it) if pid != before], "the engine is started again", seconds=60)
    assert it.job("long")["attempt"] == 1


def test_nothing_is_left_on_ray_when_the_cluster_is_deleted(it: Installation):
    allocation = it.job("one")["nodes"][0].rpartition(".")[0]
    it.workspace.computes.delete("fleet")
    it.workspace.computes.wait_gone("fleet", timeout_s=120)
    until(lambda: not list(it.workspace.installation.leftovers()), "nothing of ours is left on Ray", seconds=60)
    assert not carriers(f"ULTRAMARINE_ALLOCATION={allocation}")


def engines(it: Installation) -> list[int]:
    return ray_cluster.engines(it.home / "run" / "ray.sock")
