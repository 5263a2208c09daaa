"""Sites: forwarding as it comes, tunnels, holding, who may, what is refused."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ultramarine_serving.http.server import Request, Response
from ultramarine_serving.http.tunnel import Tunnel

from .running import Gateway, Upstreams, echo, site, until


async def test_a_request_is_forwarded_unchanged_but_for_the_headers_that_are_no_ones_business(
    gateway: Gateway, upstreams: Upstreams
):
    await gateway.use(sites=[site("/api/", await upstreams.start(echo))])
    request = (
        b"PUT /api/v1/a%20b?c=d HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n"
        b"Keep-Alive: 5\r\nTE: trailers\r\nCookie: ultramarine=secret\r\nX-Mlflow-Workspace: other\r\n"
        b"X-Forwarded-For: 6.6.6.6\r\nX-Request-Id: not valid\r\nTraceparent: 00-1\r\nAuthorization: Bearer t\r\n\r\nhi"
    )
    head, _, body = (await gateway.raw(request)).partition(b"\r\n\r\n")
    seen = json.loads(body)
    headers = dict(seen["headers"])
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert (seen["method"], seen["target"], seen["body"]) == ("PUT", "/api/v1/a%20b?c=d", "hi")
    assert headers["traceparent"] == "00-1"
    assert headers["host"] == "here"
    assert headers["authorization"] == "Bearer t"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert len(headers["x-request-id"]) == 32
    assert not {"x-hop", "keep-alive", "te", "cookie", "x-mlflow-workspace", "connection"} & headers.keys()


async def test_the_longest_prefix_of_the_listener_wins_and_the_rest_is_404_with_a_hint(
    gateway: Gateway, upstreams: Upstreams
):
    wide = await upstreams.start(lambda request: Response(body=b"wide"))
    narrow = await upstreams.start(lambda request: Response(body=b"narrow"))
    other = await upstreams.start(lambda request: Response(body=b"other"))
    await gateway.use(
        sites=[site("/api/", wide), site("/api/v1/narrow/", narrow), site("/api/", other, listener="second")]
    )
    async with gateway.client() as client, gateway.client("second") as second:
        assert (await client.get("/api/v1/narrow/x")).text == "narrow"
        assert (await client.get("/api/v1/narrower")).text == "wide"
        assert (await second.get("/api/v1/narrow/x")).text == "other"
        missing = await client.get("/nowhere")
        assert missing.status_code == 404
        assert "/api/v1/" in missing.json()["hint"]
        assert (await client.get("/healthz")).text == "ok\n"


@pytest.mark.parametrize(
    "path",
    [
        *("/internal/authorize", "//internal/authorize", "/%69nternal/authorize", "/./internal/x", "/internal"),
        *("/%2e/internal/x", "/%2finternal/x", "/INTERNAL/x", "/%2569nternal/x"),
    ],
)
async def test_what_lies_under_internal_is_never_forwarded(gateway: Gateway, upstreams: Upstreams, path: str):
    await gateway.use(sites=[site("/", await upstreams.start(echo))])
    answer = await gateway.raw(f"POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/api/../secret",
            "/api/..",
            "/api/%2e%2e/secret",
            "/api/.%2E/secret",
            "/api/..%2fsecret",
            "/api/%252e%252e/secret",
        ),
        *("/api/x%5c..%5csecret", "/api/..;/secret"),
    ],
)
async def test_a_path_that_could_leave_its_prefix_is_refused(gateway: Gateway, upstreams: Upstreams, path: str):
    await gateway.use(sites=[site("/api/", await upstreams.start(echo))])
    answer = await gateway.raw(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400")


async def test_server_sent_events_flow_at_once(gateway: Gateway, upstreams: Upstreams):
    go_on = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await go_on.wait()
        yield b"data: 2\n\n"

    def handler(request: Request, /) -> Response:
        return Response(headers=[(b"content-type", b"text/event-stream")], body=events())

    await gateway.use(sites=[site("/api/", await upstreams.start(handler))])
    async with gateway.client() as client, client.stream("GET", "/api/events") as answer:
        parts = answer.aiter_raw()
        assert await anext(parts) == b"data: 1\n\n"  # the second is not written before this has been seen
        go_on.set()
        assert await anext(parts) == b"data: 2\n\n"
        assert [part async for part in parts] == []


async def test_a_client_that_leaves_a_stream_ends_it_upstream(gateway: Gateway, upstreams: Upstreams):
    ended = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        try:
            yield b"data: 1\n\n"
            await asyncio.Event().wait()
        finally:
            ended.set()

    await gateway.use(sites=[site("/api/", await upstreams.start(lambda request: Response(body=events())))])
    async with gateway.client() as client, client.stream("GET", "/api/events") as answer:
        await anext(answer.aiter_raw())
    await asyncio.wait_for(ended.wait(), 10)


async def test_a_hundred_megabytes_stream_up_and_down_in_flat_memory(gateway: Gateway, upstreams: Upstreams):
    block, blocks = b"x" * 1_048_576, 100
    digest = hashlib.sha256()

    async def sink(request: Request, /) -> Response:
        assert request.stream is not None
        async for part in request.stream:
            digest.update(part)

        async def down() -> AsyncIterator[bytes]:
            for _ in range(blocks):
                yield block

        return Response(headers=[(b"content-length", b"%d" % (blocks * len(block)))], body=down())

    async def up() -> AsyncIterator[bytes]:
        for _ in range(blocks):
            yield block

    await gateway.use(sites=[site("/api/", await upstreams.start(sink, stream_bodies=True))])
    before = _peak_bytes(gateway.process.pid)
    received = 0
    async with gateway.client() as client, client.stream("PUT", "/api/upload", content=up()) as answer:
        assert answer.status_code == 200
        async for part in answer.aiter_raw():
            received += len(part)
    assert received == blocks * len(block)
    assert digest.hexdigest() == hashlib.sha256(block * blocks).hexdigest()
    assert _peak_bytes(gateway.process.pid) - before < 16 * 1_048_576


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


async def test_an_answer_that_comes_before_the_upload_is_over_reaches_the_client(
    gateway: Gateway, upstreams: Upstreams
):
    def refuse(request: Request, /) -> Response:
        return Response(403, body=b"no")

    await gateway.use(sites=[site("/api/", await upstreams.start(refuse, stream_bodies=True))])
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.ports["api"])
    writer.write(b"PUT /api/x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nbegin")
    assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 403")
    writer.close()


async def test_a_websocket_becomes_a_tunnel(gateway: Gateway, upstreams: Upstreams):
    async def talk(tunnel: Tunnel) -> None:
        async for data in tunnel.incoming:
            await tunnel.writer.write(b"echo " + data)

    def handler(request: Request, /) -> Response:
        if not request.upgrade:
            return Response(400, body=b"no upgrade")
        accept = request.header(b"sec-websocket-key") + b"!"
        headers = [(b"upgrade", b"websocket"), (b"connection", b"upgrade"), (b"sec-websocket-accept", accept)]
        return Response(101, headers, tunnel=talk)

    await gateway.use(sites=[site("/api/", await upstreams.start(handler))])
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.ports["api"])
    head = (
        b"GET /api/ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\n"
    )
    writer.write(head + b"early")
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols")
    assert b"sec-websocket-accept: k!" in answer
    assert b"connection: upgrade" in answer
    assert await asyncio.wait_for(reader.readexactly(10), 10) == b"echo early"
    writer.write(b"\x81\x00GET / HTTP/1.1\r\n\r\n")
    assert await asyncio.wait_for(reader.readexactly(25), 10) == b"echo \x81\x00GET / HTTP/1.1\r\n\r\n"
    writer.close()


async def test_an_upgrade_to_anything_but_a_websocket_is_an_ordinary_request(gateway: Gateway, upstreams: Upstreams):
    await gateway.use(sites=[site("/api/", await upstreams.start(echo))])
    request = b"GET /api/%d HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    answers = await gateway.raw(request % 1 + request % 2)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert b'"/api/2"' in answers
    assert b"h2c" not in answers


async def test_a_request_is_held_while_its_upstream_restarts(gateway: Gateway, upstreams: Upstreams):
    server = await upstreams.start(lambda request: Response(body=b"old"), name="site.sock")
    await gateway.use(sites=[site("/api/", server, hold_s=10.0)])
    async with gateway.client() as client:
        assert (await client.get("/api/")).text == "old"
        await server.drain(0)
        asked = [asyncio.create_task(client.post("/api/", content=b"x")) for _ in range(5)]
        done, _ = await asyncio.wait(asked, timeout=0.3)
        assert not done
        await upstreams.start(lambda request: Response(body=b"new"), name="site.sock")
        assert [(await each).text for each in asked] == ["new"] * 5


async def test_an_upstream_that_stays_away_is_503_with_retry_after(gateway: Gateway, folder: Path):
    await gateway.use(sites=[site("/api/", f"unix:{folder}/none.sock", hold_s=0.2)])
    async with gateway.client() as client:
        answer = await client.get("/api/")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "there is no such socket" in answer.json()["detail"]


class ControlPlane:
    """The part of the control plane that the gateway asks."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.cache_s = 5.0

    def __call__(self, request: Request, /) -> Response:
        if not request.path.startswith("/internal/"):
            return echo(request)
        said = json.loads(request.body)
        self.asked.append(said)
        if request.path == "/internal/exchange":
            known = said == {"code": "once", "listener": "second"}
            return _json(200, {"session": "s1", "redirect": "/mlflow/"}) if known else _json(403, {})
        known = {"t1": "mlflow", "run": "mlflow", "of a silent plane": "mlflow", "s1": "session"}
        if known.get(said["token"]) != said["purpose"]:
            return _json(403 if said["token"] == "narrow" else 401, {"detail": "no"})
        wanted = said.get("workspace", "default")
        if wanted not in ("default", "vision"):
            return _json(403, {"detail": f"not of {wanted}.", "hint": "Name another."})
        of_run = {"run": "r" * 32, "reach": wanted} if said["token"] == "run" else {"run": None, "reach": "*"}
        right = {} if said["token"] == "of a silent plane" else {"right": "work"}
        return _json(200, {"workspace": wanted, "subject": "ada", "cache_s": self.cache_s, **of_run, **right})


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(status, [(b"content-type", b"application/json")], json.dumps(body).encode())


