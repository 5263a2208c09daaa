"""The engine of the driver for Ray: what it says of a cluster that is full, and that it may be killed."""

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.ray_cluster import RayCluster, beside_a_head, engines, with_another_head
from tests.contracts.test_drivers import parent_of, runner_config, runner_of
from tests.factories import cpus, make_allocation

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.names import AllocationKey
from ultramarine.domain.size import Amount
from ultramarine.drivers import pyz
from ultramarine.drivers.local.driver import KEY_VARIABLE
from ultramarine.drivers.protocol import Joining
from ultramarine.drivers.ray import EngineSettings, RayDriver, keep
from ultramarine.planning.seen import AllocationNews

pytestmark = pytest.mark.slow
WITHIN_S = 180.0  #: an engine may be stuck for 20 s, and those after it not be taken at once
SECRET = "not-to-be-seen"


@pytest.fixture
async def kept(ray_cluster: RayCluster) -> AsyncIterator[RayDriver]:
    async with kept_on(ray_cluster) as driver:
        yield driver


@contextlib.asynccontextmanager
async def kept_on(ray: RayCluster) -> AsyncGenerator[RayDriver]:
    """A driver whose engine is kept running as the control plane does it. In the end nothing is left."""
    settings = EngineSettings(
        address=ray.address,
        token=ray.folder / "token",
        namespace="um-kept",
        socket=ray.folder / "kept.sock",
        environments=ray.python.parents[2],
    )
    keeping = asyncio.create_task(keep(settings))

    def config(allocation: Allocation, rank: int) -> dict[str, Any]:
        more = {"join_secret": SECRET, "gpus": list(allocation.gpu_ids)}
        return runner_config(ray.folder, allocation, rank) | more

    joining = Joining(config=config, wake=lambda: None)
    driver = RayDriver(settings.socket, pyz=pyz.build(ray.folder / "tools"), joining=joining)
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


async def test_an_engine_whose_own_node_went_with_the_head_is_replaced_and_sees_what_ends_afterwards(
    ray_cluster: RayCluster,
) -> None:
    allocation = make_allocation(17)
    with beside_a_head(ray_cluster.python.parents[2]) as ray:
        async with kept_on(ray) as driver:
            await observed(driver)
            await driver.allocate(allocation)
            await until(driver, allocation.key, "up")
            actor = parent_of(runner_of(allocation.key))
            with with_another_head(ray):
                os.kill(actor, signal.SIGKILL)
                assert "actor" in (await until(driver, allocation.key, "ended")).reason
                await driver.forget(allocation.key)


async def test_what_ray_has_no_node_for_is_pending_with_what_is_missing(kept: RayDriver) -> None:
    allocation = replace(make_allocation(4), capacity=cpus(64))
    await observed(kept)
    await kept.allocate(allocation)
    said = await says(kept, allocation.key, "Ray has no node with 64 CPUs, ")
    assert "free or not: the most that one has is 2 CPUs, 4.0 GiB." in said


async def test_what_ray_has_no_room_for_is_pending_with_what_is_in_use(kept: RayDriver) -> None:
    both = [replace(make_allocation(number), capacity=cpus(2)) for number in (10, 11)]
    await observed(kept)
    for allocation in both:
        await kept.allocate(allocation)
        await until(kept, allocation.key, "up")
    third = replace(make_allocation(12), capacity=cpus(2))
    await kept.allocate(third)
    await says(kept, third.key, "free now: 2 of its nodes have it, in use.")
    await kept.release(both[0].key, grace_s=1)
    await until(kept, third.key, "up")


async def says(driver: RayDriver, key: AllocationKey, words: str) -> str:
    """What it says when it says these words."""
    deadline = time.monotonic() + WITHIN_S
    while words not in (said := (await until(driver, key, "pending")).reason):
        assert time.monotonic() < deadline, said
        await asyncio.sleep(0.1)
    return said


async def test_a_runner_has_the_gpus_that_ray_gave_it(kept: RayDriver) -> None:
    capacity = Amount(cpus_milli=500, memory_bytes=1 << 28, gpus=2)
    pair = [replace(make_allocation(n), capacity=capacity, gpu_ids=("#0", "#1")) for n in (13, 14)]
    await observed(kept)
    for allocation in pair:
        await kept.allocate(allocation)
        await until(kept, allocation.key, "up")
    given = [json.loads((files_of(each.key) / "config.json").read_text())["gpus"] for each in pair]
    assert sorted(given[0] + given[1]) == ["0", "1", "2", "3"]


async def test_of_an_actor_that_is_killed_no_process_and_no_file_is_left_though_its_runner_dies_at_once(
    kept: RayDriver,
) -> None:
    allocation = make_allocation(15)
    await observed(kept)
    await kept.allocate(allocation)
    await until(kept, allocation.key, "up")
    files, runner = files_of(allocation.key), runner_of(allocation.key)
    actor = parent_of(runner)
    escaped = await asyncio.create_subprocess_exec("sleep", "1000", env={KEY_VARIABLE: allocation.key})
    for pid in (actor, runner, *pyz.carriers(KEY_VARIABLE, allocation.key)):
        if pid != escaped.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert "actor" in (await until(kept, allocation.key, "ended")).reason
    assert await escaped.wait() == -signal.SIGKILL, "its end is told when nothing of it lives"
    assert not files.exists()


async def test_what_is_released_leaves_no_file_on_its_node(kept: RayDriver) -> None:
    allocation = make_allocation(16)
    await observed(kept)
    await kept.allocate(allocation)
    await until(kept, allocation.key, "up")
    files = files_of(allocation.key)
    assert files.is_dir()
    await kept.release(allocation.key, grace_s=1)
    await until(kept, allocation.key, "ended")
    assert not files.exists()


def files_of(key: AllocationKey) -> Path:
    (found,) = Path(tempfile.gettempdir()).glob(f"ultramarine-{key}-*")
    return found


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
