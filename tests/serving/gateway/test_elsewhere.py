"""Replicas on other machines: by TLS with the CA's word for their name, and a secret that no client can say."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from tests import certificates
from tests.certificates import Issuer

from ultramarine_serving.http.server import Address, Handler, Limits, Request, Response, Server, serve
from ultramarine_serving.http.tls import server_context

from .running import AUTHORIZED, Gateway, echo, endpoint, until

SECRET = "5" * 64
HEADER = "x-ultramarine-secret"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return certificates.issuer()


@contextlib.asynccontextmanager
async def replica(folder: Path, pem: str, handler: Handler = echo, *, port: int = 0) -> AsyncGenerator[Server]:
    """A scoring server's front, as on another machine."""
    file = folder / "tls.pem"
    file.write_text(pem)
    limits, there = Limits(secret=SECRET.encode()), Address(host="127.0.0.1", port=port)
    server = await serve(handler, listeners=[there], limits=limits, tls=server_context(file))
    try:
        yield server
    finally:
        await server.drain(0)


def table(issuer: Issuer, server: Server | str, *, name: str = "e1-r-1", **different: Any) -> dict[str, Any]:
    address = server if isinstance(server, str) else str(server.addresses[0])
    made = endpoint({"blue": [address]}, **different)
    [one] = made["deployments"]["blue"]["replicas"]
    one["tls"] = {"name": name, "secret": SECRET}
    return {"ca": issuer.pem, "endpoints": {"w/e": made}}


async def told(gateway: Gateway) -> dict[str, Any]:
    return (await gateway.status())["replicas"]["blue-0"]


async def test_requests_and_probes_reach_it_by_tls_and_say_the_secret_which_no_client_is_shown(
    gateway: Gateway, folder: Path, issuer: Issuer
):
    async with replica(folder, issuer.issue("e1-r-1")) as server, gateway.client() as client:
        await gateway.use(**table(issuer, server))
        body = b"a" * 3_000_000
        sent = {**AUTHORIZED, HEADER: "guessed"}
        answers = [await client.post("/endpoints/w/e/score", headers=sent, content=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    said = answers[0].json()
    assert len(said["body"]) == len(body)
    assert HEADER not in dict(said["headers"]), "what is behind the replica's front is not told either"
    assert SECRET not in answers[0].text


async def test_whoever_does_not_say_the_secret_is_sent_away_before_the_body(folder: Path, issuer: Issuer):
    context = certificates.client(issuer)
    async with replica(folder, issuer.issue("e1-r-1")) as server:
        port = server.addresses[0].port
        for line in ("", f"{HEADER}: wrong\r\n", f"{HEADER}: {SECRET}\r\n{HEADER}: {SECRET}\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="e1-r-1")
            writer.write(f"POST /score HTTP/1.1\r\nhost: x\r\n{line}content-length: 1000000\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.read(), 10)
            assert answer.startswith(b"HTTP/1.1 401 "), line
            writer.close()


async def test_nothing_is_said_in_the_clear(folder: Path, issuer: Issuer):
    async with replica(folder, issuer.issue("e1-r-1")) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses[0].port)
        writer.write(f"GET / HTTP/1.1\r\nhost: x\r\n{HEADER}: {SECRET}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            assert not (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP")
        writer.close()


@pytest.mark.parametrize("whose", ["another name", "another CA", "no TLS"])
async def test_what_is_not_the_one_expected_gets_no_request_and_no_secret(
    gateway: Gateway, folder: Path, issuer: Issuer, whose: str
):
    heard: list[Request] = []

    def hear(request: Request) -> Response:
        heard.append(request)
        return Response(200)

    pem = certificates.issuer().issue("e1-r-1") if whose == "another CA" else issuer.issue("e1-r-2", "127.0.0.1")
    file = folder / "other.pem"
    file.write_text(pem)
    tls = None if whose == "no TLS" else server_context(file)
    server = await serve(hear, listeners=[Address(host="127.0.0.1", port=0)], tls=tls)
    gateway.write(**table(issuer, server))
    await gateway.admin("POST", "/table")
    row = await until(lambda: _down(gateway))
    assert row["why"].startswith(f"gateway cannot reach {server.addresses[0]}: "), row
    async with gateway.client() as client:
        answer = await client.post("/endpoints/w/e/score", headers=AUTHORIZED, content=b"1")
    assert answer.status_code == 503
    assert heard == []
    await server.drain(0)


async def _down(gateway: Gateway) -> dict[str, Any] | None:
    row = await told(gateway)
    return row if row["state"] == "down" else None


async def test_one_that_cannot_be_reached_says_so_and_is_used_once_it_can_be(
    gateway: Gateway, folder: Path, issuer: Issuer
):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    gateway.write(**table(issuer, f"127.0.0.1:{port}"))
    await gateway.admin("POST", "/table")
    row = await until(lambda: _down(gateway))
    assert row["why"] == f"gateway cannot reach 127.0.0.1:{port}: refused"
    async with replica(folder, issuer.issue("e1-r-1"), port=port), gateway.client() as client:
        await until(lambda: _is_up(gateway))
        assert (await client.post("/endpoints/w/e/score", headers=AUTHORIZED, content=b"1")).status_code == 200


async def _is_up(gateway: Gateway) -> bool:
    return (await told(gateway))["state"] == "up"


async def test_one_that_breaks_off_is_out_at_once_and_an_idempotent_request_goes_to_the_other(
    gateway: Gateway, folder: Path, issuer: Issuer
):
    async def break_off(request: Request) -> Response:
        if request.path == "/score":
            for connection in list(connections):
                connection.close()
            await asyncio.sleep(10)
        return Response(200)

    connections: list[asyncio.StreamWriter] = []
    async with replica(folder, issuer.issue("e1-r-1")) as good, _relay(folder, issuer, break_off, connections) as port:
        made = table(issuer, good, idempotent=True)
        replicas = made["endpoints"]["w/e"]["deployments"]["blue"]["replicas"]
        replicas.append({**replicas[0], "id": "blue-1", "address": f"127.0.0.1:{port}"})
        await gateway.use(**made)
        async with gateway.client() as client:
            asked = [client.post("/endpoints/w/e/score", headers=AUTHORIZED, content=b"1") for _ in range(8)]
            assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}


@contextlib.asynccontextmanager
async def _relay(
    folder: Path, issuer: Issuer, handler: Handler, connections: list[asyncio.StreamWriter]
) -> AsyncGenerator[int]:
    """A way to a replica whose connections a test can break off; its port."""
    async with replica(folder, issuer.issue("e1-r-1"), handler) as behind:

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)
            there, onward = await asyncio.open_connection("127.0.0.1", behind.addresses[0].port)
            with contextlib.suppress(ConnectionError):
                await asyncio.wait(
                    [asyncio.create_task(_pour(reader, onward)), asyncio.create_task(_pour(there, writer))],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            writer.close()
            onward.close()

        server = await asyncio.start_server(carry, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]


async def _pour(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ca": None}, "table.ca must be given"),
        ({"ca": "no PEM"}, "table.ca is no certificate in PEM"),
    ],
)
async def test_a_table_whose_replicas_could_not_be_known_is_refused(
    gateway: Gateway, issuer: Issuer, wrong: dict[str, Any], words: str
):
    gateway.write(**(table(issuer, "127.0.0.1:9") | wrong))
    status = (await gateway.admin("POST", "/table")).json()
    assert words in status["error"]
    assert SECRET not in json.dumps(status)
