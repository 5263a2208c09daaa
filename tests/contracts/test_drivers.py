"""What every driver promises; held to `simulated`, to `local` with real processes, and to `ray` with a real Ray.

The local runners' control plane is a folder with no socket in it: they go on saying hello for as long as they live,
which is all that a driver's contract asks of a runner.
"""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.contracts.ray_cluster import RayCluster
from tests.factories import NOON, make_allocation

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.names import AllocationKey
from ultramarine.drivers import pyz
from ultramarine.drivers.local import LocalDriver
from ultramarine.drivers.local.driver import KEY_VARIABLE
from ultramarine.drivers.protocol import Driver, Joining
from ultramarine.drivers.ray import RayDriver
from ultramarine.drivers.simulated import Faults, Outage, SimulatedDriver, SimulatedTarget

KEY = make_allocation(1).key
NEVER_MADE = make_allocation(9).key


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A driver; `another`: one more over the same target, as after a restart; `runners`: what lives of one."""

    driver: Driver
    another: Callable[[], Driver]
    runners: Callable[[AllocationKey], list[int]]
    kill: Callable[[AllocationKey], None]


def simulated(_: Path) -> Made:
    target = SimulatedTarget(lambda: NOON, Random(1))

    def runners(key: AllocationKey) -> list[int]:
        return [1 for machine in target.alive() if machine.key == key]

    return Made(
        driver=SimulatedDriver(target),
        another=lambda: SimulatedDriver(target),
        runners=runners,
        kill=target.kill,
    )


def runner_config(folder: Path, allocation: Allocation, rank: int) -> dict[str, Any]:
    return {
        "url": f"unix:{folder / 'nobody.sock'}",
        "allocation": allocation.key,
        "rank": rank,
        "epoch": "e1",
        "join_secret": "s",
        "cache": str(folder / "cache"),
        "cpus": 1.0,
        "memory_bytes": 1 << 30,
        "gpus": [],
        "uv": None,
    }


def local(folder: Path, *, lease_s: float = 300) -> Made:
    def config(allocation: Allocation, rank: int) -> dict[str, Any]:
        return runner_config(folder, allocation, rank)

    def make() -> LocalDriver:
        return LocalDriver(
            folder / "nodes", pyz=packed, joining=Joining(config=config, wake=lambda: None, lease_s=lease_s)
        )

    def kill(key: AllocationKey) -> None:
        # The runner itself: while there is nobody to say hello to, it does not see that its keeper has died.
        os.kill(json.loads((folder / "nodes" / key / "process.json").read_text())["pid"], signal.SIGKILL)

    packed = pyz.build(folder / "tools")
    return Made(driver=make(), another=make, runners=lambda key: pyz.carriers(KEY_VARIABLE, key), kill=kill)


def ray(ray_cluster: RayCluster, *, lease_s: float = 300) -> Made:
    """Two engines, as two servers have them, over one cluster."""

    def config(allocation: Allocation, rank: int) -> dict[str, Any]:
        return runner_config(ray_cluster.folder, allocation, rank)

    def make(number: int) -> RayDriver:
        joining = Joining(config=config, wake=lambda: None, lease_s=lease_s)
        return RayDriver(ray_cluster.sockets[number], pyz=packed, joining=joining)

    def kill(key: AllocationKey) -> None:
        os.kill(runner_of(key), signal.SIGKILL)

    packed = pyz.build(ray_cluster.folder / "tools")
    return Made(driver=make(0), another=lambda: make(1), runners=lambda key: pyz.carriers(KEY_VARIABLE, key), kill=kill)


def runner_of(key: AllocationKey) -> int:
    """The first of an allocation's processes: all others come from it."""
    carriers = pyz.carriers(KEY_VARIABLE, key)
    (runner,) = [pid for pid in carriers if parent_of(pid) not in carriers]
    return runner


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(
    params=[simulated, local, pytest.param("ray", marks=pytest.mark.slow)], ids=["simulated", "local", "ray"]
)
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Made]:
    given: Made = ray(request.getfixturevalue("ray_cluster")) if request.param == "ray" else request.param(tmp_path)
    yield given
    for key in (KEY, NEVER_MADE):
        await given.driver.release(key, grace_s=5)
        await state_of(given, key, "ended")
        await given.driver.forget(key)


async def state_of(made: Made, key: AllocationKey, wanted: str | None, driver: Driver | None = None) -> None:
    """Wait until an allocation is observed so (None: not at all), for 20 s at most."""
    deadline = time.monotonic() + 20
    while True:
        news = (await (driver or made.driver).observe()).get(key)
        seen = None if news is None else news.state
        if seen == wanted:
            return
        assert time.monotonic() < deadline, f"it is {seen}, not {wanted}"
        await asyncio.sleep(0.02)


async def none_lives(made: Made, key: AllocationKey) -> None:
    deadline = time.monotonic() + 20
    while made.runners(key):
        assert time.monotonic() < deadline, "its processes live on"
        await asyncio.sleep(0.02)


async def test_what_was_never_made_is_not_observed(made: Made) -> None:
    await state_of(made, KEY, None)


