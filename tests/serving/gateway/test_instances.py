"""Compute instances: an origin of their own, let in for their owner alone, spoken to with their own secret."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from ultramarine_serving.gateway.authorize import Authorizer
from ultramarine_serving.gateway.instances import Instances
from ultramarine_serving.gateway.table import FORMAT, parse
from ultramarine_serving.http.client import Pool
from ultramarine_serving.http.server import Address, Handler, Request, Response, Server
from ultramarine_serving.http.tunnel import Tunnel

from .running import Gateway, Upstreams, echo, site, until

LAB = "/instances/default/lab/"
COOKIE = {"cookie": "ultramarine-instance=of-lab", "sec-fetch-site": "same-origin"}
TOKEN = {"authorization": "token ada"}
SOCKET = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-key": "k"}


class ControlPlane:
    """The part of the control plane that the gateway asks: `lab` is Ada's, `other` is Bob's."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.cache_s = 5.0
        self.ids = {"lab": "c1", "other": "c2", "still": "c3"}
        self.revoked: set[str] = set()

    def __call__(self, request: Request, /) -> Response:
        said = json.loads(request.body)
        self.asked.append(said)
        if request.path == "/internal/exchange":
            known = said == {"code": "once", "listener": "instances"}
            signed_in = {"session": "entry:c1:ada:t1:9:s", "redirect": f"{LAB}lab", "path": LAB}
            return _json(200, signed_in) if known else _json(401, {})
        return _json(*self._authorize(said))

    def _authorize(self, said: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        name = said["instance"]
        known = {"ada": "instance", "bob": "instance", "of-lab": "instance-session"}
        if known.get(said["token"]) != said["purpose"] or said["token"] in self.revoked:
            return 401, {"detail": "no", "hint": "x"}
        if said["purpose"] == "instance-session" and self.ids.get(name) != "c1":
            return 401, {"detail": "This session is of another instance.", "hint": "x"}
        if name not in self.ids:
            return 404, {"detail": f"There is no compute instance named {name!r}.", "hint": "um compute list"}
        if said["token"] == "bob" or name == "other":
            return 403, {"detail": "It is somebody else's.", "hint": "Make one of your own."}
        found = {"workspace": "default", "subject": "ada", "instance": self.ids[name], "cache_s": self.cache_s}
        return 200, found


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(status, [(b"content-type", b"application/json")], json.dumps(body).encode())


async def talk(tunnel: Tunnel) -> None:
    async for data in tunnel.incoming:
        await tunnel.writer.write(b"echo " + data)


def lab(request: Request, /) -> Response:
    """A program that echoes requests, and what comes through a websocket."""
    if request.upgrade:
        headers = [(b"upgrade", b"websocket"), (b"connection", b"upgrade"), (b"set-cookie", b"ultramarine-instance=x")]
        return Response(101, headers, tunnel=talk)
    return echo(request)


def instance(name: str, id: str, upstream: Server | str) -> dict[str, Any]:
    address = upstream if isinstance(upstream, str) else str(upstream.addresses[0])
    return {"id": id, "address": address, "base": f"/instances/default/{name}/", "secret": "s3cret"}


async def use(gateway: Gateway, upstreams: Upstreams, handler: Handler = lab, **different: Any) -> ControlPlane:
    """Ada's `lab` and Bob's `other` run, Ada's `still` does not."""
    plane = ControlPlane()
    authorizer, program = await upstreams.start(plane), await upstreams.start(handler)
    there = {f"default/{name}": instance(name, id, program) for name, id in (("lab", "c1"), ("other", "c2"))}
    await gateway.use(authorizer=str(authorizer.addresses[0]), **({"instances": there} | different))
    return plane


def headers_of(answer: httpx.Response) -> dict[str, str]:
    """What the program was sent."""
    return dict(answer.json()["headers"])


# Who may


async def test_a_one_time_link_lets_its_owner_in_below_the_instances_path_alone(gateway: Gateway, upstreams: Upstreams):
    await use(gateway, upstreams)
    async with gateway.client("instances") as client:
        assert (await client.get("/login?code=wrong")).status_code == 403
        assert (await client.get("/login")).status_code == 400
        answer = await client.get("/login?code=once")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{LAB}lab")
    first, *attributes = answer.headers["set-cookie"].split("; ")
    assert first.startswith("ultramarine-instance=")
    assert {"HttpOnly", "SameSite=Strict", f"Path={LAB}"} <= set(attributes)
    async with gateway.client("second") as client:
        assert (await client.get("/login?code=once")).status_code == 403


@pytest.mark.parametrize(
    "who", [COOKIE, TOKEN, {"authorization": "Bearer ada"}, {**COOKIE, "authorization": "token x"}]
)
async def test_the_program_is_told_its_own_secret_and_nothing_by_which_others_were_let_in(
    gateway: Gateway, upstreams: Upstreams, who: dict[str, str]
):
    await use(gateway, upstreams)
    cookies = "ultramarine=second; _xsrf=a; ultramarine-instance=of-lab; theme=dark; _xsrf=elsewhere"
    sent = {**who, "cookie": cookies} if "cookie" in who else {**who, "cookie": "_xsrf=a; theme=dark"}
    async with gateway.client("instances", headers=sent) as client:
        answer = await client.put(f"{LAB}api/contents/a%20b.ipynb?x=y", content=b"{}")
    seen = headers_of(answer)
    assert (answer.json()["method"], answer.json()["target"]) == ("PUT", f"{LAB}api/contents/a%20b.ipynb?x=y")
    assert seen["authorization"] == "token s3cret"
    assert seen["cookie"] == "_xsrf=a; theme=dark"
    assert seen["host"] == f"127.0.0.1:{gateway.ports['instances']}"
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"


METHODS = ("GET", "HEAD", "POST", "OPTIONS", "DELETE")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (LAB, {}, 401),
        ("/instances/default/nowhere/", {}, 401),  # strangers do not learn which names there are
        (LAB, {"authorization": "token unknown"}, 401),
        (LAB, {"authorization": "Basic ada"}, 401),
        (LAB, {"authorization": "token of-lab"}, 401),  # a session is no token
        (LAB, {"cookie": "ultramarine-instance=ada", "sec-fetch-site": "same-origin"}, 401),  # and a token no session
        (LAB, {"cookie": "ultramarine=of-lab", "sec-fetch-site": "same-origin"}, 401),  # that of the second origin
        (LAB, {"authorization": "token bob"}, 403),
        ("/instances/default/other/", TOKEN, 403),
        ("/instances/default/other/", COOKIE, 401),
        ("/instances/default/nowhere/", TOKEN, 404),
        ("/instances/default/nowhere/", COOKIE, 401),
        ("/instances/default/still/", TOKEN, 503),
    ],
)
@pytest.mark.parametrize("is_socket", [False, True])
async def test_everybody_else_is_refused(
    gateway: Gateway, upstreams: Upstreams, path: str, headers: dict[str, str], status: int, *, is_socket: bool
):
    await use(gateway, upstreams)
    async with gateway.client("instances", headers=headers | (SOCKET if is_socket else {})) as client:
        seen = [(await client.request(method, path)).status_code for method in (("GET",) if is_socket else METHODS)]
    assert set(seen) == {status}


