"""A change of an endpoint is answered when the gateway goes by it."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.conftest import Api
from tests.unit.test_deployments import make_deployment

from ultramarine.controllers.loop import forever
from ultramarine.controllers.routes import RouteLoop
from ultramarine.planning.routes import Upstreams
from ultramarine.routing.publisher import RoutePublisher
from ultramarine.services import endpoints as service
from ultramarine.store import endpoints

E = "/api/v1/workspaces/w/online-endpoints/cancer"
UPSTREAMS = Upstreams(control="unix:/c.sock", mlflow="unix:/m.sock")


class Gateway:
    """A worker's admin socket that takes each table, once it may."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "routes.json"
        self.taken: list[dict[str, Any]] = []
        self.asked = asyncio.Event()
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked.set()
        await self.may.wait()
        self.taken.append(json.loads(self._file.read_text())["endpoints"])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    def hold(self) -> None:
        self.may.clear()
        self.asked.clear()


@pytest.fixture
async def gateway(api: Api) -> AsyncIterator[Gateway]:
    await service.put(api.ctx, "w", "cancer", {})
    async with api.ctx.begin() as tx:
        await endpoints.add_deployment(tx, make_deployment())
    with tempfile.TemporaryDirectory(prefix="gw") as path:
        made = Gateway(Path(path))
        server = await asyncio.start_unix_server(made, Path(path) / "admin-0.sock")
        loop = RouteLoop(api.ctx, RoutePublisher(Path(path)), UPSTREAMS)
        await loop.tick()
        turning = asyncio.create_task(
            forever("routes", loop.tick, api.ctx.serving, turned=lambda name, seconds: None, slow_s=60)
        )
        yield made
        turning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await turning
        made.may.set()
        server.close()


async def test_traffic_and_keys_are_answered_when_the_gateway_has_them(api: Api, gateway: Gateway):
    for share in (100, 0):
        answer = await api.ask("PATCH", E, json={"traffic": {"blue": share}})
        assert answer.status_code == 200
        assert gateway.taken[-1]["w/cancer"]["traffic"] == {"blue": share}
    assert (await api.ask("POST", f"{E}/rollback")).json()["traffic"] == {"blue": 100}
    assert gateway.taken[-1]["w/cancer"]["traffic"] == {"blue": 100}
    before = gateway.taken[-1]["w/cancer"]["keys_sha256"]
    await api.ask("POST", f"{E}/regenerate-keys", json={"key_type": "secondary"})
    assert gateway.taken[-1]["w/cancer"]["keys_sha256"] != before
    await api.ask("DELETE", E)
    assert gateway.taken[-1] == {}


async def test_it_is_waited_for_and_not_for_ever(api: Api, gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    gateway.hold()
    changing = asyncio.create_task(api.ask("PATCH", E, json={"traffic": {"blue": 100}}))
    await gateway.asked.wait()
    assert not changing.done()
    gateway.may.set()
    assert (await changing).json()["traffic"] == {"blue": 100}
    gateway.hold()
    monkeypatch.setattr(service, "IN_EFFECT_S", 0.05)
    assert (await api.ask("PATCH", E, json={"traffic": {"blue": 0}})).json()["traffic"] == {"blue": 0}
    assert gateway.taken[-1]["w/cancer"]["traffic"] == {"blue": 100}, "it has not got it yet"