async def test_an_allocation_comes_up_with_one_runner_however_often_it_is_asked_for(made: Made) -> None:
    allocation = make_allocation(1)
    for _ in range(3):
        await made.driver.allocate(allocation)
    await made.another().allocate(allocation)
    await state_of(made, KEY, "up")
    await state_of(made, KEY, "up", made.another())
    main = made.runners(KEY)
    await made.driver.allocate(allocation)
    assert set(main) <= set(made.runners(KEY)) or len(made.runners(KEY)) == 1


async def test_released_it_has_ended_with_all_its_processes_and_stays_so(made: Made) -> None:
    await made.driver.allocate(make_allocation(1))
    await state_of(made, KEY, "up")
    await made.driver.release(KEY, grace_s=5)
    await state_of(made, KEY, "ended")
    await none_lives(made, KEY)
    await made.driver.release(KEY, grace_s=5)
    await made.driver.allocate(make_allocation(1))
    await state_of(made, KEY, "ended")
    assert made.runners(KEY) == []


async def test_release_of_one_never_made_marks_it_so_that_it_never_begins(made: Made) -> None:
    await made.driver.release(NEVER_MADE, grace_s=1)
    await state_of(made, NEVER_MADE, "ended")
    await made.driver.allocate(make_allocation(9))
    await state_of(made, NEVER_MADE, "ended")
    assert made.runners(NEVER_MADE) == []


async def test_a_runner_that_is_killed_is_observed_as_ended_and_nothing_of_it_lives(made: Made) -> None:
    await made.driver.allocate(make_allocation(1))
    await state_of(made, KEY, "up")
    made.kill(KEY)
    await state_of(made, KEY, "ended")
    await none_lives(made, KEY)


async def test_forgotten_it_is_not_observed_any_more(made: Made) -> None:
    await made.driver.allocate(make_allocation(1))
    await made.driver.release(KEY, grace_s=5)
    await state_of(made, KEY, "ended")
    for _ in range(2):
        await made.driver.forget(KEY)
        await state_of(made, KEY, None)


async def test_another_driver_takes_over_what_the_first_has_made(made: Made) -> None:
    await made.driver.allocate(make_allocation(1))
    successor = made.another()
    await state_of(made, KEY, "up", successor)
    await successor.release(KEY, grace_s=5)
    await state_of(made, KEY, "ended", successor)
    await none_lives(made, KEY)
    await state_of(made, KEY, "ended")


async def test_one_that_does_not_end_when_it_is_asked_is_made_to(made: Made) -> None:
    await made.driver.allocate(make_allocation(1))
    await state_of(made, KEY, "up")
    for pid in made.runners(KEY) if made.driver.kind != "simulated" else ():
        os.kill(pid, signal.SIGSTOP)  # it hears nothing any more
    await made.driver.release(KEY, grace_s=0.3)
    await state_of(made, KEY, "ended")
    await none_lives(made, KEY)


@pytest.mark.parametrize("kind", ["local", pytest.param("ray", marks=pytest.mark.slow)])
async def test_a_runner_that_stands_still_for_longer_than_its_lease_is_ended_and_one_that_goes_on_is_not(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    lease_s = 2
    if kind == "ray":
        made = ray(request.getfixturevalue("ray_cluster"), lease_s=lease_s)
    else:
        made = local(tmp_path, lease_s=lease_s)
    allocation = make_allocation(7)
    driver, key = made.driver, allocation.key
    await driver.allocate(allocation)
    await state_of(made, key, "up")
    runner = runner_of(key)
    os.kill(runner, signal.SIGSTOP)
    await state_of(made, key, "up")
    os.kill(runner, signal.SIGCONT)
    await state_of(made, key, "up")
    os.kill(runner, signal.SIGSTOP)
    await state_of(made, key, "ended")
    assert "longer than its lease" in (await driver.observe())[key].reason
    await none_lives(made, key)
    await driver.forget(key)


async def test_on_a_full_disk_a_runner_that_has_ended_is_seen_and_gives_back_what_it_has_left(tmp_path: Path) -> None:
    with small_disk(tmp_path / "nodes"):
        made = local(tmp_path)
        for number in (1, 2):
            await made.driver.allocate(make_allocation(number))
        other = make_allocation(2).key
        for key in (KEY, other):
            await state_of(made, key, "up")
        (left := tmp_path / "nodes" / KEY / "runs" / "e1-j1-1").mkdir(parents=True, exist_ok=True)
        fill(left / "checkpoint")
        made.kill(KEY)
        await state_of(made, KEY, "ended")
        await state_of(made, other, "up")
        await none_lives(made, KEY)
        fill(tmp_path / "nodes" / "of-nobody-here")
        made.kill(other)
        await state_of(made, other, "unknown")
        assert (await made.driver.observe())[KEY].state == "ended", "what can be told is told"
        (tmp_path / "nodes" / "of-nobody-here").unlink()
        await state_of(made, other, "ended")


@contextmanager
def small_disk(folder: Path) -> Generator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(file: Path) -> None:
    """To the last byte of the disk."""
    with suppress(OSError), file.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass


@pytest.mark.parametrize(("faults", "is_done"), [(Faults(outage=1), False), (Faults(lost_reply=1), True)])
async def test_the_simulated_target_fails_as_real_ones_do(faults: Faults, is_done: bool) -> None:
    target = SimulatedTarget(lambda: NOON, Random(1))
    target.faults = faults
    with pytest.raises(Outage):
        await SimulatedDriver(target).allocate(make_allocation(1))
    assert bool(target.launches) is is_done