async def use_mlflow(gateway: Gateway, upstreams: Upstreams, plane: ControlPlane) -> Any:
    server = await upstreams.start(plane)
    allow = ["/mlflow/api/2.0/mlflow/"]
    same: dict[str, Any] = {
        "workspace_header": "x-mlflow-workspace",
        "run_header": "x-ultramarine-run",
        "reach_header": "x-ultramarine-reach",
        "right_header": "x-ultramarine-right",
    }
    await gateway.use(
        authorizer=str(server.addresses[0]),
        sites=[
            site("/mlflow/", server, authorize="workspace", allow=allow, **same),
            site("/mlflow/", server, authorize="cookie", listener="second", **same),
        ],
    )
    return server


RUNS = "/mlflow/api/2.0/mlflow/runs/search"


async def test_a_token_is_exchanged_for_its_workspace_and_is_not_forwarded(gateway: Gateway, upstreams: Upstreams):
    plane = ControlPlane()
    await use_mlflow(gateway, upstreams, plane)
    async with gateway.client(headers={"authorization": "Bearer t1"}) as client:
        answers = [await client.post(RUNS) for _ in range(3)]
        closed = await client.get("/mlflow/graphql")
    seen = dict(answers[0].json()["headers"])
    assert seen["x-mlflow-workspace"] == "default"
    assert "authorization" not in seen
    assert len(plane.asked) == 1  # the yes is remembered
    assert closed.status_code == 403
    assert "/mlflow/api/2.0/mlflow/" in closed.json()["hint"]


