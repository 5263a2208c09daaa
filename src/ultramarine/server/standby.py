"""What a server does until it leads: it waits, says so, and ends what it once began."""

import asyncio
import contextlib
import json
import logging
from pathlib import Path

from ultramarine.domain.errors import StaleWrite, StandsBy, Unavailable
from ultramarine.drivers.protocol import Driver
from ultramarine.planning.routes import Trust, Upstreams, render
from ultramarine.private import write_private
from ultramarine.routing.publisher import RoutePublisher
from ultramarine.server.seat import Seat

log = logging.getLogger(__name__)
PASSING = (Unavailable, StaleWrite)  #: the database is away, or somebody else was faster
LOOK_S = 1.0
RENEW_S = 4.0
RELEASE_GRACE_S = 15.0


async def until_it_leads(seat: Seat, driver: Driver) -> None:
    """Returns when the seat is ours. Meanwhile nothing of ours may live: who leads takes it for lost."""
    told = ""
    while True:
        with contextlib.suppress(*PASSING):  # said below
            if await seat.take():
                return
        if str(seat.why) != told:
            told = str(seat.why)
            log.warning("%s", told)
        if isinstance(seat.why, StandsBy):
            await _end_all(driver)
        await asyncio.sleep(LOOK_S)


async def keep(seat: Seat) -> None:
    """Keep it. Raises `Lost` when another has taken it."""
    while True:
        try:
            await seat.take()
        except PASSING as away:
            log.warning("the lease of the server: %s", away)
            await asyncio.sleep(LOOK_S)
        else:
            await asyncio.sleep(RENEW_S)


async def _end_all(driver: Driver) -> None:
    """Nodes of when we led: they are not heard any more, and would only hold this machine until their leases end."""
    for key, news in (await driver.observe()).items():
        if news.state == "ended":
            await driver.forget(key)
        else:
            await driver.release(key, grace_s=RELEASE_GRACE_S)


async def open_the_door(home: Path, upstreams: Upstreams, known: dict[str, str]) -> None:
    """Let the gateway hand on to us what is asked, where no table and no address were ever written."""
    if not (home / "gateway" / "routes.json").exists():
        await RoutePublisher(home / "gateway").publish(render(upstreams, [], [], replicas=[], trust=Trust()))
    if not (home / "connection.json").exists():
        write_private(home / "connection.json", json.dumps(known))
