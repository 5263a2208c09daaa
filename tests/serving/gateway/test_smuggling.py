"""Requests that two parsers could read differently, and headers that hold more than one: nothing of them gets through.

What a replica gets is looked at byte by byte: it must be exactly the requests that the client was answered for.
"""

import asyncio
import re

import pytest

from .running import Gateway, endpoint

SCORE = b"/endpoints/default/cancer/score"
KEY = b"host: a\r\nauthorization: Bearer the-key\r\n"
SMUGGLED = b"GET /admin HTTP/1.1\r\nhost: b\r\n\r\n"


class RawReplica:
    """Keeps all bytes; answers each head that it sees as `answer` says."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") -> None:
        self.got = b""
        self._answer = answer

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if data.startswith(b"GET / HTTP"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            else:
                self.got += data
                writer.write(self._answer)
        writer.close()


async def send(gateway: Gateway, replica: RawReplica, data: bytes) -> bytes:
    """What the gateway answers to these bytes."""
    path = gateway.folder / f"raw-{id(replica)}.sock"
    server = await asyncio.start_unix_server(replica, path)
    await gateway.use(endpoints={"default/cancer": endpoint({"blue": [f"unix:{path}"]})})
    answers = await gateway.raw(data)
    server.close()
    await gateway.use()
    return answers


def post(headers: bytes, body: bytes = b"") -> bytes:
    return b"POST " + SCORE + b" HTTP/1.1\r\n" + KEY + headers + b"\r\n" + body


REFUSED = {
    "CL.TE": post(b"content-length: 6\r\ntransfer-encoding: chunked\r\n", b"0\r\n\r\nG"),
    "TE.CL": post(b"transfer-encoding: chunked\r\ncontent-length: 4\r\n", b"5c\r\n" + SMUGGLED + b"0\r\n\r\n"),
    "TE twice": post(b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
    "TE twice, one unknown": post(b"transfer-encoding: chunked\r\ntransfer-encoding: x\r\n", b"0\r\n\r\n" + SMUGGLED),
    "TE in a list": post(b"transfer-encoding: identity, chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
    "TE unknown": post(b"transfer-encoding: xchunked\r\n", b"0\r\n\r\n" + SMUGGLED),
    "TE with a tab": post(b"transfer-encoding:\tchunked, identity\r\n", b"0\r\n\r\n" + SMUGGLED),
    "TE with a space before the colon": post(b"transfer-encoding : chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
    "CL twice": post(b"content-length: 5\r\ncontent-length: 5\r\n", b"12345"),
    "CL twice, different": post(b"content-length: 0\r\ncontent-length: 44\r\n", SMUGGLED),
    "CL in a list": post(b"content-length: 5, 5\r\n", b"12345"),
    "CL with a sign": post(b"content-length: +5\r\n", b"12345"),
    "CL negative": post(b"content-length: -1\r\n", SMUGGLED),
    "CL in hexadecimal": post(b"content-length: 0x5\r\n", b"12345"),
    "CL too large for anything": post(b"content-length: 99999999999999999999999\r\n", b"12345"),
    "CL with a space before the colon": post(b"content-length : 5\r\n", b"12345"),
    "obs-fold": post(b"x-a: b\r\n content-length: 44\r\n", SMUGGLED),
    "obs-fold of TE": post(b"transfer-encoding:\r\n chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
    "bare LF between headers": post(b"x-a: b\ntransfer-encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
    "bare LF at the end of the head": b"POST " + SCORE + b" HTTP/1.1\n" + KEY.replace(b"\r", b"") + b"\n" + SMUGGLED,
    "bare CR in a header": post(b"x-a: b\rtransfer-encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
    "NUL in a header": post(b"x-a: b\0c\r\n"),
    "a space in a name": post(b"x a: b\r\n"),
    "no colon": post(b"transfer-encoding\r\n"),
    "an empty name": post(b": chunked\r\n"),
    "chunk size with a sign": post(b"transfer-encoding: chunked\r\n", b"+5\r\n12345\r\n0\r\n\r\n"),
    "chunk size in 0x": post(b"transfer-encoding: chunked\r\n", b"0x5\r\n12345\r\n0\r\n\r\n"),
    "chunk size too large": post(b"transfer-encoding: chunked\r\n", b"f" * 17 + b"\r\n12345\r\n0\r\n\r\n"),
    "chunk longer than it says": post(b"transfer-encoding: chunked\r\n", b"5\r\n123456\r\n0\r\n\r\n"),
    "bare LF after a chunk size": post(b"transfer-encoding: chunked\r\n", b"5\n12345\r\n0\r\n\r\n"),
    "bare LF after a chunk": post(b"transfer-encoding: chunked\r\n", b"5\r\n12345\n0\r\n\r\n"),
    "bare LF in a chunk extension": post(b"transfer-encoding: chunked\r\n", b"5;a\nb\r\n12345\r\n0\r\n\r\n"),
    "endless chunk extension": post(b"transfer-encoding: chunked\r\n", b"5;a=" + b"b" * 100_000 + b"\r\n12345\r\n"),
    "TE with HTTP/1.0": post(b"transfer-encoding: chunked\r\n", b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "HTTP/1.1 without host": post(b"").replace(b"host: a\r\n", b"", 1),
    "host twice": post(b"host: b\r\n"),
    "an absolute target": post(b"").replace(SCORE, b"http://internal" + SCORE, 1),
    "a space in the target": post(b"").replace(SCORE, SCORE + b" x", 1),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT internal:80 HTTP/1.1\r\nhost: internal\r\n\r\n" + SMUGGLED,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
async def test_what_could_be_read_differently_is_refused_and_nothing_of_it_smuggled(gateway: Gateway, data: bytes):
    replica = RawReplica()
    answers = await send(gateway, replica, data + post(b"content-length: 0\r\n"))
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answers)[-1:] != [b"200"]
    assert b"HTTP/1.1 4" in answers or b"HTTP/1.1 5" in answers
    assert b"/admin" not in replica.got
    assert b"200 OK" not in answers


async def test_chunks_and_their_extensions_end_at_the_gateway(gateway: Gateway):
    replica = RawReplica()
    body = b"3;a=b\r\n[1,\r\n2;x\r\n2]\r\n0;end\r\ntrailer: evil\r\nauthorization: other\r\n\r\n"
    answers = await send(gateway, replica, post(b"transfer-encoding: chunked\r\n", body))
    assert answers.startswith(b"HTTP/1.1 200 ")
    head, _, sent = replica.got.partition(b"\r\n\r\n")
    assert sent == b"[1,2]"
    assert b"content-length: 5" in head
    for word in (b"transfer-encoding", b"trailer", b"a=b", b"authorization"):
        assert word not in head


async def test_what_looks_like_a_request_in_a_body_is_a_body(gateway: Gateway):
    replica = RawReplica()
    length = b"content-length: %d\r\n" % len(SMUGGLED)
    answers = await send(gateway, replica, post(length, SMUGGLED))
    assert answers.count(b"HTTP/1.1 ") == 1
    assert replica.got.endswith(b"\r\n\r\n" + SMUGGLED)
    assert b"content-length: %d\r\n" % len(SMUGGLED) in replica.got + b"\r\n"


async def test_headers_for_the_next_hop_and_those_that_we_say_do_not_pass(gateway: Gateway):
    replica = RawReplica()
    said = (
        b"connection: x-secret, close\r\nx-secret: 1\r\nkeep-alive: 5\r\nte: trailers\r\nupgrade: h2c\r\n"
        b"proxy-authorization: Basic x\r\nx-forwarded-for: 10.0.0.1\r\nforwarded: for=10.0.0.1\r\n"
        b"x-forwarded-host: evil\r\nx-forwarded-proto: https\r\nx-request-id: a b\r\ncookie: ultramarine=x\r\n"
        b"azureml-model-deployment: blue\r\nx-ultramarine-mirrored: true\r\nx-scale-up-timeout: 1\r\n"
        b"x-ultramarine-timeout-ms: 1\r\n"
    )
    answers = await send(gateway, replica, post(said + b"content-length: 0\r\n"))
    assert answers.startswith(b"HTTP/1.1 200 ")
    lines = replica.got.lower().split(b"\r\n")
    names = [line.partition(b":")[0] for line in lines[1:] if line]
    ours = [b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"traceparent", b"x-ultramarine-timeout-ms"]
    assert sorted(names) == sorted([b"host", b"content-length", *ours])
    assert b"x-ultramarine-timeout-ms: 1" not in lines
    assert b"x-forwarded-for: 127.0.0.1" in lines
    assert b"x-forwarded-proto: http" in lines


EVIL = {
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nx-a: b\r\n set-cookie: ultramarine=x\r\ncontent-length: 2\r\n\r\nok",
    "bare LF": b"HTTP/1.1 200 OK\nset-cookie: a=b\ncontent-length: 2\n\nok",
    "NUL": b"HTTP/1.1 200 OK\r\nx-a: b\0\r\ncontent-length: 2\r\n\r\nok",
    "no HTTP": b"\x16\x03\x01 hello\r\n\r\n",
}


@pytest.mark.parametrize("answer", EVIL.values(), ids=EVIL)
async def test_an_answer_that_could_be_read_differently_is_502(gateway: Gateway, answer: bytes):
    answers = await send(gateway, RawReplica(answer), post(b"content-length: 0\r\n"))
    assert answers.startswith(b"HTTP/1.1 502 ")
    assert b"set-cookie" not in answers


async def test_a_second_answer_is_not_taken_for_that_of_the_next_request(gateway: Gateway):
    good, evil = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
    replica = RawReplica(good + evil)
    answers = await send(gateway, replica, post(b"content-length: 0\r\n") * 2)
    assert b"evil" not in answers
