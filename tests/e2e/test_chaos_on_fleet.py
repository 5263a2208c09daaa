"""The storm over a Ray of our own: its head is among the victims, its autoscaler brings machines for those that died.

A machine takes seconds to come, and so does a head to stand again: this one is shorter than the others, has fewer jobs
and longer pauses, or nothing would ever run that can be hit.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from .chaos.blows import Nodes, Server
from .chaos.campaign import LOW, MIXED, SETTINGS, SMALL
from .chaos.of_ray import Engine, Head, Hosts
from .chaos.storm import Held, Storm
from .chaos.trial import JOBS, LIMIT_S, SECONDS, SEED, Excuses, come_through, make_clusters
from .fleets import Fleet, fleet

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(LIMIT_S)]
NODES = {"c": 3, MIXED: 2, LOW: 1}
PAUSE_S = (0.3, 4.0)
SPARE = 2  #: hosts beyond that: one whose raylet was killed is a machine until its provider has seen that


@pytest.fixture
def its(cache: Path, tmp_path: Path) -> Iterator[Fleet]:
    count = sum(NODES.values()) + SPARE
    with fleet(cache, tmp_path, count=count, **SETTINGS, **SMALL) as made:
        for part in ("ray-head", "mlflow"):
            made.it.pid(part, within_s=300)
        make_clusters(made.it, NODES, provider="ray")
        yield made


def test_whatever_breaks_of_a_ray_of_our_own_every_job_ends_as_it_should(its: Fleet):
    it, chance, held = its.it, random.Random(f"{SEED}/storm on fleet"), Held()
    server, nodes, engine = Server(it, chance, held), Nodes(it, chance, held), Engine(it)
    hosts, head = Hosts(its.network.hosts, chance, held), Head(its, server, chance)
    on_machines = {blow: 2 * weight for each in (nodes, hosts) for blow, weight in each.blows().items()}
    blows = {**server.blows(), **engine.blows(), **head.blows(), **on_machines}
    storm = Storm(blows, chance, held=held, seconds=SECONDS * 0.4, pause_s=PAUSE_S)
    come_through(
        it, storm, lambda: Excuses(shot=nodes.shot, hurt=nodes.hurt | hosts.hurt), count=JOBS // 4, nodes=NODES
    )
