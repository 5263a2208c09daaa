"""What dies on a Ray of three hosts, or is cut off: the job is tried again, two attempts never live at once."""

import contextlib
import os
import signal
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from tests.contracts.ray_cluster import RayHosts
from tests.e2e.installation import Installation, carriers, parent, until
from tests.hosts import Host

from .conftest import Install

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LEASE_S = 6
LINES, PAUSE_S = 200, 0.05  #: ten seconds, more than the lease


@pytest.fixture(scope="module")
def it(on_ray: Install) -> Iterator[Installation]:
    settings = {"LEASE_S": str(LEASE_S), "LEASE_MARGIN_S": "2", "SILENT_AFTER_S": "3"}
    with on_ray(**{f"ULTRAMARINE_{name}": value for name, value in settings.items()}) as made:
        made.up()
        made.cluster(nodes=3)
        yield made


def begun(it: Installation, ray: RayHosts, name: str) -> tuple[str, str, Host]:
    """A job that counts: its run's key, its allocation's, and the host that it is on."""
    it.count(name, LINES, pause_s=PAUSE_S)
    job = it.comes_to(name, "Running", within_s=120)
    until(lambda: "line 5" in it.log(name, 1), "it counts")
    key = it.run_key(job)
    (host,) = [host for host in ray.network.hosts if set(carriers(f"ULTRAMARINE_RUN_KEY={key}")) & set(host.pids())]
    return key, job["nodes"][0].rpartition(".")[0], host


def ends_well(it: Installation, name: str, first: str, *, within_s: float = 120) -> None:
    """The second attempt completes. While anything of it lives nothing of the first does."""

    def second() -> bool:
        job = it.job(name)
        assert job["attempt"] <= 2, job
        if job["attempt"] == 2:
            lives = carriers(f"ULTRAMARINE_RUN_KEY={it.run_key(job)}")
            assert not lives or not carriers(f"ULTRAMARINE_RUN_KEY={first}"), "two attempts live at once"
        return job["attempt"] == 2 and job["status"] not in ("Queued", "Preparing")

    until(second, f"{name} is tried again", seconds=within_s)
    assert it.comes_to(name, "Completed", within_s=within_s)["attempt"] == 2
    assert it.endings(name) == ["Failed", "Completed"]
    assert it.numbers(name) == list(range(LINES))
    assert set(it.starts().values()) == {1}, "no attempt was started twice"


def nothing_of(allocation: str, folder: Path) -> bool:
    return not carriers(f"ULTRAMARINE_ALLOCATION={allocation}") and not list(
        folder.glob(f"tmp/ultramarine-{allocation}-*")
    )


@contextlib.contextmanager
def back_afterwards(ray: RayHosts, host: Host) -> Generator[None]:
    """The host is a node again, as a new one that its owner starts; Ray counts three of them."""
    try:
        yield
    finally:
        host.mend()
        ray.leave(host)
        ray.join(host)


def test_an_actor_that_is_killed_takes_its_runner_along_and_nothing_of_it_is_left(
    it: Installation, ray_hosts: RayHosts
):
    first, allocation, host = begun(it, ray_hosts, "actor")
    link, _ = it.runner(it.job("actor")["nodes"][0])
    os.kill(parent(link), signal.SIGKILL)
    ends_well(it, "actor", first)
    until(lambda: nothing_of(allocation, ray_hosts.folder(host)), "nothing of the first is left")


def test_a_runner_that_is_stopped_past_its_lease_is_ended_with_its_ranks_before_the_next_attempt(
    it: Installation, ray_hosts: RayHosts
):
    first, allocation, host = begun(it, ray_hosts, "stopped")
    link, _ = it.runner(it.job("stopped")["nodes"][0])
    os.kill(link, signal.SIGSTOP)
    ends_well(it, "stopped", first)
    until(lambda: nothing_of(allocation, ray_hosts.folder(host)), "nothing of the first is left")


def test_a_raylet_that_is_killed_takes_its_runner_along(it: Installation, ray_hosts: RayHosts):
    first, allocation, host = begun(it, ray_hosts, "raylet")
    with back_afterwards(ray_hosts, host):
        os.kill(ray_hosts.raylet(host), signal.SIGKILL)
        until(lambda: not carriers(f"ULTRAMARINE_ALLOCATION={allocation}"), "its runner goes with it", seconds=20)
        ends_well(it, "raylet", first)


def test_a_cable_that_is_out_for_less_than_the_lease_costs_nothing(it: Installation, ray_hosts: RayHosts):
    _, _, host = begun(it, ray_hosts, "short")
    host.cut()
    cut_at = time.monotonic()
    until(lambda: it.job("short")["status"] == "NotResponding", "its silence is noticed")
    assert time.monotonic() - cut_at < LEASE_S
    host.mend()
    assert it.comes_to("short", "Completed", within_s=60)["attempt"] == 1
    assert it.log("short", 1) == "".join(f"line {number}\n" for number in range(LINES))
    assert it.numbers("short") == list(range(LINES))


def test_a_host_that_is_cut_off_for_longer_than_the_lease_ends_its_job_before_another_begins(
    it: Installation, ray_hosts: RayHosts
):
    first, allocation, host = begun(it, ray_hosts, "long")
    with back_afterwards(ray_hosts, host):
        host.cut()
        ends_well(it, "long", first)
        host.mend()
        until(lambda: nothing_of(allocation, Path("/nowhere")), "of what was cut off nothing lives", seconds=60)


def test_a_host_that_dies_is_replaced_by_another(it: Installation, ray_hosts: RayHosts):
    first, _, host = begun(it, ray_hosts, "host")
    with back_afterwards(ray_hosts, host):
        host.kill()
        ends_well(it, "host", first)


def test_what_the_dead_have_left_on_a_node_is_removed_by_who_comes_next(it: Installation, ray_hosts: RayHosts):
    it.workspace.computes.delete("c")
    it.workspace.computes.wait_gone("c", timeout_s=120)
    it.cluster("d", nodes=3)
    body = {"resources": {"instance_count": 3}, "compute": "d"}
    it.submit("everywhere", "true", **body)
    it.comes_to("everywhere", "Completed", within_s=120)
    live = {node.rpartition(".")[0] for node in it.job("everywhere")["nodes"]}
    for host in ray_hosts.network.hosts:
        folders = list(ray_hosts.folder(host).glob("tmp/ultramarine-*"))
        assert all(any(key in folder.name for key in live) for folder in folders), folders
    until(lambda: [*it.workspace.installation.leftovers()] == [], "nothing of ours is left on Ray", seconds=60)
