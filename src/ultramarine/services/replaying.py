"""The scheduler's last turns, and what they would decide now. Both take a while, and so a thread."""

import asyncio
from collections.abc import Sequence

from ultramarine.planning.trace import TRACE, Replayed, Turned, replay
from ultramarine.services.context import Context


async def dumped(ctx: Context) -> bytes:
    """As JSON."""
    return await asyncio.to_thread(lambda: TRACE.dump_json(ctx.recorder.trace()))


async def again(trace: Sequence[Turned]) -> Sequence[Replayed]:
    return await asyncio.to_thread(lambda: list(replay(trace)))
