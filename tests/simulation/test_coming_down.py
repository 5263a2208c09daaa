"""An inferencing cluster whose maximum is lowered, through the real loops of two servers: its replicas move."""

from pathlib import Path

import sqlalchemy as sa
from tests.factories import make_token
from tests.simulation.replicas import unsettled
from tests.simulation.runner import Nature
from tests.simulation.serving import MODEL
from tests.simulation.world import World

from ultramarine.services import computes, deployments, endpoints
from ultramarine.store import tables as t

STEPS_MAX = 300
CLUSTER = {"type": "inferencecluster", "size": "cpu-2", "idle_time_before_scale_down": 0}
BODY = {"model": MODEL, "environment": "minimal", "compute": "inf", "instance_count": 2}


def nodes(world: World) -> list[str]:
    with world.db.engine.connect() as connection:
        there = sa.select(t.allocations.c.key).where(t.allocations.c.status.in_(["Up", "Draining"]))
        return list(connection.execute(there).scalars())


def places(world: World) -> set[str]:
    """The nodes that replicas are on."""
    with world.db.engine.connect() as connection:
        there = sa.select(t.runs.c.nodes).where(t.runs.c.is_open)
        return {node for row in connection.execute(there).scalars() for node in row}


def answering(world: World) -> int:
    """Of each gateway's replicas how many answer; of the gateway with the fewest."""
    tables = [server.gateway.routes() for server in world.servers]
    return min(sum(world.answers(key, address) for key, address in table.items()) for table in tables)


def until_settled(world: World, count: int, *, least: int = 0) -> None:
    """Until all is as it is wanted, on so many nodes. At no moment do fewer than `least` replicas answer."""
    for _ in range(STEPS_MAX):
        world.calm_step()
        assert answering(world) >= least
        if len(nodes(world)) == count and not unsettled(world):
            return
    raise AssertionError(f"{nodes(world)} are there: {unsettled(world)}")


async def test_replicas_move_to_the_nodes_that_stay_and_as_many_answer_all_the_while(tmp_path: Path) -> None:
    world = World.begin_with(1, tmp_path)
    world.calm_down()
    world.natures["e/blue"] = Nature(work_s=0, failing=0, lines=2)
    ctx = world.servers[0].ctx
    world.run(computes.put(ctx, "w", "inf", {**CLUSTER, "min_instances": 2, "max_instances": 2}, token=make_token()))
    for _ in range(30):  # both nodes are up before there is a replica, so that each gets one
        world.calm_step()
    world.run(endpoints.put(ctx, "w", "e", {}))
    world.run(deployments.put(ctx, "w", "e", "blue", body=BODY))
    until_settled(world, 2)
    assert len(places(world)) == 2
    world.run(computes.put(ctx, "w", "inf", {**CLUSTER, "max_instances": 1}, token=make_token()))
    until_settled(world, 1, least=2)
    assert len(places(world)) == 1
