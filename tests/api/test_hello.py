"""A runner's first word to a server that has run for long."""

from datetime import timedelta
from pathlib import Path

from tests.factories import NOON, make_allocation, make_context

from ultramarine.planning.seen import Silence
from ultramarine.services import nodes
from ultramarine.services.nodes import JOIN, PROTOCOL, Hello
from ultramarine.store import allocations, hosts
from ultramarine.store import tables as t
from ultramarine.store.database import InlineDatabase


async def test_between_hello_and_the_first_report_a_node_is_not_taken_for_lost(tmp_path: Path) -> None:
    db = InlineDatabase()
    t.metadata.create_all(db.engine)
    late = NOON + timedelta(days=1)
    ctx = make_context(db, tmp_path, clock=lambda: late)
    allocation = make_allocation()
    async with ctx.begin() as tx:
        await hosts.put(tx, ctx.site.machine)
        await allocations.add(tx, allocation)
    said = Hello(
        protocol=PROTOCOL,
        allocation=allocation.key,
        rank=0,
        epoch=ctx.site.epoch,
        nonce="0" * 32,
        join_secret=ctx.secrets.of(JOIN, allocation.key),
        machine={},
    )
    assert ctx.hub.seen("local").silence(allocation.node, late) is Silence.FINAL
    await nodes.hello(ctx, said)
    assert ctx.hub.seen("local").silence(allocation.node, late) is Silence.NONE
