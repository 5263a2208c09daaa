"""The engine of the driver for Ray: what it says of a cluster that is full, and that it may be killed."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.ray_cluster import RayCluster, engines
from tests.contracts.test_drivers import runner_config, runner_of
from tests.factories import cpus, make_allocation

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.names import AllocationKey
from ultramarine.drivers import pyz
from ultramarine.drivers.local.driver import KEY_VARIABLE
from ultramarine.drivers.protocol import Joining
from ultramarine.drivers.ray import EngineSettings, RayDriver, keep
from ultramarine.planning.seen import AllocationNews

pytestmark = pytest.mark.slow
WITHIN_S = 60.0
SECRET = "not-to-be-seen"


@pytest.fixture
async def kept(ray_cluster: RayCluster) -> AsyncIterator[RayDriver]:
    """A driver whose engine is kept running as the control plane does it."""
    settings = EngineSettings(
        address=ray_cluster.address,
        token=ray_cluster.folder / "token",
        namespace="um-kept",
        socket=ray_cluster.folder / "kept.sock",
        environments=ray_cluster.python.parents[2],
    )
    keeping = asyncio.create_task(keep(settings))

    def config(allocation: Allocation, rank: int) -> dict[str, Any]:
        return runner_config(ray_cluster.folder, allocation, rank) | {"join_secret": SECRET}

    joining = Joining(config=config, wake=lambda: None)
    driver = RayDriver(settings.socket, pyz=pyz.build(ray_cluster.folder / "tools"), joining=joining)
    yield driver
    for key in await observed(driver):
        await driver.release(key, grace_s=1)
        await until(driver, key, "ended")
        await driver.forget(key)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert engines(settings.socket) == []


async def observed(driver: RayDriver) -> dict[AllocationKey, AllocationNews]:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            return dict(await driver.observe())
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


async def until(driver: RayDriver, key: AllocationKey, state: str) -> AllocationNews:
    deadline = time.monotonic() + WITHIN_S
    while True:
        news = (await observed(driver)).get(key)
        if news is not None and news.state == state:
            return news
        assert time.monotonic() < deadline, f"{news}, not {state}"
        await asyncio.sleep(0.05)


async def test_killed_it_is_started_again_and_finds_what_it_has_made_while_the_runner_goes_on(
    kept: RayDriver, ray_cluster: RayCluster
) -> None:
    allocation = make_allocation(3)
    await observed(kept)
    await kept.allocate(allocation)
    await until(kept, allocation.key, "up")
    before = runner_of(allocation.key)
    (engine,) = engines(ray_cluster.folder / "kept.sock")
    os.kill(engine, signal.SIGKILL)
    await until(kept, allocation.key, "up")
    assert engines(ray_cluster.folder / "kept.sock") != [engine]
    assert runner_of(allocation.key) == before


async def test_what_the_cluster_has_no_node_for_is_pending_with_rays_reason(kept: RayDriver) -> None:
    allocation = replace(make_allocation(4), capacity=cpus(64))
    await observed(kept)
    await kept.allocate(allocation)
    deadline = time.monotonic() + WITHIN_S
    while "free or not" not in (await until(kept, allocation.key, "pending")).reason:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_nothing_of_rays_and_no_secret_reaches_a_runners_environment_or_arguments(kept: RayDriver) -> None:
    allocation = make_allocation(5)
    await observed(kept)
    await kept.allocate(allocation)
    await until(kept, allocation.key, "up")
    carriers = pyz.carriers(KEY_VARIABLE, allocation.key)
    assert carriers
    for pid in carriers:
        environment, command = shown(pid, "environ"), shown(pid, "cmdline")
        assert [each for each in environment if each.startswith(b"RAY_")] == []
        assert [each for each in [*environment, *command] if SECRET.encode() in each] == []


def shown(pid: int, what: str) -> list[bytes]:
    return Path(f"/proc/{pid}/{what}").read_bytes().split(b"\0")
