"""`python -m ultramarine.server --home HOME --socket HOME/run/control.sock`: serves until SIGTERM."""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import ASGIApp

from ultramarine.api.app import build
from ultramarine.domain.database import is_postgresql
from ultramarine.domain.errors import UltramarineError
from ultramarine.server import collector, failing
from ultramarine.server.door import Door
from ultramarine.server.parts import Parts, address_of, put_together, upstreams_of, what_is_here
from ultramarine.server.seat import Lost, Seat
from ultramarine.server.standby import keep, open_the_door, until_it_leads
from ultramarine.settings import Settings
from ultramarine.store.database import url_of
from ultramarine.supervision.home import owner

log = logging.getLogger(__name__)
STREAMS_END_S = 2  #: open streams are cut off after so long when the server stops; clients go on where they were


def main() -> int:
    arguments = argparse.ArgumentParser(prog="ultramarine.server", description=__doc__)
    arguments.add_argument("--home", type=Path, required=True)
    arguments.add_argument("--socket", type=Path, required=True)
    given = arguments.parse_args()
    settings = Settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("alembic", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    socket = given.socket.absolute()
    socket.unlink(missing_ok=True)  # what a server that was killed has left
    serve = _serve_in_turn if is_postgresql(settings.database_url) else _serve
    try:
        uvloop.run(serve(settings, home=given.home.absolute(), socket=socket))
    except Lost:
        log.warning("Another server has led meanwhile: this one begins anew, and stands by.")
        return 3
    except UltramarineError as error:
        return failing.say(error)
    return 0


async def _serve(settings: Settings, *, home: Path, socket: Path) -> None:
    """The one server of a store in a file."""
    parts = await put_together(settings, home=home, socket=socket)
    server = _server(build(parts.ctx), socket)
    collector.settle()
    loops = parts.begin()
    try:
        await server.serve()
    finally:
        await _end(parts, loops)


async def _serve_in_turn(settings: Settings, *, home: Path, socket: Path) -> None:
    """One of the servers of a PostgreSQL: it answers at once, if only that it stands by."""
    seat = Seat(url_of(settings.database_url, home), owner=owner(home))
    door = Door(seat)
    server = _server(door, socket)
    ports = {"url": settings.port, "second_url": settings.second_port, "instances_url": settings.instances_port}
    known = {name: address_of(port) for name, port in ports.items()}
    await open_the_door(home, upstreams_of(home, socket), known)
    leading = asyncio.create_task(_lead(settings, door, seat, home=home, socket=socket))
    serving = asyncio.create_task(server.serve())
    try:
        await asyncio.wait({leading, serving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        leading.cancel()
        ended, _ = await asyncio.gather(leading, serving, return_exceptions=True)
        await seat.close()
    if isinstance(ended, Exception):
        raise ended


async def _lead(settings: Settings, door: Door, seat: Seat, *, home: Path, socket: Path) -> None:
    """Wait for the seat, and lead until it is lost."""
    await until_it_leads(seat, what_is_here(home))
    parts = await put_together(settings, home=home, socket=socket)
    door.app = build(parts.ctx)
    collector.settle()
    loops = parts.begin()
    try:
        await keep(seat)
    finally:
        await _end(parts, loops)


def _server(app: ASGIApp, socket: Path) -> uvicorn.Server:
    os.umask(0o077)
    config = uvicorn.Config(
        app,
        uds=str(socket),
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=STREAMS_END_S,
    )
    return uvicorn.Server(config)


async def _end(parts: Parts, loops: list[asyncio.Task[None]]) -> None:
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    await parts.close()


if __name__ == "__main__":
    sys.exit(main())
