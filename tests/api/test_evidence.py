"""What a compute instance is found to do: its Jupyter Server is asked, and the gateway."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.api.conftest import Api
from tests.factories import NOON, later, make_instance, make_run

from ultramarine.controllers.evidence import Jupyter
from ultramarine.domain.instance import InstanceStatus
from ultramarine.domain.run import Mode, OwnerNoun
from ultramarine.planning.idleness import Application, Evidence
from ultramarine.routing.uses import Use, Uses
from ultramarine_serving.http.server import Address, Request, Response, serve

UP = make_instance(status=InstanceStatus.RUNNING)


def jupyter(request: Request, /) -> Response:
    """With nothing to do."""
    return Response(body=json.dumps([]).encode())


@pytest.fixture
async def sockets() -> AsyncIterator[dict[str, str]]:
    with TemporaryDirectory(prefix="um-i") as folder:
        path = str(Path(folder) / "s")
        server = await serve(jupyter, listeners=[Address(path=path)])
        yield {"http": f"unix:{path}"}
        await server.drain(0)


async def found(api: Api, uses: Uses | None, **different: Any) -> Evidence | None:
    async def told() -> Uses | None:
        return uses

    owner: dict[str, Any] = {"owner_noun": OwnerNoun.INSTANCE, "owner_id": UP.id, "mode": Mode.INSTANCE}
    (evidence,) = await Jupyter(api.ctx, told).evidence([(UP, make_run("ic1", **owner, **different))])
    return evidence


async def test_its_applications_are_in_use_as_the_gateway_tells(api: Api, sockets: dict[str, str]) -> None:
    board, demo = Use(in_flight=2, quiet_s=0.0), Use(in_flight=0, quiet_s=60.0)
    mute = Use(in_flight=0, quiet_s=None)
    uses = {UP.id: {"board": board, "demo": demo, "mute": mute}, "another": {"board": board}}
    evidence = await found(api, uses, sockets=sockets)
    assert evidence is not None
    assert evidence.applications == [
        Application(name="board", connections=2, active_at=NOON),
        Application(name="demo", connections=0, active_at=later(-60)),
        Application(name="mute", connections=0),
    ]
    none = await found(api, {}, sockets=sockets)
    assert none is not None
    assert none.applications == []


async def test_a_gateway_that_does_not_answer_says_nothing_of_them(api: Api, sockets: dict[str, str]) -> None:
    evidence = await found(api, None, sockets=sockets)
    assert evidence is not None
    assert evidence.applications is None


async def test_one_that_does_not_answer_is_not_known_whatever_the_gateway_says(api: Api) -> None:
    assert await found(api, {}, sockets={"http": "unix:/none.sock"}) is None