async def test_a_client_chooses_among_the_workspaces_that_its_token_is_good_for(gateway: Gateway, upstreams: Upstreams):
    plane = ControlPlane()
    await use_mlflow(gateway, upstreams, plane)
    async with gateway.client(headers={"authorization": "Bearer t1"}) as client:
        wanted = ("vision", "default", "vision", "other")
        answers = [await client.post(RUNS, headers={"x-mlflow-workspace": name}) for name in wanted]
    seen = [dict(answer.json()["headers"]) for answer in answers[:3]]
    assert [headers["x-mlflow-workspace"] for headers in seen] == ["vision", "default", "vision"]
    assert [headers["x-ultramarine-reach"] for headers in seen] == ["*", "*", "*"]
    assert answers[3].status_code == 403
    assert answers[3].json()["detail"] == "not of other."
    assert answers[3].json()["hint"] == "Name another."
    assert [said["workspace"] for said in plane.asked] == ["vision", "default", "other"]  # a yes is for one workspace
    async with gateway.client("second", headers={"cookie": "ultramarine=s1", "sec-fetch-site": "same-origin"}) as pages:
        chosen = [
            await pages.get("/mlflow/x", headers={"x-mlflow-workspace": name}) for name in ("vision", "other", "")
        ]
    assert [answer.status_code for answer in chosen] == [200, 403, 200]
    assert dict(chosen[0].json()["headers"])["x-mlflow-workspace"] == "vision"
    assert dict(chosen[2].json()["headers"])["x-mlflow-workspace"] == "default"