@pytest.mark.parametrize("is_socket", [False, True])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{LAB}../other/", 400),
        (f"{LAB}%2e%2e/other/", 400),
        (f"{LAB}..%2fother/", 400),
        (f"{LAB}%252e%252e%252fother/", 400),
        ("/instances/default/lab%2f..%2fother/", 400),
        ("/instances/default%2flab/", 404),
        ("/instances//default/lab/", 404),
        ("//instances/default/lab/", 404),
        ("/instances/default//lab/", 404),
        ("/instances/default/%6cab/", 404),
        ("/Instances/default/lab/", 404),
        ("/mlflow/", 404),
        ("/api/v1/workspaces", 404),
        ("/internal/authorize", 404),
        ("/endpoints/default/cancer/score", 404),
    ],
)
async def test_a_path_that_names_no_instance_plainly_leads_to_none(
    gateway: Gateway, upstreams: Upstreams, path: str, status: int, *, is_socket: bool
):
    plane = await use(gateway, upstreams, sites=[site("/api/", "unix:/nowhere"), site("/mlflow/", "unix:/nowhere")])
    upgrade = "connection: upgrade\r\nupgrade: websocket\r\n" if is_socket else "connection: close\r\n"
    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: token ada\r\n{upgrade}\r\n"
    answer = await gateway.raw(request.encode(), listener="instances")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert plane.asked == []


