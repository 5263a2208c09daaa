"""Compute instances on other machines: through their one door, to the program that is meant and to no other."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests import certificates
from tests.certificates import Issuer

from ultramarine.planning.routes import JUPYTERLAB, Place
from ultramarine.routing.asking import ask
from ultramarine_instance import door
from ultramarine_instance.door import Behind, NoDoor, opened
from ultramarine_instance.options import Door
from ultramarine_instance.settings import Application
from ultramarine_serving.http.holder import Holder
from ultramarine_serving.http.server import Address, Request, Response, Server

from .running import Gateway, Upstreams, until
from .test_instances import LAB, SOCKET, TOKEN, ControlPlane, lab, talk

NAME, SECRET = "e1-ic1-1", "5" * 64
RUN = {"id": "c1", "base": LAB, "secret": SECRET}


def board(request: Request, /) -> Response:
    if request.upgrade:
        return Response(101, [(b"upgrade", b"websocket"), (b"connection", b"upgrade")], tunnel=talk)
    said = {"target": request.target, "headers": [[n.decode(), v.decode()] for n, v in request.headers]}
    return Response(200, [(b"content-type", b"application/json")], json.dumps({"board": said}).encode())


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return certificates.issuer()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


class There:
    """An instance on what counts as another machine: its programs, and the door to them."""

    def __init__(self, gateway: Gateway, issuer: Issuer, folder: Path, *, lab: Server, port: int) -> None:
        self._gateway, self._issuer, self._folder = gateway, issuer, folder
        self._lab, self.port = Path(lab.addresses[0].path), port
        self.address = f"127.0.0.1:{free_port()}"

    @contextlib.contextmanager
    def open(self, *, name: str = NAME, secret: str = SECRET) -> Generator[None]:
        pem = self._folder / "tls.pem"
        pem.write_text(self._issuer.issue(name))
        there = Behind.of(self._lab, [Application(name="board", command="x", port=self.port)], secret)
        with opened(Door(self.address, pem), there):
            yield

    async def use(self, plane: Server, **different: Any) -> None:
        run = RUN | {"address": self.address, "applications": {"board": self.port}, "tls": self.tls}
        instances = {"default/lab": run | different}
        await self._gateway.use(authorizer=str(plane.addresses[0]), instances=instances, ca=self._issuer.pem)

    @property
    def tls(self) -> dict[str, str]:
        return {"name": NAME, "secret": SECRET}

    @property
    def place(self) -> Place:
        """As the control plane asks it."""
        return Place(address=self.address, name=NAME, ca=self._issuer.pem, secret=SECRET, behind=JUPYTERLAB)

    async def said(self, head: bytes) -> bytes:
        """The answer to what is said at the door, to its end."""
        host, _, port = self.address.rpartition(":")
        context = certificates.client(self._issuer)
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=NAME)
        writer.write(head)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


@pytest.fixture
async def there(gateway: Gateway, upstreams: Upstreams, folder: Path, issuer: Issuer) -> There:
    program = await upstreams.start(lab)
    application = await upstreams.start(board, at=Address(host="127.0.0.1"))
    made = There(gateway, issuer, folder, lab=program, port=application.addresses[0].port)
    await made.use(await upstreams.start(ControlPlane()))
    return made


async def test_jupyterlab_is_told_the_secret_it_knows_and_the_door_alone_the_way_there(gateway: Gateway, there: There):
    with there.open():
        async with gateway.client("instances", headers=TOKEN) as client:
            answers = [await client.put(f"{LAB}api/contents/a?x=y", content=b"a" * 3_000_000) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    seen = answers[0].json()
    assert (seen["method"], seen["target"], len(seen["body"])) == ("PUT", f"{LAB}api/contents/a?x=y", 3_000_000)
    assert dict(seen["headers"])["authorization"] == f"token {SECRET}"
    assert "x-ultramarine-secret" not in dict(seen["headers"])


async def test_an_application_has_connections_of_its_own_and_is_told_no_secret(gateway: Gateway, there: There):
    with there.open():
        async with gateway.client("instances", headers=TOKEN) as client:
            mixed = [await client.get(f"{LAB}{path}") for path in ("lab", "proxy/board/a", "lab", "proxy/board/b")]
    assert [set(answer.json()) == {"board"} for answer in mixed] == [False, True, False, True]
    assert mixed[1].json()["board"]["target"] == f"{LAB}proxy/board/a"
    assert SECRET not in mixed[1].text


@pytest.mark.parametrize("path", ["api/kernels/1/channels", "proxy/board/ws"])
async def test_websockets_go_through_it(gateway: Gateway, there: There, path: str):
    with there.open():
        request = f"GET {LAB}{path} HTTP/1.1\r\nhost: localhost\r\n"
        request += "".join(f"{name}: {value}\r\n" for name, value in {**TOKEN, **SOCKET}.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.ports["instances"])
        writer.write(f"{request}\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        for word in (b"one", b"two"):
            writer.write(word)
            assert await asyncio.wait_for(reader.readexactly(8), 10) == b"echo " + word
        writer.close()


async def test_who_comes_before_it_is_open_waits_a_moment(gateway: Gateway, there: There):
    async with gateway.client("instances", headers=TOKEN) as client:
        asking = asyncio.create_task(client.get(f"{LAB}lab"))
        await asyncio.sleep(0.2)
        with there.open():
            assert (await asking).status_code == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"CONNECT {JUPYTERLAB} HTTP/1.1\r\n\r\n", 401),
        (f"CONNECT {JUPYTERLAB} HTTP/1.1\r\nx-ultramarine-secret: wrong\r\n\r\n", 401),
        (f"GET {LAB}api/status HTTP/1.1\r\nauthorization: token {SECRET}\r\n\r\n", 401),
        (f"GET / HTTP/1.1\r\nX-Ultramarine-Secret: {SECRET}\r\n\r\n", 405),
        (f"CONNECT 127.0.0.1:22 HTTP/1.1\r\nx-ultramarine-secret: {SECRET}\r\n\r\n", 404),
        (f"CONNECT board:22 HTTP/1.1\r\nx-ultramarine-secret: {SECRET}\r\n\r\n", 404),
        (f"CONNECT board HTTP/1.1\r\nx-ultramarine-secret: {SECRET}\r\n\r\n", 404),
        (f"CONNECT x HTTP/1.1\r\na: {'b' * 9000}\r\n\r\n", 431),
        ("\r\n\r\n", 401),
        ("\x00\xff\x16\r\n\r\n", 401),
    ],
)
async def test_who_may_not_or_asks_for_something_else_reaches_nothing(there: There, head: str, status: int):
    with there.open():
        answer = await there.said(head.encode("latin-1"))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert answer.endswith(b"\r\n\r\n")


async def test_what_speaks_no_tls_or_says_nothing_does_not_disturb_others(gateway: Gateway, there: There):
    with there.open():
        host, _, port = there.address.rpartition(":")
        plain = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        for _, writer in plain:
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        async with gateway.client("instances", headers=TOKEN) as client:
            assert (await client.get(f"{LAB}lab")).status_code == 200
        for reader, writer in plain:
            with contextlib.suppress(ConnectionError):
                assert not (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP")
            writer.close()


async def test_another_door_or_one_with_another_secret_is_not_spoken_to(gateway: Gateway, there: There):
    for different in ({"name": "e1-ic1-2"}, {"secret": "6" * 64}):
        with there.open(**different):
            async with gateway.client("instances", headers=TOKEN) as client:
                answer = await client.get(f"{LAB}lab")
        assert answer.status_code == 503, different
        assert "um compute show -n lab" in answer.json()["hint"]


def strangers(port: int, *, socket: str) -> Holder:
    return Holder.STRANGER


async def test_an_application_that_is_not_up_or_is_somebody_elses_is_told_of(
    gateway: Gateway, there: There, monkeypatch: pytest.MonkeyPatch
):
    with there.open():
        async with gateway.client("instances", headers=TOKEN) as client:
            with monkeypatch.context() as changed:
                changed.setattr(door, "holder", strangers)
                strange = await client.get(f"{LAB}proxy/board/")
        assert strange.status_code == 503
        assert "a program of another user" in strange.json()["detail"]
        assert "applications/board.log" in strange.json()["hint"]
    there.port = free_port()
    with there.open():
        answer = await there.said(
            f"CONNECT board:{there.port} HTTP/1.1\r\nx-ultramarine-secret: {SECRET}\r\n\r\n".encode()
        )
    assert answer.startswith(b"HTTP/1.1 503 It takes no connections at port")


async def test_the_control_plane_asks_by_it_too(there: There):
    with there.open():
        status, body = await ask(there.place, "GET", f"{LAB}api/status", timeout_s=10)
        assert (status, json.loads(body)["target"]) == (200, f"{LAB}api/status")
    with there.open(secret="6" * 64), pytest.raises(OSError, match="wants the instance's secret"):
        await ask(there.place, "GET", f"{LAB}api/status", timeout_s=10)
    with pytest.raises(OSError):
        await ask(there.place, "GET", f"{LAB}api/status", timeout_s=10)


async def test_one_that_cannot_be_opened_says_where(there: There, folder: Path):
    with there.open(), pytest.raises(NoDoor, match=rf"{there.address}.*[Aa]ddress already in use"), there.open():
        pass
    none = Behind.of(folder / "x", [], SECRET)
    with pytest.raises(NoDoor, match="No such file"), opened(Door("127.0.0.1:0", folder / "none.pem"), none):
        pass


async def test_those_who_are_in_are_cut_off_when_it_closes(gateway: Gateway, there: There):
    with there.open():
        async with gateway.client("instances", headers=TOKEN) as client:
            assert (await client.get(f"{LAB}lab")).status_code == 200
    await until(lambda: _is_free(there.address))


def _is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as one:
        return one.connect_ex((host, int(port))) != 0
