"""Several workers of one gateway: what a killed one costs, and that it comes back."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from tests.e2e.load import Load

from .running import KEY, Gateway, Upstreams, endpoint, until

COUNT = 3
RATE = 50.0  #: requests a second: few, and each may wait, so that a busy machine refuses none
ENDPOINT = "default/cancer"


@contextlib.asynccontextmanager
async def loaded(gateway: Gateway) -> AsyncGenerator[Load, None]:
    """A load whose requests are answered in this loop, so that it is not to stand still while the load ends."""
    uri = f"http://127.0.0.1:{gateway.ports['api']}/endpoints/{ENDPOINT}/score"
    made = Load(uri=uri, key=KEY, body=b"[]", rate=RATE)
    made.__enter__()
    try:
        yield made
    finally:
        await asyncio.to_thread(made.__exit__, None, None, None)


async def pids(gateway: Gateway) -> dict[int, int]:
    """Of those that answer and reach every replica, by worker."""
    found: dict[int, int] = {}
    for worker in range(gateway.workers):
        with contextlib.suppress(Exception):  # it is not there, or ends while it is asked
            status = await gateway.status(worker=worker)
            if all(replica["state"] == "up" for replica in status["replicas"].values()):
                found[worker] = status["pid"]
    return found


async def test_a_killed_worker_costs_what_it_had_in_hand_and_comes_back(folder: Path, upstreams: Upstreams):
    gateway = Gateway(folder, workers=COUNT)
    gateway.start()
    try:
        replicas = [await upstreams.replica() for _ in range(2)]
        patient = endpoint({"blue": replicas}, max_concurrent=64, queue_wait_s=20.0, request_timeout_s=20.0)
        await gateway.use(endpoints={ENDPOINT: patient})
        before = await pids(gateway)
        assert len(set(before.values())) == COUNT
        async with loaded(gateway) as load:
            await until(lambda: len(load.answers) > RATE, within_s=30)
            for victim in (0, COUNT - 1):
                await killed_and_back(gateway, load, victim)
    finally:
        gateway.stop()
    print(load.told())


async def killed_and_back(gateway: Gateway, load: Load, worker: int) -> None:
    before = await pids(gateway)
    killed = time.monotonic()
    os.kill(before[worker], signal.SIGKILL)
    others = {each: pid for each, pid in before.items() if each != worker}

    async def is_back() -> bool:
        now = await pids(gateway)
        return len(now) == COUNT and now[worker] != before[worker]

    await until(is_back, within_s=30)
    back = time.monotonic()
    await until(lambda: len(load.since(back)) > RATE, within_s=30)
    now = await pids(gateway)
    assert {each: now.get(each) for each in others} == others, "the others are those of before"
    meanwhile = [answer for answer in load.since(killed) if answer.at < back]
    print(f"{len(meanwhile)} requests in {back - killed:.2f} s, failed: {[a for a in meanwhile if a.status != 200]}")
    assert [answer for answer in meanwhile if answer.status == 200], "the others go on"
    assert not [answer for answer in load.failed if answer.at >= back], load.told()
