"""Custom applications of compute instances: reached below the instance's path, by who may enter it alone."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ultramarine_serving.gateway import programs
from ultramarine_serving.gateway.authorize import Authorizer
from ultramarine_serving.gateway.instances import Instances
from ultramarine_serving.gateway.table import FORMAT, parse
from ultramarine_serving.http import holder as holders
from ultramarine_serving.http.client import Pool
from ultramarine_serving.http.holder import Holder, holder
from ultramarine_serving.http.server import Address, Handler, Request, Response

from .running import Gateway, Upstreams, echo, until
from .test_instances import COOKIE, LAB, TOKEN, ControlPlane, instance, lab

BOARD = f"{LAB}proxy/board/"
HERE = Address(host="127.0.0.1")


async def use(gateway: Gateway, upstreams: Upstreams, handler: Handler = lab, **different: Any) -> ControlPlane:
    """Ada's `lab` has the application `board`, and `mute`, which does not listen; Bob's `other` has one too."""
    plane = ControlPlane()
    authorizer, program = await upstreams.start(plane), await upstreams.start(lambda request: Response(body=b"jupyter"))
    board = (await upstreams.start(handler, at=HERE)).addresses[0].port
    applications = {"board": board, "mute": unused(), **different}
    there = {
        f"default/{name}": instance(name, id, program) | {"applications": applications}
        for name, id in (("lab", "c1"), ("other", "c2"))
    }
    await gateway.use(authorizer=str(authorizer.addresses[0]), instances=there)
    return plane


def unused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def used(gateway: Gateway) -> Any:
    """What the gateway says of the use of Ada's `board`."""
    return (await gateway.admin("GET", "/status")).json()["instances"]["c1"]["board"]


@pytest.mark.parametrize("who", [COOKIE, TOKEN])
async def test_an_application_is_asked_by_its_whole_path_and_told_nothing_that_lets_anybody_in(
    gateway: Gateway, upstreams: Upstreams, who: dict[str, str]
):
    await use(gateway, upstreams)
    cookies = "; ".join(each for each in (who.get("cookie"), "ultramarine=second", "theme=dark") if each)
    sent = {**who, "cookie": cookies} if "cookie" in who else {**who, "cookie": "theme=dark"}
    async with gateway.client("instances", headers=sent) as client:
        answer = await client.post(f"{BOARD}data/a%20b?x=y", content=b"1,2")
        assert (await client.get(f"{LAB}lab")).text == "jupyter"
    seen = answer.json()
    assert (seen["method"], seen["target"]) == ("POST", f"{BOARD}data/a%20b?x=y")
    headers = dict(seen["headers"])
    assert headers["cookie"] == "theme=dark"
    assert "authorization" not in headers
    assert not [word for word in ("s3cret", "of-lab", "ada") if word in json.dumps(seen["headers"])]
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (BOARD, {}, 401),
        (BOARD, {"authorization": "token bob"}, 403),
        (BOARD, COOKIE | {"sec-fetch-site": "same-site"}, 403),
        (f"{LAB}proxy/nowhere/", {}, 401),
        ("/instances/default/other/proxy/board/", TOKEN, 403),
        ("/instances/default/other/proxy/board/", COOKIE, 401),
        ("/instances/default/still/proxy/board/", TOKEN, 503),
        (f"{LAB}proxy/nowhere/", TOKEN, 404),
        (f"{LAB}proxy/6006/", TOKEN, 404),
        (f"{LAB}proxy//board/", TOKEN, 404),
        (f"{LAB}proxy/%62oard/", TOKEN, 404),
        (f"{LAB}proxy/board/../mute/", TOKEN, 400),
        (f"{LAB}proxy/board%2f..%2fmute/", TOKEN, 400),
        (f"{BOARD}?token=x", TOKEN, 400),
    ],
)
@pytest.mark.parametrize("is_socket", [False, True])
async def test_nobody_else_reaches_one_and_nothing_that_is_none_is_reached(
    gateway: Gateway, upstreams: Upstreams, path: str, headers: dict[str, str], status: int, *, is_socket: bool
):
    await use(gateway, upstreams)
    said = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    said += "connection: upgrade\r\nupgrade: websocket\r\n" if is_socket else "connection: close\r\n"
    answer = await gateway.raw(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{said}\r\n".encode(), listener="instances")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert (await used(gateway))["in_flight"] == 0


async def test_one_that_is_unknown_is_told_of_with_those_that_there_are(gateway: Gateway, upstreams: Upstreams):
    await use(gateway, upstreams)
    async with gateway.client("instances", headers=TOKEN) as client:
        unknown = (await client.get(f"{LAB}proxy/nowhere/")).json()
        led_on = await client.get(f"{BOARD.rstrip('/')}?a=b")
    assert "it has board, mute." in unknown["detail"]
    assert "um compute restart" in unknown["hint"]
    assert (led_on.status_code, led_on.headers["location"]) == (307, f"{BOARD}?a=b")


async def test_what_an_application_sets_stays_below_its_own_path(gateway: Gateway, upstreams: Upstreams):
    said = [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"ultramarine-instance=x"), (b"clear-site-data", b'"*"')]
    said.append((b"service-worker-allowed", LAB.encode()))
    await use(gateway, upstreams, lambda request: Response(200, said))
    async with gateway.client("instances", headers=TOKEN) as client:
        answer = await client.get(BOARD)
    assert answer.headers.get_list("set-cookie") == [f"a=1; Path={BOARD}"]
    assert not {"clear-site-data", "service-worker-allowed"} & set(answer.headers)


