"""More ways to a model: the Open Inference Protocol, MLflow's, streams, websockets, traces."""

import asyncio
import json
import re

import pytest

from ultramarine_serving.http.server import Request, Response
from ultramarine_serving.http.tunnel import Tunnel

from .running import AUTHORIZED, Gateway, Upstreams, echo, endpoint, until

ENDPOINT = "/endpoints/default/cancer"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


async def use(gateway: Gateway, upstreams: Upstreams, handler: object, **different: object) -> None:
    replicas = {"blue": [str((await upstreams.start(handler)).addresses[0])]}  # pyright: ignore[reportArgumentType]
    await gateway.use(endpoints={"default/cancer": endpoint(replicas, **different)})


@pytest.mark.parametrize(
    "path",
    [
        *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/cancer", "/v2/models/cancer/ready"),
        *("/v2/models/cancer/versions/3/infer", "/v2/models/a%20b/infer", "/invocations", "/swagger.json"),
    ],
)
async def test_a_path_of_a_protocol_goes_to_the_replica_as_it_is(gateway: Gateway, upstreams: Upstreams, path: str):
    await use(gateway, upstreams, echo)
    async with gateway.client() as client:
        assert (await client.post(ENDPOINT + path)).status_code == 401
        answer = await client.post(f"{ENDPOINT}{path}?a=b", content=b"[]", headers=AUTHORIZED)
    assert answer.json()["target"] == f"{path}?a=b"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/v2/models/../../health", 400),
        (b"/v2/models/%2e%2e/%2e%2e/health", 400),
        (b"/v2/models/a/..%2f..", 400),
        (b"/v2/repository/models/cancer/unload", 404),
        (b"/v2x", 404),
        (b"/v2/", 404),
        (b"/health/ready", 404),
        (b"/invocations/", 404),
    ],
)
async def test_nothing_else_of_a_replica_is_open(gateway: Gateway, upstreams: Upstreams, path: bytes, status: int):
    await use(gateway, upstreams, echo)
    request = b"GET " + ENDPOINT.encode() + path + b" HTTP/1.1\r\nhost: a\r\nauthorization: Bearer the-key\r\n\r\n"
    assert (await gateway.raw(request)).startswith(b"HTTP/1.1 %d " % status)


async def test_binary_tensors_pass_as_they_are(gateway: Gateway, upstreams: Upstreams):
    body = b'{"inputs": []}' + bytes(range(256)) * 300

    def handler(request: Request, /) -> Response:
        if request.path == "/":
            return Response()
        length = request.header(b"inference-header-content-length")
        return Response(headers=[(b"inference-header-content-length", length)], body=request.body)

    await use(gateway, upstreams, handler)
    async with gateway.client(headers=AUTHORIZED) as client:
        said = {"inference-header-content-length": "14", "content-type": "application/octet-stream"}
        answer = await client.post(f"{ENDPOINT}/v2/models/cancer/infer", content=body, headers=said)
    assert answer.content == body
    assert answer.headers["inference-header-content-length"] == "14"


async def test_a_streamed_answer_arrives_piece_by_piece_and_holds_its_place(gateway: Gateway, upstreams: Upstreams):
    go_on = asyncio.Event()

    class Pieces:
        def __init__(self) -> None:
            self.left = [b"one", b"two"]

        def __aiter__(self) -> "Pieces":
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            if len(self.left) == 1:
                await go_on.wait()
            return self.left.pop(0)

    def handler(request: Request, /) -> Response:
        return Response() if request.path == "/" else Response(body=Pieces())

    await use(gateway, upstreams, handler)

    async def in_flight(many: int) -> bool:
        return (await gateway.status())["endpoints"]["default/cancer"]["in_flight"] == many

    async with gateway.client(headers=AUTHORIZED) as client, client.stream("POST", f"{ENDPOINT}/score") as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"one"
        assert await in_flight(1)
        go_on.set()
        assert await anext(pieces) == b"two"
        assert answer.headers["transfer-encoding"] == "chunked"
    await until(lambda: in_flight(0))


async def test_a_websocket_is_a_tunnel_to_a_replica_and_holds_its_place(gateway: Gateway, upstreams: Upstreams):
    async def talk(tunnel: Tunnel) -> None:
        async for data in tunnel.incoming:
            await tunnel.writer.write(b"echo " + data)

    def handler(request: Request, /) -> Response:
        if not request.upgrade:
            return Response()
        assert not request.header(b"authorization")
        return Response(101, [(b"upgrade", b"websocket"), (b"connection", b"upgrade")], tunnel=talk)

    await use(gateway, upstreams, handler)
    head = f"GET {ENDPOINT}/score HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    assert b" 401 " in await gateway.raw((head + "\r\n").encode())
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.ports["api"])
    writer.write((head + "authorization: Bearer the-key\r\n\r\n").encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert answer.startswith(b"HTTP/1.1 101 ")

    async def in_flight(many: int) -> bool:
        return (await gateway.status())["endpoints"]["default/cancer"]["in_flight"] == many

    writer.write(b"\x81\x00")
    assert await asyncio.wait_for(reader.readexactly(7), 10) == b"echo \x81\x00"
    assert await in_flight(1)
    writer.close()
    await until(lambda: in_flight(0))


async def traced(gateway: Gateway, headers: list[tuple[str, str]]) -> dict[str, list[str]]:
    async with gateway.client() as client:
        answer = await client.post(f"{ENDPOINT}/score", headers=[*AUTHORIZED.items(), *headers])
    found: dict[str, list[str]] = {"traceparent": [], "tracestate": [], "x-request-id": []}
    for name, value in json.loads(answer.text)["headers"]:
        if name in found:
            found[name].append(value)
    return found


async def test_a_trace_of_the_clients_goes_on_and_another_begins_here(gateway: Gateway, upstreams: Upstreams):
    await use(gateway, upstreams, echo)
    seen = await traced(gateway, [("traceparent", TRACE), ("tracestate", "a=b")])
    assert (seen["traceparent"], seen["tracestate"]) == ([TRACE], ["a=b"])
    begun = await traced(gateway, [])
    (parent,) = begun["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", parent)
    assert parent[3:35] == begun["x-request-id"][0]  # found by the id that the client was told


@pytest.mark.parametrize(
    "headers",
    [
        [("traceparent", "00-" + "0" * 32 + "-b7ad6b7169203331-00")],
        [("traceparent", TRACE.upper())],
        [("traceparent", TRACE + "-more")],
        [("traceparent", "ff" + TRACE[2:])],
        [("traceparent", TRACE), ("traceparent", TRACE)],
        [("tracestate", "a=b")],
    ],
)
async def test_a_trace_that_is_none_is_replaced(gateway: Gateway, upstreams: Upstreams, headers: list[tuple[str, str]]):
    await use(gateway, upstreams, echo)
    seen = await traced(gateway, headers)
    assert seen["tracestate"] == []
    assert len(seen["traceparent"]) == 1
    assert seen["traceparent"][0] not in [value for _, value in headers]
