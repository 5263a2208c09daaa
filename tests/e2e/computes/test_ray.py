"""What is Ray's own about a cluster that has its nodes from it."""

import json
import os
import signal
from collections.abc import Iterator

import pytest
from tests.contracts import ray_cluster
from tests.e2e.installation import SIZE, Installation, carriers, until

from .conftest import Install

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def it(on_ray: Install) -> Iterator[Installation]:
    pair = {"pair": {"cpus": 2, "memory_gib": 1, "gpus": 2}, SIZE: {"cpus": 0.05, "memory_gib": 0.25}}
    with on_ray(ULTRAMARINE_SIZES=json.dumps(pair), ULTRAMARINE_NODE_START_S="15") as made:
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


def test_jobs_that_share_a_node_have_each_a_gpu_of_those_that_ray_gave_it(it: Installation):
    it.cluster("gpus", nodes=1, size="pair", idle_s=1)
    for name in ("one-gpu", "other-gpu"):
        part = {"cpus": 1, "memory": "256m", "gpus": 1}
        it.submit(name, "echo $CUDA_VISIBLE_DEVICES; sleep 3", compute="gpus", resources=part)
    jobs = [it.comes_to(name, "Completed", within_s=120) for name in ("one-gpu", "other-gpu")]
    assert jobs[0]["nodes"] == jobs[1]["nodes"]
    assert sorted(it.log(job["name"], 1) for job in jobs) == ["0\n", "1\n"]
    it.workspace.computes.delete("gpus")
    it.workspace.computes.wait_gone("gpus", timeout_s=60)


def test_nothing_is_left_on_ray_when_the_cluster_is_deleted(it: Installation):
    allocation = it.job("one")["nodes"][0].rpartition(".")[0]
    it.workspace.computes.delete("fleet")
    it.workspace.computes.wait_gone("fleet", timeout_s=120)
    until(lambda: not list(it.workspace.installation.leftovers()), "nothing of ours is left on Ray", seconds=60)
    assert not carriers(f"ULTRAMARINE_ALLOCATION={allocation}")


def test_a_gang_that_ray_has_no_room_for_gives_back_its_part_to_one_that_is_before_it_in_the_queue(it: Installation):
    for name, nodes in (("hold", 1), ("large", 3), ("small", 2)):
        it.cluster(name, nodes=nodes, size="pair", idle_s=600)
    it.submit("holds", "sleep 1000", compute="hold")
    it.comes_to("holds", "Running", within_s=60)
    it.submit("large", "true", compute="large", resources={"instance_count": 3})
    until(lambda: "Ray has no node with 2 CPUs" in it.job("large")["reason"], "it says what is missing", seconds=60)
    urgent = {"job_tier": "premium"}
    it.submit("small", "true", compute="small", resources={"instance_count": 2}, queue_settings=urgent)
    it.comes_to("small", "Completed", within_s=120)
    for name in ("hold", "small"):
        it.workspace.computes.delete(name)
        it.workspace.computes.wait_gone(name, timeout_s=60)
    it.comes_to("large", "Completed", within_s=120)
    it.workspace.computes.delete("large")
    it.workspace.computes.wait_gone("large", timeout_s=60)


def engines(it: Installation) -> list[int]:
    return ray_cluster.engines(it.home / "run" / "ray.sock")
