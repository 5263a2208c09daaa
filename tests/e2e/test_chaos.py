"""A storm over a whole installation: whatever is killed, stopped or filled up, every job ends as it should.

`make kill`: 300 jobs in 15 minutes; by itself 40 in 100 seconds. ULTRAMARINE_CHAOS_SEED repeats the dice of a run.
"""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .chaos.blows import Disk, Nodes, Server
from .chaos.campaign import SCRATCH_MIB, SETTINGS
from .chaos.storm import Held, Storm
from .chaos.trial import LIMIT_S, SECONDS, SEED, Excuses, come_through, make_clusters
from .installation import Installation, installed, nothing_left

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(LIMIT_S)]


@pytest.fixture
def it(cache: Path) -> Iterator[Installation]:
    """With clusters whose nodes share one small disk."""
    with installed(cache, **SETTINGS) as made:
        nodes = made.home / "nodes"
        nodes.mkdir(parents=True, mode=0o700)
        made.home.chmod(0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SCRATCH_MIB}m,mode=700", "scratch", nodes], check=True)
        try:
            made.up()
            made.pid("mlflow", within_s=300)
            make_clusters(made)
            yield made
            made.down()
            nothing_left(made.home, made.epoch)
        finally:
            made.um("down")
            subprocess.run(["umount", "--lazy", nodes], check=True)


def test_whatever_breaks_every_job_ends_as_it_should(it: Installation):
    chance, held = random.Random(f"{SEED}/storm"), Held()
    server, nodes, disk = Server(it, chance, held), Nodes(it, chance, held), Disk(it, chance)
    storm = Storm({**server.blows(), **nodes.blows(), **disk.blows()}, chance, held=held, seconds=SECONDS)
    come_through(it, storm, lambda: Excuses(shot=nodes.shot, hurt=nodes.hurt, full=disk.full))
