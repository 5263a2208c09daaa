"""Measures how late the event loop is: everything that answers waits for it."""

import asyncio
from collections.abc import Callable

EACH_S = 0.5


async def forever(lagged: Callable[[float], None]) -> None:
    """Sleep again and again, and tell by how many seconds each sleep was too long."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + EACH_S
        await asyncio.sleep(EACH_S)
        lagged(max(0.0, clock() - due))