async def test_no_instance_is_on_another_listener(gateway: Gateway, upstreams: Upstreams):
    await use(gateway, upstreams)
    for listener in ("api", "second"):
        async with gateway.client(listener, headers=TOKEN) as client:
            assert (await client.get(LAB)).status_code == 404


async def test_a_token_in_the_address_is_refused_and_is_not_looked_at(gateway: Gateway, upstreams: Upstreams):
    plane = await use(gateway, upstreams)
    async with gateway.client("instances", headers=TOKEN) as client:
        for query in ("token=ada", "a=b&token=", "%74oken=ada"):
            answer = await client.get(f"{LAB}api/status?{query}")
            assert (answer.status_code, "Authorization: token" in answer.json()["hint"]) == (400, True)
    assert plane.asked == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:9999", 200),  # through a tunnel of one's own
        ("127.0.0.1:1", 200),
        ("[::1]:7772", 200),
        ("GPU.example.:7772", 200),
        ("10.0.0.5", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:7772", 421),
        ("a@localhost", 421),
        ("", 421),
    ],
)
@pytest.mark.parametrize("is_socket", [False, True])
async def test_a_name_that_is_none_of_ours_is_refused(
    gateway: Gateway, upstreams: Upstreams, host: str, status: int, *, is_socket: bool
):
    await use(gateway, upstreams, hosts=["gpu.example", "10.0.0.5"])
    upgrade = "connection: upgrade\r\nupgrade: websocket\r\n" if is_socket else "connection: close\r\n"
    request = f"GET {LAB} HTTP/1.1\r\nhost: {host}\r\nauthorization: token ada\r\n{upgrade}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.ports["instances"])
    writer.write(request.encode())
    line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    assert line.startswith(b"HTTP/1.1 %d " % (101 if is_socket and status == 200 else status))


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"sec-fetch-site": "same-origin"}, 200),
        ("POST", {"sec-fetch-site": "same-site"}, 403),  # another port of this host: the second origin is one
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        ("POST", {}, 403),
        ("POST", {"origin": "http://localhost"}, 200),
        ("POST", {"origin": "http://localhost:7771"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("OPTIONS", {"origin": "http://there", "sec-fetch-site": "cross-site"}, 403),
        ("HEAD", {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, 403),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ("GET", {"sec-fetch-site": "none"}, 200),
        ("GET", SOCKET, 403),
        ("GET", SOCKET | {"origin": "http://there"}, 403),
        ("GET", SOCKET | {"origin": "http://localhost:7771", "sec-fetch-site": "same-site"}, 403),
    ],
)
async def test_a_cookie_does_not_speak_for_pages_of_other_origins(
    gateway: Gateway, upstreams: Upstreams, method: str, headers: dict[str, str], status: int
):
    await use(gateway, upstreams)
    said = {"cookie": COOKIE["cookie"], "host": "localhost", **headers}
    async with gateway.client("instances", headers=said) as client:
        assert (await client.request(method, f"{LAB}api/kernels")).status_code == status


# The program inside


async def test_what_the_program_sets_stays_below_its_path(gateway: Gateway, upstreams: Upstreams):
    given = (
        "_xsrf=a; Path=/instances/default/lab/; Secure",
        "wide=1; path=/; Domain=localhost; HttpOnly",
        "deep=1; Path=/instances/default/lab/api",
        "beside=1; Path=/instances/default/lab2/",
        "plain=1",
        "ultramarine-instance=stolen; Path=/instances/default/lab/",
        "ultramarine=stolen",
    )
    said = [(b"set-cookie", cookie.encode()) for cookie in given]
    said += [(b"clear-site-data", b'"*"'), (b"service-worker-allowed", b"/"), (b"x-own", b"1")]
    await use(gateway, upstreams, lambda request: Response(200, said))
    async with gateway.client("instances", headers=TOKEN) as client:
        answer = await client.get(LAB)
    assert [cookie.replace("; ", ";") for cookie in answer.headers.get_list("set-cookie")] == [
        "_xsrf=a;Secure;Path=/instances/default/lab/",
        "wide=1;HttpOnly;Path=/instances/default/lab/",
        "deep=1;Path=/instances/default/lab/api",
        "beside=1;Path=/instances/default/lab/",
        "plain=1;Path=/instances/default/lab/",
    ]
    assert not {"clear-site-data", "service-worker-allowed"} & set(answer.headers)
    assert answer.headers["x-own"] == "1"


async def test_a_websocket_is_a_tunnel_to_the_program(gateway: Gateway, upstreams: Upstreams):
    await use(gateway, upstreams)
    origin = f"http://localhost:{gateway.ports['instances']}"
    reader, writer = await _socket(gateway.ports["instances"], host=origin.removeprefix("http://"), origin=origin)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"ultramarine-instance" not in head
    writer.write(b"\x81\x02hi")
    assert await asyncio.wait_for(reader.readexactly(9), 10) == b"echo \x81\x02hi"
    writer.close()


async def _socket(port: int, *, host: str, origin: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A websocket that a page of `origin` asks for, with the session of `lab`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = f"host: {host}\r\norigin: {origin}\r\ncookie: {COOKIE['cookie']}\r\n"
    writer.write(
        f"GET {LAB}api/kernels/1/channels HTTP/1.1\r\n{said}connection: upgrade\r\nupgrade: websocket\r\n\r\n".encode()
    )
    return reader, writer


async def test_an_answer_arrives_as_it_is_written(gateway: Gateway, upstreams: Upstreams):
    go_on = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        await go_on.wait()
        yield b"two"

    await use(gateway, upstreams, lambda request: Response(body=parts()))
    async with gateway.client("instances", headers=TOKEN) as client, client.stream("GET", LAB) as answer:
        seen = answer.aiter_raw()
        assert await anext(seen) == b"one"
        go_on.set()
        assert [part async for part in seen] == [b"two"]


async def test_an_address_without_its_slash_is_sent_to_the_one_with_it(gateway: Gateway, upstreams: Upstreams):
    await use(gateway, upstreams)
    async with gateway.client("instances") as client:
        answer = await client.get(f"{LAB.rstrip('/')}?reset")
    assert (answer.status_code, answer.headers["location"]) == (307, f"{LAB}?reset")


async def test_no_token_and_no_secret_is_in_the_access_log(gateway: Gateway, upstreams: Upstreams, folder: Path):
    log = folder / "access.jsonl"
    await use(gateway, upstreams, access_log=str(log))
    async with gateway.client("instances") as client:
        await client.get("/login?code=once")
        await client.get(f"{LAB}?token=ada", headers=TOKEN)
        await client.get(f"{LAB}tree", headers=TOKEN)
    text = log.read_text()
    assert f"{LAB}tree" in text
    assert not [word for word in ("once", "ada", "s3cret") if word in text]


# As things change


async def test_another_instance_of_the_same_name_is_not_entered_with_what_let_in_before(
    gateway: Gateway, upstreams: Upstreams
):
    plane = await use(gateway, upstreams)
    async with gateway.client("instances", headers=COOKIE) as client:
        assert (await client.get(LAB)).status_code == 200
        plane.ids["lab"] = "c9"  # deleted, and made anew
        program = await upstreams.start(lab)
        there = {"default/lab": instance("lab", "c9", program)}
        await gateway.use(authorizer=str((await upstreams.start(plane)).addresses[0]), instances=there)
        assert (await client.get(LAB)).status_code == 401


async def test_a_yes_that_is_remembered_opens_no_other_instance_of_the_same_name(
    gateway: Gateway, upstreams: Upstreams
):
    plane = ControlPlane()
    authorizer, program = await upstreams.start(plane), await upstreams.start(lab)
    where = str(authorizer.addresses[0])
    await gateway.use(authorizer=where, instances={"default/lab": instance("lab", "c1", program)})
    async with gateway.client("instances", headers=COOKIE) as client:
        assert (await client.get(LAB)).status_code == 200
        await gateway.use(authorizer=where, instances={"default/lab": instance("lab", "c9", program)})
        assert (await client.get(LAB)).status_code == 503
        await gateway.use(authorizer=where, instances={})
        assert (await client.get(LAB)).status_code == 503
    assert len(plane.asked) == 1


async def test_while_the_control_plane_is_away_who_was_let_in_stays_for_as_long_as_it_said(
    gateway: Gateway, upstreams: Upstreams
):
    plane = ControlPlane()
    authorizer, program = await upstreams.start(plane), await upstreams.start(lab)
    there = {"default/lab": instance("lab", "c1", program)}
    await gateway.use(authorizer=str(authorizer.addresses[0]), instances=there)
    async with gateway.client("instances", headers=TOKEN) as client:
        assert (await client.get(LAB)).status_code == 200
        await authorizer.drain(0)
        assert (await client.get(LAB)).status_code == 200


async def inside(upstreams: Upstreams, plane: ControlPlane, program: Server | str) -> tuple[Instances, Server, int]:
    """The gateway's own part in this process, that looks again often; the control plane; and its port."""
    authorizer = await upstreams.start(plane)
    made = Instances(hold_s=0.1, ask_again_s=0.02)
    there = {"default/lab": instance("lab", "c1", program)}
    where = str(authorizer.addresses[0])
    table = parse(json.dumps({"format": FORMAT, "version": 1, "authorizer": where, "instances": there}).encode())
    made.update(table, authorizer=Authorizer(Pool(Address.parse(where), idle_s=1)))
    server = await upstreams.start(made.answer, at=Address(host="127.0.0.1"))
    return made, authorizer, server.addresses[0].port


async def test_an_open_websocket_ends_when_its_token_is_revoked_and_not_when_nobody_can_be_asked(upstreams: Upstreams):
    plane = ControlPlane()
    plane.cache_s = 0
    _, authorizer, port = await inside(upstreams, plane, await upstreams.start(lab))
    reader, writer = await _socket(port, host="localhost", origin="http://localhost")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 101 ")
    await until(lambda: len(plane.asked) > 3)
    writer.write(b"there")
    assert await asyncio.wait_for(reader.readexactly(10), 10) == b"echo there"
    plane.revoked.add("of-lab")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await authorizer.drain(0)


async def test_an_open_websocket_outlives_the_control_plane(upstreams: Upstreams):
    plane = ControlPlane()
    plane.cache_s = 0
    _, authorizer, port = await inside(upstreams, plane, await upstreams.start(lab))
    reader, writer = await _socket(port, host="localhost", origin="http://localhost")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 101 ")
    await authorizer.drain(0)
    for _ in range(3):
        writer.write(b"there")
        assert await asyncio.wait_for(reader.readexactly(10), 10) == b"echo there"
    writer.close()


async def test_a_program_that_takes_no_connections_is_said_to_be_down_with_what_to_type(
    upstreams: Upstreams, folder: Path
):
    _, _, port = await inside(upstreams, ControlPlane(), f"unix:{folder}/none.sock")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=TOKEN) as client:
        answer = await client.get(LAB)
    assert (answer.status_code, "um compute start -n lab" in answer.json()["hint"]) == (503, True)


@pytest.mark.parametrize(
    ("name", "different", "said"),
    [
        ("lab", {}, "workspace/instance"),
        ("default/lab", {"base": "/instances/default/"}, "base must be /instances/default/lab/"),
        ("default/lab", {"secret": "a b"}, "secret must be visible ASCII"),
        ("default/lab", {"more": 1}, "unknown fields: more"),
    ],
)
async def test_a_table_with_an_instance_that_cannot_be_is_refused_whole(
    gateway: Gateway, name: str, different: dict[str, Any], said: str
):
    await gateway.use()
    given = {name: instance("lab", "c1", "unix:/x.sock") | different}
    gateway.write(authorizer="unix:/c.sock", instances=given)
    status = (await gateway.admin("POST", "/table")).json()
    assert said in status["error"]
    assert "a b" not in status["error"]
