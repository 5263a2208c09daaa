"""`python -m ultramarine.server --home HOME --socket HOME/run/control.sock`: serves until SIGTERM."""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

import uvicorn
import uvloop

from ultramarine.api.app import build
from ultramarine.domain.errors import UltramarineError
from ultramarine.server import collector
from ultramarine.server.parts import Parts, put_together
from ultramarine.settings import Settings

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
    try:
        uvloop.run(_serve(settings, home=given.home.absolute(), socket=socket))
    except UltramarineError as error:
        sys.stderr.write(f"{error}\n{error.hint}\n")
        return 2
    return 0


async def _serve(settings: Settings, *, home: Path, socket: Path) -> None:
    parts = await put_together(settings, home=home, socket=socket)
    server = uvicorn.Server(
        uvicorn.Config(
            build(parts.ctx),
            uds=str(socket),
            http="httptools",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=STREAMS_END_S,
        )
    )
    collector.settle()
    os.umask(0o077)
    loops = parts.begin()
    try:
        await server.serve()
    finally:
        await _end(parts, loops)


async def _end(parts: Parts, loops: list[asyncio.Task[None]]) -> None:
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    await parts.close()


if __name__ == "__main__":
    sys.exit(main())
