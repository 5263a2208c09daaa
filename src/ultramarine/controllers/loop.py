"""What all loops have in common: when they turn, and what happens when a turn fails."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from ultramarine.domain.errors import StaleWrite, Unavailable
from ultramarine.services.bell import Bell

log = logging.getLogger(__name__)
SLOW_S = 1.0  #: the safety net, and what time alone brings about (leases, idle times)
RETRY_S_MAX = 5.0
REST_S_MAX = 0.2
RACES_MAX = 5  #: lost one after the other; more than that is no race any more


async def forever(
    name: str,
    tick: Callable[[], Awaitable[None]],
    bell: Bell,
    *,
    turned: Callable[[str, float], None],
    slow_s: float = SLOW_S,
) -> None:
    """Turn at each ring and each `slow_s`. `turned` is told the loop's name and how many seconds a turn took.

    A turn that fails is tried again with back-off; one that lost a race at once.
    """
    retry_s, lost = 0.05, 0
    while True:
        count, begin = bell.count, time.monotonic()
        try:
            await tick()
            turned(name, time.monotonic() - begin)
            retry_s, lost = 0.05, 0
        except StaleWrite as race:
            lost += 1
            log.log(logging.WARNING if lost > RACES_MAX else logging.DEBUG, "loop %s: %s", name, race)
            await asyncio.sleep(0 if lost <= RACES_MAX else retry_s)  # somebody was faster: look again
            continue
        except Exception as failure:
            # A part that does not answer needs no trace: what is wrong is not here.
            trace = None if isinstance(failure, Unavailable) else failure
            log.error("loop %s: a turn failed; the next is in %.2g s. %s", name, retry_s, failure, exc_info=trace)
            await asyncio.sleep(retry_s)
            retry_s = min(RETRY_S_MAX, retry_s * 2)
            continue
        # As long as it took: what is rung meanwhile is one turn, so a flood of news is taken in ever larger pieces.
        await asyncio.sleep(min(REST_S_MAX, time.monotonic() - begin))
        await bell.after(count, timeout_s=slow_s)