async def test_whose_run_a_token_is_of_and_what_it_may_is_said_by_the_control_plane_and_never_by_the_client(
    gateway: Gateway, upstreams: Upstreams
):
    await use_mlflow(gateway, upstreams, ControlPlane())
    claimed = {"x-ultramarine-run": "f" * 32, "x-ultramarine-reach": "*", "x-ultramarine-right": "work"}
    async with gateway.client(headers=claimed) as client:
        who = ("run", "t1", "of a silent plane")
        answers = [await client.post(RUNS, headers={"authorization": f"Bearer {token}"}) for token in who]
    of_run, of_person, unsaid = [dict(answer.json()["headers"]) for answer in answers]
    assert (of_run["x-ultramarine-run"], of_run["x-ultramarine-reach"]) == ("r" * 32, "default")
    assert "x-ultramarine-run" not in of_person
    assert [each["x-ultramarine-right"] for each in (of_run, of_person, unsaid)] == ["work", "work", "read"]


async def test_no_token_and_unknown_ones_are_401_and_narrow_ones_403(gateway: Gateway, upstreams: Upstreams):
    await use_mlflow(gateway, upstreams, ControlPlane())
    async with gateway.client() as client:
        seen = [
            (await client.post(RUNS, headers=headers)).status_code
            for headers in (
                {},
                {"authorization": "Bearer x"},
                {"authorization": "Bearer narrow"},
                {"authorization": "Basic x"},
            )
        ]
    assert seen == [401, 401, 403, 401]


async def test_a_silent_control_plane_opens_nothing_once_the_yes_is_too_old(gateway: Gateway, upstreams: Upstreams):
    plane = ControlPlane()
    plane.cache_s = 0.4
    server = await use_mlflow(gateway, upstreams, plane)
    mlflow = await upstreams.start(echo)
    authorizer = str(server.addresses[0])
    await gateway.use(authorizer=authorizer, sites=[site("/mlflow/", mlflow, authorize="workspace")])
    async with gateway.client(headers={"authorization": "Bearer t1"}) as client:
        assert (await client.post(RUNS)).status_code == 200
        await server.drain(0)
        assert (await client.post(RUNS)).status_code == 200

        async def is_refused() -> bool:
            return (await client.post(RUNS)).status_code == 503

        await until(is_refused)


