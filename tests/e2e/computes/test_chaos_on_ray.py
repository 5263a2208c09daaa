"""The storm over an installation whose nodes are a Ray's on three hosts: cables are cut, raylets and engines killed."""

import random
from collections.abc import Iterator

import pytest
from tests.contracts.ray_cluster import RayHosts
from tests.e2e.chaos.blows import Nodes, Server
from tests.e2e.chaos.campaign import SETTINGS, SMALL
from tests.e2e.chaos.of_ray import Engine, Hosts
from tests.e2e.chaos.storm import Held, Storm
from tests.e2e.chaos.trial import LIMIT_S, SECONDS, SEED, Excuses, come_through, make_clusters
from tests.e2e.installation import Installation
from tests.hosts import Host

from .conftest import Install

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(LIMIT_S)]


@pytest.fixture
def it(on_ray: Install) -> Iterator[Installation]:
    with on_ray(**SETTINGS, **SMALL) as made:
        made.up()
        made.pid("mlflow", within_s=300)
        make_clusters(made, provider="ray")
        yield made


def test_whatever_breaks_of_a_ray_every_job_ends_as_it_should(it: Installation, ray_hosts: RayHosts):
    chance, held = random.Random(f"{SEED}/storm on ray"), Held()

    def join(host: Host) -> None:
        ray_hosts.leave(host)
        ray_hosts.join(host)

    server, nodes, engine = Server(it, chance, held), Nodes(it, chance, held), Engine(it)
    hosts = Hosts(ray_hosts.network.hosts, chance, held, join=join)
    blows = {**server.blows(), **nodes.blows(), **hosts.blows(), **engine.blows()}
    storm = Storm(blows, chance, held=held, seconds=SECONDS)
    come_through(it, storm, lambda: Excuses(shot=nodes.shot, hurt=nodes.hurt | hosts.hurt))
