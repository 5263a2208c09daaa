"""`kill -9` of each part at a random moment while ten jobs run: each ends once, no line is lost, none comes twice.

`ULTRAMARINE_KILLS` rounds of each (3; `make kill`: 20). A seed that fails is repeated by ULTRAMARINE_KILLS_SEED.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import dice
from .installation import FINAL, Installation, carriers, end, environment_of, installed, is_alive, leftovers, until

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(60 + 60 * dice.ROUNDS)]
JOBS, LINES, PAUSE_S = 10, 100, 0.02
MOMENT_S = 3.0  #: within so long after the first job's creation
rounds = pytest.mark.parametrize("number", range(1, dice.ROUNDS + 1))


@pytest.fixture(scope="module")
def it(cache: Path) -> Iterator[Installation]:
    with installed(cache) as made:
        made.up()
        made.pid("mlflow", within_s=300)
        made.cluster(nodes=JOBS)
        ten_jobs(made, "first", lambda: None)
        yield made


def ten_jobs(it: Installation, name: str, during: Callable[[], None]) -> list[str]:
    """Ten jobs that are created and run while `during` is done, to their ends; their names."""
    names = [f"{name}-{index}" for index in range(JOBS)]
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            during()
        except BaseException as error:  # said where the test is
            failed.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        for each in names:
            it.count(each, LINES, pause_s=PAUSE_S, metric_each=20)
    finally:
        thread.join()
    if failed:
        raise failed[0]
    for each in names:
        it.comes_to(each, "Completed")
    for each in names:
        is_accounted_for(it, each)
    no_run_is_left(it)
    return names


def is_accounted_for(it: Installation, name: str) -> None:
    job = it.job(name)
    whole = "".join(f"line {number}\n" for number in range(LINES))
    attempts = range(1, job["attempt"] + 1)
    assert it.endings(name) == [*("Failed" for _ in attempts[:-1]), "Completed"], name
    for attempt in attempts[:-1]:
        assert whole.startswith(it.log(name, attempt)), f"{name}, attempt {attempt}: {it.log(name, attempt)}"
    assert it.log(name, job["attempt"]) == whole, f"{name}, attempt {job['attempt']}"
    assert it.numbers(name) == list(range(LINES))
    starts = {key: count for key, count in it.starts().items() if f"-{job['id']}-" in key}
    assert set(starts.values()) == {1}, f"{name}: {starts}"
    assert f"{it.epoch}-{job['id']}-{job['attempt']}" in starts


def is_running_again(it: Installation, name: str) -> bool:
    job = it.job(name)
    return job["status"] in FINAL or (job["attempt"] > 1 and job["status"] == "Running")


def no_run_is_left(it: Installation) -> None:
    """All jobs have ended: nothing may carry the key of a run."""
    left = [pid for pid, _ in leftovers(it.home, it.epoch) if _carries_a_run(pid)]
    assert not left, left


def _carries_a_run(pid: int) -> bool:
    return "ULTRAMARINE_RUN_KEY" in environment_of(pid)


def wait_for_the_moment(chance: random.Random) -> None:
    time.sleep(chance.uniform(0, MOMENT_S))  # not for anything: the moment of the kill is what is diced


def kill(pid: int) -> float:
    end(pid)
    return time.monotonic()


@rounds
@pytest.mark.parametrize("part", ["control", "mlflow", "gateway"])
def test_a_killed_part_is_started_again_and_no_job_notices(it: Installation, part: str, number: int):
    chance = dice.of(part, number)
    took: list[float] = []

    def strike() -> None:
        wait_for_the_moment(chance)
        before = it.pid(part)
        killed_at = kill(before)
        it.pid(part, but=before)
        took.append(time.monotonic() - killed_at)

    names = ten_jobs(it, f"{part}-{number}", strike)
    assert {it.job(name)["attempt"] for name in names} == {1}
    dice.survived(part, recovered_s=took[0])


@rounds
@pytest.mark.parametrize("half", ["link", "keeper", "both"])
def test_a_job_whose_runner_is_killed_runs_again_elsewhere(it: Installation, half: str, number: int):
    what = {"link": "runner: link", "keeper": "runner: keeper", "both": "runner: both"}[half]
    chance = dice.of(what, number)
    took: list[float] = []
    struck: list[str] = []

    def strike() -> None:
        name = f"{half}-{number}-{chance.randrange(JOBS)}"
        job = it.comes_to(name, "Preparing", "Running", "Finalizing", "Completed")
        node = job["nodes"][0]
        link, keeper = it.runner(node)
        wait_for_the_moment(chance)
        killed_at = time.monotonic()
        for pid in {"link": [link], "keeper": [keeper], "both": [link, keeper]}[half]:
            kill(pid)
        allocation = node.rpartition(".")[0]
        until(lambda: not carriers(f"ULTRAMARINE_ALLOCATION={allocation}"), f"{allocation} is swept")
        until(lambda: is_running_again(it, name), f"{name} runs again")
        took.append(time.monotonic() - killed_at)
        struck.append(name)

    names = ten_jobs(it, f"{half}-{number}", strike)
    assert {it.job(name)["attempt"] for name in names if name not in struck} == {1}
    assert it.job(struck[0])["attempt"] in (1, 2)  # 1: it had just ended
    dice.survived(what, recovered_s=took[0])


@rounds
def test_after_the_supervisor_is_killed_the_next_takes_over(it: Installation, number: int):
    chance = dice.of("um up", number)
    took: list[float] = []

    def strike() -> None:
        wait_for_the_moment(chance)
        parts = [it.pid(part) for part in ("gateway", "control", "mlflow")]
        kill(it.supervisor())
        until(lambda: not any(is_alive(pid) for pid in parts), "its parts end with it")
        again_at = time.monotonic()
        it.up()
        took.append(time.monotonic() - again_at)
        it.pid("mlflow")

    names = ten_jobs(it, f"up-{number}", strike)
    assert {it.job(name)["attempt"] for name in names} == {1}
    dice.survived("um up", recovered_s=took[0])
