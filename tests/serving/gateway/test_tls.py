"""The same sites by TLS: garbage disturbs nobody, a new certificate no connection."""

import asyncio
import contextlib
import json
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests import certificates
from tests.certificates import Issuer

from ultramarine_serving.http.server import Address, Limits, Request, Response, serve

from .running import Gateway, Upstreams, echo, site, until
from .test_instances import LAB, TOKEN, use

HTTP = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
GARBAGE = (b"", b"\x00", HTTP, b"\x16\x03\x01\xff\xff" + b"\x00" * 70, b"\x16\x03\x01\x00\x05hello", b"\x80" * 5000)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return certificates.issuer()


@pytest.fixture(scope="module")
def running(issuer: Issuer) -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        made = Gateway(Path(folder), certificate=issuer.issue("127.0.0.1"))
        made.start()
        yield made
        made.stop()


@pytest.fixture
async def gateway(running: Gateway) -> AsyncIterator[Gateway]:
    yield running
    await running.use()


@pytest.fixture
async def sites(gateway: Gateway, upstreams: Upstreams) -> Upstreams:
    upstream = await upstreams.start(echo)
    await gateway.use(sites=[site("/api/", upstream)])
    return upstreams


def trusting(issuer: Issuer) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=issuer.pem)


def shown(client: ssl.SSLSocket) -> bytes | None:
    return client.getpeercert(binary_form=True)


class Client:
    """A connection, blocking, beside the test's loop."""

    def __init__(self, gateway: Gateway, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", gateway.ports["api tls"]), timeout=10)
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")

    def ask(self) -> bytes:
        self.socket.sendall(HTTP)
        return self.socket.recv(65536)


async def test_an_upstream_is_told_that_a_request_came_by_tls(gateway: Gateway, sites: Upstreams, issuer: Issuer):
    async with gateway.client("api tls", verify=trusting(issuer)) as client:
        answer = (await client.post("/api/x", headers={"x-forwarded-proto": "http"}, content=b"a" * 3_000_000)).json()
    headers = dict(answer["headers"])
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert len(answer["body"]) == 3_000_000
    async with gateway.client("api") as client:
        headers = dict((await client.get("/api/x", headers={"x-forwarded-proto": "https"})).json()["headers"])
    assert headers["x-forwarded-proto"] == "http"


async def test_plain_http_is_not_answered_at_a_port_of_tls(gateway: Gateway):
    with contextlib.suppress(ConnectionError):
        assert b"HTTP" not in await gateway.raw(HTTP, listener="api tls")


async def test_garbage_and_clients_that_stay_silent_disturb_nobody(gateway: Gateway, issuer: Issuer):
    steady = await asyncio.to_thread(Client, gateway, trusting(issuer))
    silent = [await asyncio.open_connection("127.0.0.1", gateway.ports["api tls"]) for _ in range(200)]
    for data in GARBAGE * 3:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.ports["api tls"])
        writer.write(data)
        writer.close()
    assert b"200 OK" in await asyncio.to_thread(steady.ask)
    assert b"200 OK" in await asyncio.to_thread((await asyncio.to_thread(Client, gateway, trusting(issuer))).ask)
    assert gateway.process.poll() is None
    assert "Traceback" not in (gateway.folder / "log.txt").read_text()
    for _, writer in silent:
        writer.close()


