"""Machines that come for jobs and go after them: a Ray of our own, its autoscaler, real raylets on other hosts."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contracts import ray_cluster

from .fleets import Fleet, fleet
from .installation import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def its(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(cache, tmp_path_factory.mktemp("fleet")) as made:
        yield made


def test_a_job_brings_a_machine_and_it_goes_when_it_is_idle(its: Fleet):
    its.cluster("fleet", idle_s=2)
    assert not its.machines()
    its.it.submit("one", "hostname -I; ip -br address 2>/dev/null; env", compute="fleet")
    its.it.comes_to("one", "Completed", within_s=120)
    assert "RAY_" not in its.it.log("one", 1), "the token of the cluster is no job's business"
    until(lambda: not its.machines(), "the idle machine is taken away", seconds=60)


def test_no_other_user_reaches_the_sockets_of_the_head(its: Fleet):
    assert Path(its.head_folder).stat().st_mode & 0o077 == 0
    assert list(Path(its.head_folder).glob("ray/session_*/sockets/raylet"))


def test_a_gang_brings_its_machines(its: Fleet):
    fields = {"resources": {"instance_count": 2}, "distribution": {"type": "pytorch"}}
    its.it.submit("two", 'echo "$RANK of $WORLD_SIZE on $MASTER_ADDR"; sleep 1', compute="fleet", **fields)
    its.it.comes_to("two", "Completed", within_s=120)
    assert its.it.log("two", 1).startswith(f"0 of 2 on {its.network.hosts[0].address[:-1]}")


def test_an_instance_brings_its_machine_gets_another_when_it_is_resized_and_gives_it_back_when_it_stops(its: Fleet):
    computes = its.it.workspace.computes
    computes.create_or_update({"name": "mine", "type": "computeinstance", "size": "cpu-1", "provider": "ray"})
    assert computes.wait_up("mine", timeout_s=300)["state"] == "Running", its.it.told()
    assert len(its.machines()) == 1
    before = its.calls()
    computes.resize("mine", "cpu-2")
    until(lambda: computes.get("mine")["state"] != "Running", "it leaves its machine", seconds=60)
    assert computes.wait_up("mine", timeout_s=300)["state"] == "Running", its.it.told()
    assert its.calls() == before + 1, "it is on a machine of the new size"
    computes.stop("mine")
    computes.wait_stopped("mine")
    until(lambda: not its.machines(), "its machine is given back", seconds=120)
    its.delete("mine")


def test_what_a_provider_says_when_it_fails_is_the_reason_of_the_job_that_waits(its: Fleet):
    its.cluster("other", nodes=1, idle_s=2)
    before = its.calls()
    (its.folder / "fail").write_text("InsufficientInstanceCapacity: no such machine in zone b")
    its.it.submit("wait", "echo at last", compute="other")
    words = "InsufficientInstanceCapacity: no such machine in zone b"
    until(lambda: words in its.it.job("wait")["reason"], "the provider's words", seconds=60)
    until(lambda: "tried 2 times" in its.it.job("wait")["reason"], "it is tried again", seconds=60)
    assert its.calls() - before == 2, "it is not asked again and again meanwhile"
    (its.folder / "fail").unlink()
    its.it.comes_to("wait", "Completed", within_s=120)
    assert its.it.job("wait")["attempt"] == 1


def test_a_job_goes_on_when_the_head_is_killed_and_the_next_one_runs(its: Fleet):
    its.it.submit("long", "sleep 25; echo done", compute="other")
    its.it.comes_to("long", "Running", within_s=120)
    [gcs] = its.processes("gcs_server", its.head_folder)
    program = its.it.pid("ray-head")
    os.kill(gcs, signal.SIGKILL)
    program = its.it.pid("ray-head", but=program, within_s=60)
    os.kill(program, signal.SIGKILL)  # what keeps the head, this time
    its.it.pid("ray-head", but=program, within_s=60)
    its.it.comes_to("long", "Completed", within_s=120)
    assert its.it.job("long")["attempt"] == 1
    its.it.submit("after", "echo here", compute="other")
    its.it.comes_to("after", "Completed", within_s=180)
    assert its.it.job("after")["attempt"] == 1


def test_an_engine_whose_ray_does_not_answer_is_replaced_and_the_next_job_runs(its: Fleet):
    socket = its.it.home / "run" / "ray.sock"
    [before] = until(lambda: ray_cluster.engines(socket), "the engine is there", seconds=60)
    [gcs] = its.processes("gcs_server", its.head_folder)
    os.kill(gcs, signal.SIGSTOP)
    until(lambda: before not in ray_cluster.engines(socket), "the engine that waits for ever has ended", seconds=60)
    os.kill(gcs, signal.SIGCONT)
    its.it.submit("asked-anew", "echo here", compute="other")
    its.it.comes_to("asked-anew", "Completed", within_s=120)


def test_machines_come_and_go_when_the_autoscaler_was_killed(its: Fleet):
    until(lambda: not its.machines(), "the idle machine is taken away", seconds=90)
    [autoscaler] = its.processes("ray.autoscaler.v2.monitor", str(its.it.home))
    os.kill(autoscaler, signal.SIGKILL)
    its.it.submit("anew", "echo here", compute="fleet")
    its.it.comes_to("anew", "Completed", within_s=120)
    until(lambda: not its.machines(), "the idle machine is taken away", seconds=60)


def test_a_cluster_that_is_deleted_is_no_node_type_any_more(its: Fleet):
    its.cluster("brief")
    types = its.it.home / "ray" / "autoscaler.json"
    compute = its.compute_id("brief")
    until(lambda: compute in types.read_text(), "the cluster is told to Ray")
    its.delete("brief")
    until(lambda: compute not in types.read_text(), "and is not told any more")


def test_um_down_ends_the_machines_and_the_head(its: Fleet):
    its.it.submit("last", "echo here", compute="fleet")
    its.it.comes_to("last", "Running", "Completed", within_s=120)
    assert its.machines()
    its.it.down()
    assert not its.machines()
    assert not its.processes(its.head_folder)
    assert not Path(its.head_folder).exists()
