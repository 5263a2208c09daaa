"""How applications of compute instances are used, over all workers of the gateway."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ultramarine.routing.publisher import RoutePublisher
from ultramarine.routing.uses import Use, merged, read
from ultramarine_serving.http.server import Address, Response, Server, serve


def told(**applications: tuple[int, float | None]) -> dict[str, Any]:
    said = {name: {"in_flight": count, "quiet_s": quiet} for name, (count, quiet) in applications.items()}
    return {"instances": {"c1": said, "c2": {}}}


def test_connections_of_all_workers_count_and_the_last_request_of_any() -> None:
    one, other = read(told(board=(1, 0.0), demo=(0, 50.0), mute=(0, None))), read(told(board=(2, 0.0), demo=(0, 9.0)))
    assert merged([one, other]) == {
        "c1": {
            "board": Use(in_flight=3, quiet_s=0.0),
            "demo": Use(in_flight=0, quiet_s=9.0),
            "mute": Use(in_flight=0, quiet_s=None),
        },
        "c2": {},
    }
    assert merged([]) == {}


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    with TemporaryDirectory(prefix="gw") as made:
        yield Path(made)


async def worker(folder: Path, number: int, status: bytes) -> Server:
    """One that answers this."""
    socket = Address(path=str(folder / f"admin-{number}.sock"))
    return await serve(lambda request: Response(body=status), listeners=[socket])


async def test_a_worker_that_is_gone_has_no_connections_any_more(folder: Path) -> None:
    publisher = RoutePublisher(folder)
    assert await publisher.uses() == {}
    servers = [await worker(folder, number, json.dumps(told(board=(1, 0.0))).encode()) for number in (0, 1)]
    assert await publisher.uses() == {"c1": {"board": Use(in_flight=2, quiet_s=0.0)}, "c2": {}}
    (folder / "admin-1.sock").rename(folder / "held")
    await servers[1].drain(0)
    (folder / "held").rename(folder / "admin-1.sock")  # as one that was killed leaves it
    assert await publisher.uses() == {"c1": {"board": Use(in_flight=1, quiet_s=0.0)}, "c2": {}}
    await servers[0].drain(0)


@pytest.mark.parametrize("status", [b"no JSON", b"{}", b'{"instances": {"c1": {"board": {}}}}', b"[]"])
async def test_one_that_says_something_else_is_not_known(folder: Path, status: bytes) -> None:
    server = await worker(folder, 0, status)
    assert await RoutePublisher(folder).uses() is None
    await server.drain(0)
