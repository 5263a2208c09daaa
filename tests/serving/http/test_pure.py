"""Addresses, weights, paths, shares: no I/O but for long socket paths."""

import asyncio
import collections
import contextlib
import itertools
import tempfile
from pathlib import Path

import pytest

from ultramarine_serving.gateway.paths import is_ambiguous, is_internal
from ultramarine_serving.gateway.weights import SmoothWeights
from ultramarine_serving.http.client import Pool
from ultramarine_serving.http.server import Address, Response, serve
from ultramarine_serving.http.wire import end_to_end
from ultramarine_serving.shares import share

from .talking import until


@pytest.mark.parametrize("text", ["unix:/run/a.sock", "127.0.0.1:80", "[::1]:8080", "localhost:0"])
def test_an_address_is_written_as_it_is_read(text: str):
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["unix:", "", "host", "host:", ":80", "host:70000", "host:-1", "host:x"])
def test_what_is_no_address_is_refused_by_name(text: str):
    with pytest.raises(ValueError, match="Address"):
        Address.parse(text)


async def test_a_socket_path_longer_than_the_kernel_takes_is_served_and_reached():
    with tempfile.TemporaryDirectory() as folder:
        deep = Path(folder) / ("d" * 100) / ("e" * 100)
        deep.mkdir(parents=True)
        address = Address(path=str(deep / "long.sock"))
        server = await serve(lambda request: Response(body=b"long"), listeners=[address])
        pool = Pool(address, idle_s=1)
        answer = await pool.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert await answer.body.read_all(10) == b"long"
        pool.close()
        await server.drain(0)
        assert not (deep / "long.sock").exists()


async def test_a_server_that_ends_leaves_the_socket_of_its_successor_alone():
    with tempfile.TemporaryDirectory(prefix="ht") as folder:
        address = Address(path=f"{folder}/a.sock")
        first = await serve(lambda request: Response(body=b"first"), listeners=[address])
        second = await serve(lambda request: Response(body=b"second"), listeners=[address])
        await first.drain(0)
        answer = await Pool(address, idle_s=1).ask(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert await answer.body.read_all(10) == b"second"
        await second.drain(0)


def test_weights_are_exact_in_every_hundred_and_evenly_spread():
    weights = SmoothWeights()
    chosen = [weights.choose({"blue": 90, "green": 10}, {"blue", "green"}) for _ in range(300)]
    assert [collections.Counter(chosen[i : i + 100])["green"] for i in (0, 100, 200)] == [10, 10, 10]
    gaps = [i for i, name in enumerate(chosen) if name == "green"]
    assert {b - a for a, b in itertools.pairwise(gaps)} == {10}


def test_what_is_not_usable_or_has_no_weight_is_never_chosen():
    weights = SmoothWeights()
    assert {weights.choose({"a": 1, "b": 99, "c": 0}, {"a", "c"}) for _ in range(10)} == {"a"}
    assert weights.choose({"a": 1}, set()) is None


@pytest.mark.parametrize(("total", "workers"), [(8, 1), (8, 3), (7, 4), (64, 6)])
def test_the_shares_of_the_workers_add_up_to_the_limit(total: int, workers: int):
    assert sum(share(total, i, workers) for i in range(workers)) == total


def test_every_worker_may_do_something():
    assert [share(1, i, 3) for i in range(3)] == [1, 1, 1]
    assert share(0, 0, 3) == 0


def test_plain_paths_are_not_suspected():
    for path in ("/api/v1/jobs", "/api/a..b", "/api/%20x", "/api/.hidden", "/api//x", "/internals", "/api/internal/x"):
        assert not is_ambiguous(path)
        assert not is_internal(path)


def test_hop_by_hop_headers_and_those_named_by_connection_end_here():
    headers = [(b"connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"te", b"trailers"), (b"accept", b"*/*")]
    assert end_to_end(headers) == [(b"accept", b"*/*")]


async def test_an_idle_connection_to_an_upstream_is_used_again_and_closed_when_old():
    opened = closed = 0

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened, closed
        opened += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")
        closed += 1
        writer.close()

    with tempfile.TemporaryDirectory(prefix="ht") as folder:
        server = await asyncio.start_unix_server(upstream, f"{folder}/a.sock")
        pool = Pool(Address(path=f"{folder}/a.sock"), idle_s=0.5)
        for _ in range(3):
            answer = await pool.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert await answer.body.read_all(10) == b"x"
        assert (opened, closed) == (1, 0)
        pool.close_idle(asyncio.get_running_loop().time() + 1)
        await until(lambda: closed == 1)
        server.close()
