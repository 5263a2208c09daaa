"""Gangs on a target that gives its machines one by one, in any order, and has fewer than all of them ask for."""

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.simulation.invariants import Invariants
from tests.simulation.storm import NO_STORM
from tests.simulation.users import Users
from tests.simulation.world import HOST, World

from ultramarine.domain.host import ENDLESS
from ultramarine.drivers.simulated import CALM
from ultramarine.store import tables as t

UNBOUNDED = replace(HOST, is_bounded=False, total=ENDLESS)
ROOM = 3  #: machines: as many as the largest gang has
STEPS_MAX = 600
GANGS = (("small", 3), ("cheap", 2), ("large", 2), ("small", 2), ("large", 2), ("cheap", 2))


@pytest.mark.parametrize("seed", range(8))
async def test_all_of_them_come_to_run_though_the_target_has_room_for_one_at_a_time(seed: int, tmp_path: Path) -> None:
    world = World.begin_with(seed, tmp_path, host=UNBOUNDED)
    world.storm, world.target.faults, world.target.room = NO_STORM, CALM, ROOM
    invariants, users = Invariants(world), Users(world)
    for number, (compute, count) in enumerate(GANGS):
        users.create_gang(number, compute, count)
    for _ in range(STEPS_MAX):
        world.calm_step()
        invariants.check()
        if world.is_empty():
            break
        world.drain_once_all_have_ended()
    invariants.check_at_the_end()
    with world.db.engine.connect() as connection:
        assert set(connection.execute(sa.select(t.runs.c.status)).scalars()) == {"Completed"}
