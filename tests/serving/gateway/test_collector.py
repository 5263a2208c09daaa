"""What is left to Python's garbage collector."""

import asyncio
import gc
import json
import subprocess
import sys

from ultramarine_serving.gateway.inference import Inference
from ultramarine_serving.gateway.table import parse

from .running import KEY, Upstreams, endpoint, until

MANY = 200
REQUEST = f"POST /endpoints/default/cancer/score HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n".encode()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(REQUEST + b"content-length: 2\r\n\r\n[]")
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(b"ok"))
    return head.split(b" ", 2)[1]


async def test_a_request_leaves_nothing_that_only_the_collector_frees(upstreams: Upstreams):
    inference = Inference(worker=0, workers=1)
    address = await upstreams.replica()
    table = {"format": 3, "version": 1, "endpoints": {"default/cancer": endpoint({"blue": [address]})}}
    inference.update(parse(json.dumps(table).encode()), authorizer=None)
    await until(lambda: inference.replicas["blue-0"].is_up)
    server = await upstreams.start(inference.answer, stream_bodies=True)
    reader, writer = await asyncio.open_unix_connection(server.addresses[0].path)
    assert await ask(reader, writer) == b"200"
    gc.collect()
    gc.disable()
    try:
        assert [await ask(reader, writer) for _ in range(MANY)] == [b"200"] * MANY
        assert gc.collect() < MANY, "each request left some"
    finally:
        gc.enable()
    writer.close()


def test_what_was_imported_is_not_looked_through_again():
    code = "import gc; from ultramarine_serving.gateway import collector; collector.settle(); "
    code += "print(gc.get_freeze_count() > 1000, gc.get_threshold()[0] > 10_000)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "True"]