async def test_a_websocket_and_an_answer_in_parts_are_in_use_for_as_long_as_they_last(
    gateway: Gateway, upstreams: Upstreams
):
    go_on = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        await go_on.wait()

    await use(gateway, upstreams, lambda request: lab(request) if request.upgrade else Response(body=parts()))
    assert (await used(gateway)) == {"in_flight": 0, "quiet_s": None}, "nobody was there yet"
    reader, writer = await opened(gateway.ports["instances"])
    assert (await used(gateway)) == {"in_flight": 1, "quiet_s": 0.0}
    async with gateway.client("instances", headers=TOKEN) as client, client.stream("GET", BOARD) as answer:
        assert await anext(answer.aiter_raw()) == b"one"
        assert (await used(gateway))["in_flight"] == 2
        go_on.set()
    writer.write(b"hi")
    assert await asyncio.wait_for(reader.readexactly(7), 10) == b"echo hi"
    gateway.write(**json.loads(gateway.table_path.read_text()) | {"version": 99})
    assert (await gateway.admin("POST", "/table")).json()["version"] == 99
    assert (await used(gateway))["in_flight"] == 1, "a new table begins no new count"
    writer.close()

    async def is_over() -> bool:
        return (await used(gateway))["in_flight"] == 0

    await until(is_over)
    assert (await used(gateway))["quiet_s"] >= 0


