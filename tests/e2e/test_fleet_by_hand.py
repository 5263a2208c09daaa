"""A Ray of our own without a provider: its machines are those that somebody has join by hand."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import hosts
from tests.contracts import ray_cluster
from tests.hosts import Host

from .fleets import Fleet
from .installation import carriers, installed, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def its(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with hosts.network(1) as network:
        settings = {"ULTRAMARINE_RAY_HEAD": f"{network.address}:6379", "ULTRAMARINE_LISTEN": network.address}
        with installed(cache, **settings) as it:
            it.up()
            it.pid("ray-head", within_s=300)
            yield Fleet(it=it, network=network, folder=tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def machine(its: Fleet, cache: Path) -> Iterator[Host]:
    """The host of the network, which joins as the how-to says."""
    token = (its.it.home / "ray" / "secret" / "token").read_text()
    address = its.it.settings["ULTRAMARINE_RAY_HEAD"]
    with ray_cluster.joined(cache / "ray", its.network, address=address, token=token, cache=cache):
        yield its.network.hosts[0]


def test_a_job_says_that_there_is_no_machine(its: Fleet):
    its.cluster("fleet", nodes=1)
    its.it.submit("one", "echo here", compute="fleet")
    until(lambda: "Ray has no node with 1 CPU" in its.it.job("one")["reason"], "it says what is missing", seconds=60)
    assert not its.processes("ray.autoscaler.v2.monitor", str(its.it.home)), "there is nothing to scale"


def test_it_runs_on_the_machine_that_joins(its: Fleet, machine: Host):
    its.it.comes_to("one", "Completed", within_s=120)
    its.it.submit("two", "sleep 1000", compute="fleet")
    two = its.it.comes_to("two", "Running", within_s=60)
    assert set(carriers(f"ULTRAMARINE_RUN_KEY={its.it.run_key(two)}")) <= set(machine.pids())
    its.it.workspace.jobs.cancel("two")
    its.it.comes_to("two", "Canceled", within_s=60)


def test_a_job_goes_on_when_the_head_is_killed_and_the_next_one_runs(its: Fleet, machine: Host):
    its.it.submit("long", "sleep 10; echo done", compute="fleet")
    its.it.comes_to("long", "Running", within_s=60)
    program = its.it.pid("ray-head")
    os.kill(program, signal.SIGKILL)
    its.it.pid("ray-head", but=program, within_s=60)
    its.it.comes_to("long", "Completed", within_s=60)
    assert its.it.job("long")["attempt"] == 1
    its.it.submit("after", "echo here", compute="fleet")
    its.it.comes_to("after", "Completed", within_s=120)
