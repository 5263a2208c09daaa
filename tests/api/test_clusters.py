"""What is asked of clusters that cannot be, or hurts: each is refused with a way out, or does what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from tests.api.conftest import Api
from tests.factories import NOON

from ultramarine.controllers.runs import RunLoop
from ultramarine.domain.names import NodeKey, RunKey
from ultramarine.domain.run import RunEvent, RunStatus
from ultramarine.drivers.simulated import CALM, Faults, SimulatedDriver, SimulatedTarget
from ultramarine.services import nodes
from ultramarine.services.nodes import JOIN, Hello, Report, Reported
from ultramarine.store import allocations, jobs, runs

W = "/api/v1/workspaces/w"
CLUSTER = {"type": "amlcompute", "size": "cpu-1", "max_instances": 3}


@dataclass(slots=True)
class Fleet:
    """The scheduler's loop over simulated machines, whose runners do as they are told by a test."""

    api: Api
    target: SimulatedTarget
    loop: RunLoop
    now: datetime = NOON

    async def turns(self, count: int = 4, *, after_s: float = 0) -> None:
        self.now += timedelta(seconds=after_s)
        for _ in range(count):
            await self.loop.tick()

    async def say_hello(self) -> None:
        """All runners that have not yet."""
        async with self.api.ctx.read() as tx:
            waiting = [a for a in await allocations.open_ones(tx) if a.status == "Starting"]
        for allocation in waiting:
            said = Hello(
                protocol=1,
                allocation=allocation.key,
                rank=0,
                epoch=self.api.ctx.site.epoch,
                nonce="n" * 16,
                join_secret=self.api.ctx.secrets.of(JOIN, allocation.key),
                machine={},
            )
            await nodes.hello(self.api.ctx, said)
            nodes.report(self.api.ctx, allocation.node, Report(runs={}))

    async def start(self, *names: str) -> None:
        """Bring jobs so far that their ranks run."""
        await self.turns()
        await self.say_hello()
        await self.turns()
        for name in names:
            run = await self.run(name)
            self.report(run.nodes, run.key, "running")
        await self.turns()

    def report(self, where: Sequence[NodeKey], run: RunKey, phase: Any, **more: Any) -> None:
        for node in where:
            nodes.report(self.api.ctx, node, Report(runs={run: Reported(phase=phase, **more)}))

    async def run(self, name: str) -> Any:
        async with self.api.ctx.read() as tx:
            return await runs.newest(tx, (await jobs.get(tx, "w", name)).id)

    async def shown(self, name: str) -> dict[str, Any]:
        return (await self.api.ask("GET", f"{W}/jobs/{name}")).json()


@pytest.fixture
def fleet(api: Api) -> Fleet:
    target = SimulatedTarget(lambda: fleet.now, Random(1))
    target.faults = CALM
    fleet = Fleet(api, target, RunLoop(api.ctx, SimulatedDriver(target), owner="s"))
    object.__setattr__(api.ctx, "clock", lambda: fleet.now)
    return fleet


async def test_a_maximum_below_the_minimum_is_refused_and_changes_nothing(api: Api) -> None:
    made = await api.ask("PUT", f"{W}/computes/c", json=CLUSTER | {"min_instances": 4})
    assert made.status_code == 422
    assert "min_instances is 4, more than max_instances, 3" in made.json()["detail"]
    await api.ask("PUT", f"{W}/computes/c", json=CLUSTER | {"min_instances": 2})
    changed = await api.ask("PATCH", f"{W}/computes/c", json={"max_instances": 1})
    assert changed.status_code == 422
    assert "min_instances is 2, more than max_instances, 1" in changed.json()["detail"]
    assert (await api.ask("GET", f"{W}/computes/c")).json()["max_instances"] == 3


async def test_gpus_that_the_machine_does_not_have_are_refused(api: Api, job: Any) -> None:
    made = await api.ask("PUT", f"{W}/computes/g", json=CLUSTER | {"size": "gpu-1"})
    assert (made.status_code, "GPU" in made.json()["detail"], bool(made.json()["hint"])) == (422, True, True)
    asked = await api.ask("PUT", f"{W}/jobs/j", json=job(resources={"gpus": 1}))
    assert (asked.status_code, "GPU" in asked.json()["detail"], bool(asked.json()["hint"])) == (422, True, True)


async def test_a_job_goes_to_a_node_that_tells_of_its_environment(fleet: Fleet, job: Any) -> None:
    await fleet.api.ask("PUT", f"{W}/computes/c", json=CLUSTER | {"min_instances": 3})
    await fleet.turns()
    await fleet.say_hello()
    async with fleet.api.ctx.read() as tx:
        there = sorted(a.node for a in await allocations.open_ones(tx))
    told: Sequence[Any] = ("nonsense", [None, {}], ["d"])  # the last one has it
    for node, environments in zip(there, told, strict=True):
        nodes.report(fleet.api.ctx, node, Report(runs={}, node={"environments": environments}))
    await fleet.api.ask("PUT", f"{W}/jobs/j", json=job(compute="c"))
    await fleet.turns()
    assert (await fleet.run("j")).nodes == (there[2],)