async def opened(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A websocket to the application, that a page of its own origin has asked for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = f"host: localhost\r\norigin: http://localhost\r\ncookie: {COOKIE['cookie']}\r\n"
    writer.write(f"GET {BOARD}ws HTTP/1.1\r\n{said}connection: upgrade\r\nupgrade: websocket\r\n\r\n".encode())
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 101 ")
    return reader, writer


# Within this process


async def inside(upstreams: Upstreams, plane: ControlPlane, port: int) -> tuple[Instances, httpx.AsyncClient, int]:
    """The gateway's own part, which is not patient, and a client of Ada's."""
    authorizer, program = await upstreams.start(plane), await upstreams.start(lab)
    made, where = Instances(hold_s=0.1, ask_again_s=0.02), str(authorizer.addresses[0])
    there = {"default/lab": instance("lab", "c1", program) | {"applications": {"board": port}}}
    table = parse(json.dumps({"format": FORMAT, "version": 1, "authorizer": where, "instances": there}).encode())
    made.update(table, authorizer=Authorizer(Pool(Address.parse(where), idle_s=1)))
    own = (await upstreams.start(made.answer, at=HERE)).addresses[0].port
    return made, httpx.AsyncClient(base_url=f"http://127.0.0.1:{own}", headers=TOKEN, trust_env=False), own


async def test_one_that_does_not_listen_is_said_to_be_down_with_where_its_log_is(upstreams: Upstreams):
    port = unused()
    made, client, _ = await inside(upstreams, ControlPlane(), port)
    async with client:
        answer = await client.get(BOARD)
    assert answer.status_code == 503
    said = answer.json()["detail"]
    assert said.startswith("Application board of compute instance lab does not answer now, or not yet: ")
    assert f"it takes no connections at port {port}" in said
    assert "applications/board.log of the home folder" in answer.json()["hint"]
    assert made.status()["instances"]["c1"]["board"]["in_flight"] == 0


async def test_one_that_breaks_off_is_told_of(upstreams: Upstreams):
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 ")
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
        made, client, _ = await inside(upstreams, ControlPlane(), server.sockets[0].getsockname()[1])
        async with client:
            answer = await client.post(BOARD)
    assert (answer.status_code, "Application board of" in answer.json()["detail"]) == (502, True)
    assert "applications/board.log of the home folder" in answer.json()["hint"]
    assert made.status()["instances"]["c1"]["board"]["in_flight"] == 0


async def test_an_open_websocket_ends_when_its_token_is_revoked(upstreams: Upstreams):
    plane = ControlPlane()
    plane.cache_s = 0
    board = (await upstreams.start(lab, at=HERE)).addresses[0].port
    made, client, port = await inside(upstreams, plane, board)
    await client.aclose()
    reader, writer = await opened(port)
    await until(lambda: len(plane.asked) > 3)
    plane.revoked.add("of-lab")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    await until(lambda: made.status()["instances"]["c1"]["board"]["in_flight"] == 0)
    writer.close()


async def test_to_a_program_of_another_user_at_that_port_nothing_is_sent(
    upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Request] = []

    def stranger(request: Request, /) -> Response:
        asked.append(request)
        return echo(request)

    port = (await upstreams.start(stranger, at=HERE)).addresses[0].port

    def held(_: int, *, socket: str) -> Holder:
        return Holder.STRANGER if socket else Holder.NOBODY

    monkeypatch.setattr(programs, "holder", held)
    _, client, _ = await inside(upstreams, ControlPlane(), port)
    async with client:
        answer = await client.get(BOARD)
    assert (answer.status_code, asked) == (502, [])
    assert f"At port {port} of Application board" in answer.json()["detail"]


ROW = "0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {user} 0 1 1\n"


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([("0100007F", 6006, "0A", "me")], Holder.KNOWN),
        ([("00000000", 6006, "0A", "me")], Holder.KNOWN),
        ([("0100007F", 6006, "0A", "0x")], Holder.STRANGER),
        ([("0100007F", 6006, "0A", "me"), ("00000000", 6006, "0A", "0x")], Holder.STRANGER),
        ([("0100007F", 6007, "0A", "me")], Holder.NOBODY),
        ([("0100007F", 6006, "01", "me")], Holder.NOBODY),  # somebody has called from there
        ([], Holder.NOBODY),
    ],
)
def test_who_listens_is_known_of_the_users_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, int, str, str]], found: Holder
):
    users = {"me": os.getuid(), "0x": os.getuid() + 1}
    lines = [ROW.format(address=at, port=port, state=state, user=users[who]) for at, port, state, who in rows]
    (tmp_path / "tcp").write_text("  sl  local_address rem_address ...\n" + "".join(lines))
    monkeypatch.setattr(holders, "_TABLES", (str(tmp_path / "tcp"), str(tmp_path / "none")))
    assert holder(6006, socket=str(tmp_path / "tcp")) is found
    assert holder(6006, socket=str(tmp_path / "gone")) is Holder.NOBODY


@pytest.mark.parametrize("given", [{"a b": 6006}, {"board": 80}, {"board": "6006"}, {"board": True}])
async def test_a_table_with_an_application_that_cannot_be_is_refused_whole(gateway: Gateway, given: dict[str, Any]):
    await gateway.use()
    there = {"default/lab": instance("lab", "c1", "unix:/x.sock") | {"applications": given}}
    gateway.write(authorizer="unix:/c.sock", instances=there)
    assert "applications must be ports from 1024 on" in (await gateway.admin("POST", "/table")).json()["error"]
