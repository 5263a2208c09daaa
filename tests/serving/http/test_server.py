"""The server: what it answers, in which order, and what it does not let in."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest

from ultramarine_serving.http.server import Limits, Request, Response, problem

from .conftest import Serving
from .talking import tell, until

LAST = b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


async def test_requests_of_one_connection_are_answered_in_order_even_if_the_first_is_slow(serving: Serving):
    async def handler(request: Request, /) -> Response:
        if request.path == "/slow":
            await asyncio.sleep(0.05)
        return tell(request)

    talk = await serving(handler)
    answer = await talk.say(
        b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n" + b"POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi" + LAST
    )
    assert re.findall(rb"(?:GET|POST) /\w+", answer) == [b"GET /slow", b"POST /2", b"GET /last"]
    assert answer.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("is_sync", [True, False])
async def test_a_thousand_pipelined_requests_are_all_answered(serving: Serving, is_sync: bool):
    async def later(request: Request, /) -> Response:
        return tell(request)

    talk = await serving(tell if is_sync else later)
    answer = await talk.say(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 999 + LAST)
    assert answer.count(b"HTTP/1.1 200 OK") == 1000


async def test_a_request_in_single_bytes_is_understood(serving: Serving):
    talk = await serving(tell)
    reader, writer = await talk.open()
    data = b"POST /a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    data += b"3;x=y\r\nabc\r\n0\r\nT: t\r\n\r\n"
    for i in range(len(data)):
        writer.write(data[i : i + 1])
        await asyncio.sleep(0)
    answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.endswith(b"POST /a?b abc")
    writer.close()


async def test_headers_are_lower_case_and_found_by_name(serving: Serving):
    def handler(request: Request, /) -> Response:
        assert request.header(b"x-none", b"none") == b"none"
        return Response(body=request.header(b"x-mixed"))

    talk = await serving(handler)
    answer = await talk.say(b"GET / HTTP/1.1\r\nHost: a\r\nX-MiXed: Value\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nValue")
    assert b"\r\ndate: " in answer


@pytest.mark.parametrize(
    ("request_line_and_headers", "status"),
    [
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n", 501),
        (b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nhost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nhost: a\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nexpect: tea\r\n\r\n", 417),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\x00\xff\xfe garbage \r\n\r\n", 400),
        (b"what is this\r\n\r\n", 400),
    ],
)
async def test_what_proxies_read_differently_is_refused_and_the_connection_closed(
    serving: Serving, request_line_and_headers: bytes, status: int
):
    calls: list[str] = []

    def handler(request: Request, /) -> Response:
        calls.append(request.target)
        return Response()

    talk = await serving(handler)
    answer = await talk.say(request_line_and_headers + b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in answer
    assert b'"hint": "' in answer
    assert len(re.findall(rb"HTTP/1\.1 \d{3} ", answer)) == 1
    assert calls == []


async def test_what_was_asked_before_the_garbage_is_still_answered(serving: Serving):
    async def handler(request: Request, /) -> Response:
        await asyncio.sleep(0.01)
        return tell(request)

    talk = await serving(handler)
    answer = await talk.say(b"GET /good HTTP/1.1\r\nhost: a\r\n\r\n\x00garbage\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"HTTP/1.1 400 Bad Request" in answer


@pytest.mark.parametrize("framing", [b"content-length: 11\r\n\r\n", b"transfer-encoding: chunked\r\n\r\nb\r\n"])
async def test_a_body_over_the_limit_is_413_and_the_client_gets_to_read_it(serving: Serving, framing: bytes):
    talk = await serving(tell, limits=Limits(body_max_bytes=10))
    answer = await talk.say(b"POST / HTTP/1.1\r\nhost: a\r\n" + framing + b"x" * 500_000)
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nhost: a\r\n", b"a: b\r\n" * 100),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nt: ", b"a" * 1000),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 5000 + b"\r\n\r\n", b""),
    ],
)
async def test_headers_trailers_and_chunk_extensions_over_the_limit_are_431(
    serving: Serving, begin: bytes, more: bytes
):
    talk = await serving(tell, limits=Limits(header_max_bytes=2000))
    reader, writer = await talk.open()
    writer.write(begin)
    answering = asyncio.create_task(reader.read())
    for _ in range(1000):
        if answering.done():
            break
        writer.write(more)
        await asyncio.sleep(0.001)
    assert (await asyncio.wait_for(answering, 10)).startswith(b"HTTP/1.1 431 ")
    writer.close()


async def test_headers_over_the_limit_are_431_behind_other_requests_of_the_same_packet_too(serving: Serving):
    talk = await serving(tell, limits=Limits(header_max_bytes=2000))
    good = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    answers = await talk.say(good * 2 + good[:-2] + b"x: " + b"a" * 3000 + b"\r\n\r\n")
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answers) == [b"200", b"200", b"431"]


SHORT = Limits(header_timeout_s=0.2, body_timeout_s=0.2, idle_timeout_s=0.2, write_timeout_s=0.2)


async def test_headers_that_trickle_are_408_however_many_bytes_come(serving: Serving):
    talk = await serving(tell, limits=SHORT)
    reader, writer = await talk.open()

    async def trickle() -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    writer.write(b"GET / HTTP/1.1\r\nx: ")
    trickling = asyncio.create_task(trickle())
    answer = await asyncio.wait_for(reader.read(), 5)
    trickling.cancel()
    assert answer.startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize("stream_bodies", [True, False])
async def test_a_body_that_stalls_is_408(serving: Serving, stream_bodies: bool):
    async def handler(request: Request, /) -> Response:
        return Response(body=await request.stream.read_all(100) if request.stream else b"")

    talk = await serving(handler, limits=SHORT, stream_bodies=stream_bodies)
    answer = await talk.say(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_trickles_is_408_however_steadily(serving: Serving):
    limits = Limits(body_timeout_s=0.3, body_rate_min=1000)
    talk = await serving(tell, limits=limits)
    reader, writer = await talk.open()
    writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10000\r\n\r\n")
    answer = asyncio.ensure_future(reader.read())
    while not answer.done():
        writer.write(b"x")
        await asyncio.sleep(0.01)
    assert (await answer).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_body_that_is_fast_enough_may_last_longer_than_a_silence(serving: Serving):
    talk = await serving(tell, limits=Limits(body_timeout_s=0.2, body_rate_min=1000))
    reader, writer = await talk.open()
    writer.write(b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 8000\r\n\r\n")
    for _ in range(40):
        writer.write(b"x" * 200)
        await asyncio.sleep(0.01)
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()


@pytest.mark.parametrize("chunk", [b"+5\r\nabcde\r\n", b"3\r\nabcde\r\n", b"5\nabcde\r\n"])
async def test_a_body_that_makes_no_sense_is_400_at_once_even_if_it_came_with_its_headers(
    serving: Serving, chunk: bytes
):
    async def handler(request: Request, /) -> Response:
        return Response(body=await request.stream.read_all(100) if request.stream else b"")

    talk = await serving(handler, stream_bodies=True)
    head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await talk.say(head + chunk + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_an_idle_connection_is_closed_without_a_word(serving: Serving):
    talk = await serving(tell, limits=SHORT)
    assert await talk.say(b"") == b""


async def test_a_client_that_does_not_read_its_answer_is_cut_off(serving: Serving):
    talk = await serving(lambda request: Response(body=b"x" * 10_000_000), limits=SHORT)
    _, writer = await talk.open()
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await until(lambda: talk.server.connections == 1)
    await until(lambda: talk.server.connections == 0)
    writer.close()


async def test_a_handler_is_cancelled_when_its_client_goes(serving: Serving):
    inside, cancelled = asyncio.Event(), asyncio.Event()
    seen: list[Request] = []

    async def handler(request: Request, /) -> Response:
        seen.append(request)
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Response()

    talk = await serving(handler)
    _, writer = await talk.open()
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await inside.wait()
    assert not seen[0].client_gone
    writer.close()
    await asyncio.wait_for(cancelled.wait(), 10)
    assert seen[0].client_gone


async def test_an_iterator_is_sent_in_chunks_and_closed(serving: Serving):
    closed: list[bool] = []

    async def parts() -> AsyncIterator[bytes]:
        try:
            for part in (b"ab", b"", b"cde"):
                yield part
        finally:
            closed.append(True)

    talk = await serving(lambda request: Response(body=parts()))
    answer = await talk.say(LAST)
    assert b"transfer-encoding: chunked" in answer
    assert answer.endswith(b"\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
    old = await talk.say(b"GET / HTTP/1.0\r\n\r\n")
    assert b"transfer-encoding" not in old
    assert old.endswith(b"\r\n\r\nabcde")
    assert closed == [True, True]


async def test_an_iterator_that_fails_breaks_off_the_answer(serving: Serving):
    async def parts() -> AsyncIterator[bytes]:
        yield b"ab"
        raise RuntimeError("a fault")

    talk = await serving(lambda request: Response(body=parts()))
    reader, writer = await talk.open()
    writer.write(LAST)
    assert await reader.readuntil(b"2\r\nab\r\n")
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


@pytest.mark.parametrize("is_sync", [True, False])
async def test_a_handler_that_fails_is_500_and_says_nothing_of_its_insides(serving: Serving, is_sync: bool):
    def now(request: Request, /) -> Response:
        raise RuntimeError("secret")

    async def later(request: Request, /) -> Response:
        raise RuntimeError("secret")

    talk = await serving(now if is_sync else later)
    answer = await talk.say(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" + LAST)
    assert answer.count(b"HTTP/1.1 500 Internal Server Error") == 2
    assert b"secret" not in answer


async def test_a_header_cannot_smuggle_another(serving: Serving):
    talk = await serving(lambda request: Response(headers=[(b"x", b"a\r\nset-cookie: b")]))
    answer = await talk.say(LAST)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in answer


async def test_http_1_0_is_closed_after_the_answer_unless_it_asks_otherwise(serving: Serving):
    talk = await serving(tell)
    assert b"connection: close" in await talk.say(b"GET / HTTP/1.0\r\n\r\n")
    kept = await talk.say(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n" + LAST)
    assert kept.count(b"HTTP/1.1 200 OK") == 2
    assert b"connection: keep-alive" in kept


async def test_head_and_204_have_no_body(serving: Serving):
    talk = await serving(lambda request: Response(204 if request.path == "/204" else 200, body=b"body"))
    answer = await talk.say(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\nGET /204 HTTP/1.1\r\nhost: a\r\n\r\n" + LAST)
    first, second, third = answer.split(b"HTTP/1.1 ")[1:]
    assert b"content-length: 4" in first
    assert first.endswith(b"\r\n\r\n")
    assert b"content-length" not in second
    assert third.endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize("stream_bodies", [True, False])
async def test_who_expects_100_continue_gets_it_before_the_body(serving: Serving, stream_bodies: bool):
    async def handler(request: Request, /) -> Response:
        return Response(body=await request.stream.read_all(100) if request.stream else request.body)

    talk = await serving(handler, stream_bodies=stream_bodies)
    reader, writer = await talk.open()
    writer.write(
        b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n"
    )
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hi")
    assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"\r\n\r\nhi")
    writer.close()


@pytest.mark.parametrize(("first", "later", "is_whole"), [(b"hi", b"", True), (b"", b"hi", False), (b"h", b"i", False)])
async def test_where_bodies_are_streamed_one_that_came_with_its_headers_is_whole(
    serving: Serving, first: bytes, later: bytes, is_whole: bool
):
    seen = asyncio.Event()

    async def handler(request: Request, /) -> Response:
        seen.set()
        assert (request.stream is None) == is_whole
        return Response(body=await request.stream.read_all(100) if request.stream else request.body)

    talk = await serving(handler, stream_bodies=True)
    reader, writer = await talk.open()
    writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\n" + first)
    await asyncio.wait_for(seen.wait(), 10)
    writer.write(later)
    assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"\r\n\r\nhi")
    writer.close()


async def test_a_slow_handler_slows_its_client(serving: Serving):
    go_on = asyncio.Event()

    async def handler(request: Request, /) -> Response:
        await go_on.wait()
        assert request.stream is not None
        buffered = request.stream.buffered
        total = len(await request.stream.read_all(10_000_000))
        return Response(body=f"{buffered < 2_000_000} {total}".encode())

    talk = await serving(handler, limits=Limits(buffer_max_bytes=65_536), stream_bodies=True)
    reader, writer = await talk.open()
    writer.write(
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000000\r\nconnection: close\r\n\r\n" + b"x" * 5_000_000
    )
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(writer.drain(), 0.1)
    go_on.set()
    assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"True 5000000")
    writer.close()


async def test_draining_ends_idle_connections_at_once_and_waits_for_the_others(serving: Serving):
    go_on, inside = asyncio.Event(), asyncio.Event()

    async def handler(request: Request, /) -> Response:
        inside.set()
        await go_on.wait()
        return tell(request)

    talk = await serving(handler)
    idle_reader, idle_writer = await talk.open()
    reader, writer = await talk.open()
    writer.write(b"GET /busy HTTP/1.1\r\nhost: a\r\n\r\n")
    await inside.wait()
    draining = asyncio.create_task(talk.server.drain(10))
    assert await asyncio.wait_for(idle_reader.read(), 10) == b""
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        await talk.open()
    go_on.set()
    assert b"connection: close" in await asyncio.wait_for(reader.read(), 10)
    await asyncio.wait_for(draining, 10)
    writer.close()
    idle_writer.close()


async def test_what_outlasts_the_grace_is_cut_off(serving: Serving):
    async def handler(request: Request, /) -> Response:
        await asyncio.Event().wait()
        return Response()

    talk = await serving(handler)
    reader, writer = await talk.open()
    writer.write(LAST)
    await until(lambda: talk.server.connections == 1)
    await asyncio.wait_for(talk.server.drain(0.05), 10)
    assert talk.server.connections == 0
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_more_connections_than_allowed_are_closed(serving: Serving):
    talk = await serving(tell, limits=Limits(connections_max=1))
    _, first = await talk.open()
    await until(lambda: talk.server.connections == 1)
    second_reader, second = await talk.open()
    assert await asyncio.wait_for(second_reader.read(), 10) == b""
    first.close()
    second.close()


def test_a_problem_says_what_happened_and_what_to_do():
    made = problem(429, "Too many", "There are 3.", hint="Wait.", headers=[(b"retry-after", b"1")])
    assert made.status == 429
    assert b'"hint": "Wait."' in made.body if isinstance(made.body, bytes) else False
    assert (b"content-type", b"application/problem+json") in list(made.headers)