async def test_a_handshake_that_is_not_ended_is_cut_off(folder: Path, issuer: Issuer):
    (folder / "server.pem").write_text(issuer.issue("127.0.0.1"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    port = Address(host="127.0.0.1", port=0)
    server = await serve(echo, listeners=[port], limits=Limits(handshake_timeout_s=0.2), tls=context)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses[0].port)
    writer.write(b"\x16\x03\x01")
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await server.drain(0)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_are_spoken_and_older_ones_are_not(
    gateway: Gateway, issuer: Issuer, version: ssl.TLSVersion
):
    context = trusting(issuer)
    context.minimum_version = context.maximum_version = version
    assert b"200 OK" in await asyncio.to_thread((await asyncio.to_thread(Client, gateway, context)).ask)


async def test_tls_1_1_is_refused(gateway: Gateway, issuer: Issuer):
    context = trusting(issuer)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        await asyncio.to_thread(Client, gateway, context)


async def test_a_new_certificate_is_shown_at_once_and_open_connections_go_on(gateway: Gateway, issuer: Issuer):
    old = await asyncio.to_thread(Client, gateway, trusting(issuer))
    fresh = gateway.folder / "server.new"
    fresh.write_text(issuer.issue("127.0.0.1"))
    fresh.rename(gateway.certificate)

    async def is_new() -> bool:
        return shown((await asyncio.to_thread(Client, gateway, trusting(issuer))).socket) != shown(old.socket)

    await until(is_new)
    assert b"200 OK" in await asyncio.to_thread(old.ask)


async def test_a_certificate_that_cannot_be_used_changes_nothing(gateway: Gateway, issuer: Issuer):
    gateway.certificate.write_text("nothing of the kind")
    await until(lambda: "is no certificate with its key" in (gateway.folder / "log.txt").read_text())
    assert b"200 OK" in await asyncio.to_thread((await asyncio.to_thread(Client, gateway, trusting(issuer))).ask)


async def test_a_refusal_arrives_whole_though_the_client_still_sends(gateway: Gateway, issuer: Issuer):
    client = await asyncio.to_thread(Client, gateway, trusting(issuer))

    def send() -> bytes:
        client.socket.sendall(b"NO HTTP\r\n\r\n" + b"x" * 100_000)
        got = b""
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            while more := client.socket.recv(65536):
                got += more
        return got

    assert b" 400 " in await asyncio.wait_for(asyncio.to_thread(send), 15)


async def test_the_session_of_a_browser_is_for_tls_alone_where_it_came_by_tls(
    gateway: Gateway, upstreams: Upstreams, issuer: Issuer
):
    def exchange(request: object, /) -> Response:
        return Response(body=json.dumps({"session": "s", "redirect": "/mlflow/"}).encode())

    control = await upstreams.start(exchange)
    await gateway.use(sites=[], authorizer=str(control.addresses[0]))
    async with gateway.client("second tls", verify=trusting(issuer)) as client:
        assert "; Secure" in (await client.get("/login?code=c")).headers["set-cookie"]
    async with gateway.client("second") as client:
        assert "Secure" not in (await client.get("/login?code=c")).headers["set-cookie"]


async def test_what_a_program_of_an_instance_sets_is_for_tls_alone_where_it_came_by_tls(
    gateway: Gateway, upstreams: Upstreams, issuer: Issuer
):
    given = [b"a=1; HttpOnly", b"b=1; secure; SameSite=Lax"]
    await use(gateway, upstreams, lambda request: Response(200, [(b"set-cookie", each) for each in given]))
    async with gateway.client("instances tls", headers=TOKEN, verify=trusting(issuer)) as client:
        assert (await client.get(LAB)).headers.get_list("set-cookie") == [
            f"a=1; HttpOnly; Path={LAB}; Secure",
            f"b=1; SameSite=Lax; Path={LAB}; Secure",
        ]
    async with gateway.client("instances", headers=TOKEN) as client:
        assert (await client.get(LAB)).headers.get_list("set-cookie") == [
            f"a=1; HttpOnly; Path={LAB}",
            f"b=1; secure; SameSite=Lax; Path={LAB}",
        ]


async def test_a_page_of_the_same_name_without_tls_is_another_origin(
    gateway: Gateway, upstreams: Upstreams, issuer: Issuer
):
    def allow(request: Request, /) -> Response:
        return Response(body=json.dumps({"workspace": "default", "subject": "ada", "cache_s": 5}).encode())

    control, upstream = await upstreams.start(allow), await upstreams.start(echo)
    pages = site("/mlflow/", upstream, listener="second", authorize="cookie")
    await gateway.use(sites=[pages], authorizer=str(control.addresses[0]))
    cookie = {"cookie": "ultramarine=s"}
    async with gateway.client("second tls", verify=trusting(issuer)) as client:
        host = f"{client.base_url.host}:{client.base_url.port}"
        own = await client.post("/mlflow/x", headers={**cookie, "origin": f"https://{host}"})
        foreign = await client.post("/mlflow/x", headers={**cookie, "origin": f"http://{host}"})
    assert (own.status_code, foreign.status_code) == (200, 403)


def test_a_gateway_without_its_certificate_says_so_and_does_not_start(folder: Path):
    made = Gateway(folder, certificate="nothing of the kind")
    with pytest.raises(AssertionError, match="is no certificate with its key"):
        made.start()
    assert made.process.returncode == 2