async def test_shrinking_below_what_runs_ends_nothing_and_takes_nodes_as_they_become_idle(
    fleet: Fleet, job: Any
) -> None:
    await fleet.api.ask("PUT", f"{W}/computes/c", json=CLUSTER)
    for name in ("a", "b"):
        await fleet.api.ask("PUT", f"{W}/jobs/{name}", json=job(compute="c"))
    await fleet.start("a", "b")
    changed = await fleet.api.ask("PATCH", f"{W}/computes/c", json={"max_instances": 1})
    assert changed.status_code == 200
    await fleet.turns()
    assert [(await fleet.shown(name))["status"] for name in ("a", "b")] == ["Running", "Running"]
    await fleet.api.ask("PUT", f"{W}/jobs/next", json=job(compute="c"))
    first = await fleet.run("a")
    fleet.report(first.nodes, first.key, "ended", ended={"cause": "completed"})
    await fleet.turns()
    assert (await fleet.shown("a"))["status"] == "Completed"
    assert len(fleet.target.alive()) == 1, "the idle node goes, though somebody waits: there may be one"
    assert (await fleet.shown("next"))["status"] == "Queued"


async def test_a_gang_that_a_lowered_maximum_has_made_too_large_fails_and_says_so(fleet: Fleet, job: Any) -> None:
    await fleet.api.ask("PUT", f"{W}/computes/c", json=CLUSTER)
    await fleet.api.ask("PUT", f"{W}/jobs/busy", json=job(compute="c"))
    await fleet.start("busy")
    await fleet.api.ask("PUT", f"{W}/jobs/gang", json=job(compute="c", resources={"instance_count": 3}))
    await fleet.api.ask("PATCH", f"{W}/computes/c", json={"max_instances": 1})
    await fleet.turns()
    gang = await fleet.shown("gang")
    assert (gang["status"], "max_instances 1" in gang["reason"]) == ("Failed", True), gang["reason"]


async def test_a_cluster_with_work_is_removed_with_all_of_it(fleet: Fleet, job: Any) -> None:
    await fleet.api.ask("PUT", f"{W}/computes/c", json=CLUSTER | {"max_instances": 1})
    for name in ("runs", "waits"):
        await fleet.api.ask("PUT", f"{W}/jobs/{name}", json=job(compute="c"))
    await fleet.start("runs")
    assert (await fleet.api.ask("DELETE", f"{W}/computes/c")).status_code == 202
    refused = await fleet.api.ask("PUT", f"{W}/jobs/late", json=job(compute="c"))
    assert (refused.status_code, bool(refused.json()["hint"])) == (409, True)
    await fleet.turns()
    running = await fleet.run("runs")
    assert running.status is RunStatus.CANCEL_REQUESTED
    fleet.report(running.nodes, running.key, "ended", ended={"cause": "stopped"})
    await fleet.turns(8)
    runs_, waits = await fleet.shown("runs"), await fleet.shown("waits")
    assert (runs_["status"], waits["status"]) == ("Canceled", "Failed")
    assert "deleted" in waits["reason"]
    assert fleet.target.alive() == []
    assert (await fleet.api.ask("GET", f"{W}/computes/c")).status_code == 404


async def test_who_waits_for_a_provider_that_fails_hears_its_words_and_it_is_not_asked_in_every_turn(
    fleet: Fleet, job: Any
) -> None:
    await fleet.api.ask("PUT", f"{W}/computes/c", json=CLUSTER)
    await fleet.api.ask("PUT", f"{W}/jobs/j", json=job(compute="c"))
    fleet.target.faults = Faults(outage=1)
    await fleet.turns(20)
    waits = await fleet.shown("j")
    assert waits["status"] == "Queued"
    assert "Asked once in vain, again at 12:00:00 UTC: The target does not answer." in waits["reason"]
    await fleet.turns(20, after_s=0.6)
    assert "Asked 2 times in vain, again at 12:00:01 UTC" in (await fleet.shown("j"))["reason"]
    fleet.target.faults = CALM
    await fleet.turns(after_s=2)
    await fleet.start("j")
    assert (await fleet.shown("j"))["status"] == "Running"


STATUS_WAYS = {
    RunStatus.PREPARING: (),
    RunStatus.RUNNING: (RunEvent.STARTED,),
    RunStatus.FINALIZING: (RunEvent.STARTED, RunEvent.RANKS_ENDED),
    RunStatus.NOT_RESPONDING: (RunEvent.STARTED, RunEvent.FELL_SILENT),
    RunStatus.CANCEL_REQUESTED: (RunEvent.STARTED, RunEvent.CANCEL_ASKED),
    RunStatus.COMPLETED: (RunEvent.STARTED, RunEvent.SUCCEEDED),
    RunStatus.FAILED: (RunEvent.STARTED, RunEvent.CRASHED),
    RunStatus.CANCELED: (RunEvent.STARTED, RunEvent.CANCEL_ASKED, RunEvent.STOPPED),
}


@pytest.mark.parametrize("status", [status for status in RunStatus if status is not RunStatus.QUEUED])
async def test_a_job_is_canceled_in_every_status_that_is_not_final(fleet: Fleet, job: Any, status: RunStatus) -> None:
    await fleet.api.ask("PUT", f"{W}/computes/c", json=CLUSTER)
    await fleet.api.ask("PUT", f"{W}/jobs/j", json=job(compute="c"))
    await fleet.start()
    for event in STATUS_WAYS[status]:
        run = await fleet.run("j")
        async with fleet.api.ctx.begin() as tx:
            await runs.record(tx, run, event, now=NOON, reason="As the test wants it.")
    assert (await fleet.run("j")).status is status
    answer = await fleet.api.ask("POST", f"{W}/jobs/j/cancel")
    if status in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED):
        assert (answer.status_code, answer.json()["code"]) == (409, "illegal-transition")
        return
    assert (answer.status_code, answer.json()["status"]) == (202, "CancelRequested")
    again = await fleet.api.ask("POST", f"{W}/jobs/j/cancel")
    assert (again.status_code, again.json()["status"]) == (202, "CancelRequested"), "asking twice is no error"
