"""Replicas follow requests through the real loops of two servers: from none to one, to four and to none again."""

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from tests.simulation.replicas import unsettled
from tests.simulation.runner import Nature
from tests.simulation.serving import MODEL
from tests.simulation.world import World

from ultramarine.services import deployments, endpoints
from ultramarine.store import tables as t

STEPS_MAX = 300
SCALE = {
    "type": "target_utilization",
    "min_instances": 0,
    "max_instances": 4,
    "target_utilization_percentage": 50,
    "cooldown": 30,
    "idle_time_before_scale_down": 60,
}
BODY = {
    "model": MODEL,
    "environment": "minimal",
    "scale_settings": SCALE,
    "request_settings": {"max_concurrent_requests_per_instance": 10},
}


def scaled(world: World) -> list[str]:
    """Why there were more or fewer, each time."""
    with world.db.engine.connect() as connection:
        rows = sa.select(t.events.c.reason).where(t.events.c.event == "scaled").order_by(t.events.c.seq)
        return list(connection.execute(rows).scalars())


def wanted(world: World) -> int:
    with world.db.engine.connect() as connection:
        return connection.execute(sa.select(t.deployments.c.replicas_wanted)).scalar_one()


def until(world: World, count: int, *, each: Callable[[], None] = lambda: None) -> None:
    """Until so many replicas are wanted, run and are in the gateway's table, and no other."""
    for _ in range(STEPS_MAX):
        each()
        world.calm_step()
        if wanted(world) == count and not unsettled(world):
            return
    raise AssertionError(f"{count} are not there: {wanted(world)} wanted; {unsettled(world)}; {scaled(world)[-9:]}")


async def test_from_none_to_one_to_four_and_to_none_again(tmp_path: Path) -> None:
    world = World.begin_with(1, tmp_path)
    world.calm_down()
    world.natures["e/blue"] = Nature(work_s=0, failing=0, lines=2)
    ctx = world.servers[0].ctx
    world.run(endpoints.put(ctx, "w", "e", {}))
    world.run(deployments.put(ctx, "w", "e", "blue", body=BODY))

    def hold() -> None:
        """A gateway says it to the server that it knows."""
        if wanted(world) == 0:
            endpoints.is_held(world.servers[0].ctx, "w/e", "blue")

    until(world, 0)
    assert len(scaled(world)) == 1, "it came up, and went when nobody asked"
    until(world, 1, each=hold)
    assert scaled(world)[1:] == ["A request waits for the first replica."]
    world.calm_load = 20
    until(world, 4)
    before = scaled(world)
    for _ in range(100):
        world.calm_step()
    assert scaled(world) == before, "a steady load changes nothing"
    assert not unsettled(world)
    world.calm_load = 0
    until(world, 0)
    assert scaled(world)[-1] == "No request for 60 s: none is kept."