async def test_a_one_time_link_signs_a_browser_in_and_its_cookie_is_not_forwarded(
    gateway: Gateway, upstreams: Upstreams
):
    await use_mlflow(gateway, upstreams, ControlPlane())
    async with gateway.client("second") as client:
        assert (await client.get("/mlflow/")).status_code == 401
        assert (await client.get("/login?code=wrong")).status_code == 403
        answer = await client.get("/login?code=once")
        assert (answer.status_code, answer.headers["location"]) == (303, "/mlflow/")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("ultramarine=s1;")
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        page = await client.get("/mlflow/")
        linked = await client.get("/login?code=once", headers={"sec-fetch-site": "cross-site"})
    seen = dict(page.json()["headers"])
    assert seen["x-mlflow-workspace"] == "default"
    assert "cookie" not in seen
    assert (linked.status_code, "url=/mlflow/" in linked.text) == (200, True)
    async with gateway.client() as api:
        assert (await api.get("/login?code=once")).status_code == 404


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"sec-fetch-site": "same-origin"}, 200),
        ("POST", {"sec-fetch-site": "same-site"}, 403),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ("POST", {}, 403),
        ("POST", {"origin": "http://here"}, 200),
        ("POST", {"origin": "http://there"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"origin": "http://there", "sec-fetch-site": "same-origin"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ("GET", {"connection": "upgrade", "upgrade": "websocket"}, 403),
        ("GET", {"connection": "upgrade", "upgrade": "websocket", "origin": "http://there"}, 403),
        ("GET", {"connection": "upgrade", "upgrade": "websocket", "origin": "http://here"}, 200),
    ],
)
async def test_a_cookie_does_not_speak_for_pages_of_other_origins(
    gateway: Gateway, upstreams: Upstreams, method: str, headers: dict[str, str], status: int
):
    await use_mlflow(gateway, upstreams, ControlPlane())
    async with gateway.client("second", headers={"cookie": "ultramarine=s1", "host": "here", **headers}) as client:
        assert (await client.request(method, "/mlflow/ajax-api/x")).status_code == status


async def test_no_upstream_may_set_the_gateways_cookie(gateway: Gateway, upstreams: Upstreams):
    headers = [(b"set-cookie", b"ultramarine=stolen"), (b"set-cookie", b"other=1")]
    await gateway.use(sites=[site("/api/", await upstreams.start(lambda request: Response(200, headers)))])
    async with gateway.client() as client:
        answer = await client.get("/api/")
    assert answer.headers.get_list("set-cookie") == ["other=1"]


async def test_head_gives_the_length_and_no_body(gateway: Gateway, upstreams: Upstreams):
    await gateway.use(sites=[site("/api/", await upstreams.start(lambda request: Response(body=b"12345")))])
    async with gateway.client() as client:
        for _ in range(2):
            answer = await client.head("/api/x")
            assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "5", b"")
        assert (await client.get("/api/x")).text == "12345"


async def test_a_body_that_breaks_off_upstream_breaks_off_at_the_client(gateway: Gateway, folder: Path):
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(talk, folder / "bad.sock")
    await gateway.use(sites=[site("/api/", f"unix:{folder}/bad.sock")])
    answer = await gateway.raw(b"GET /api/ HTTP/1.1\r\nhost: a\r\n\r\n")
    assert b"abc" in answer
    assert not answer.endswith(b"0\r\n\r\n")  # nobody may take the part for the whole
    server.close()


async def test_a_server_that_ends_its_body_by_closing_is_understood(gateway: Gateway, folder: Path):
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nwhole")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(talk, folder / "old.sock")
    await gateway.use(sites=[site("/api/", f"unix:{folder}/old.sock")])
    async with gateway.client() as client:
        assert (await client.get("/api/")).text == "whole"
    server.close()
