"""Compute instances through the real loops of two servers: they stop when nobody uses them, and when they shall."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.factories import later
from tests.simulation.effects import INSTANCE_EFFECTS, SIDES, Aim
from tests.simulation.instances import ANN, IDLE, NAME, InstanceWorld

from ultramarine.controllers.instances import LOOK_EACH
from ultramarine.domain.instance import InstanceEvent, InstanceStatus
from ultramarine.planning.idleness import Kernel, Terminal
from ultramarine.services import instances

S, E = InstanceStatus, InstanceEvent
LATE_S = 30.0  #: a stop is asked for at the latest so long after its time: what is written, and how often it is looked


def up(tmp_path: Path, **different: Any) -> InstanceWorld:
    world = InstanceWorld.begin_with(4, tmp_path)
    assert isinstance(world, InstanceWorld)
    world.calm_down()
    world.make(**different)
    world.until(S.RUNNING)
    return world


def steps_for(world: InstanceWorld, seconds: float) -> None:
    end = world.now + seconds
    while world.now < end:
        world.calm_step()


async def test_one_that_nobody_uses_stops_once_and_at_its_time(tmp_path: Path) -> None:
    world = up(tmp_path, idle_time_before_shutdown_minutes=6)
    began = world.now
    steps_for(world, 350)
    assert world.status is S.RUNNING
    world.until(S.STOPPED)
    assert 360 <= world.now - began <= 360 + 2 * LATE_S
    steps_for(world, 60)
    assert len(world.events(E.STOP_ASKED)) == 1
    assert world.events(E.STOP_ASKED)[0].startswith("Idle since 12:00 UTC")
    assert world.instance_runs == []
    assert world.homes.parent.exists()


@pytest.mark.parametrize(
    "used",
    [replace(IDLE, kernels=[Kernel(name="python3", is_busy=True, active_at=later(0))]), None],
    ids=["a busy kernel", "no answer"],
)
async def test_one_that_is_used_or_says_nothing_never_stops(tmp_path: Path, used: Any) -> None:
    world = up(tmp_path, idle_time_before_shutdown_minutes=2)
    world.evidence = used
    steps_for(world, 400)
    world.restart()
    steps_for(world, 400)
    assert world.status is S.RUNNING
    assert world.events(E.STOP_ASKED) == []
    world.evidence = IDLE
    world.until(S.STOPPED)


@pytest.mark.parametrize("busy_s", [26, 52])
async def test_a_kernel_that_is_gone_has_been_in_use_until_it_was_last_seen_busy(tmp_path: Path, busy_s: int) -> None:
    world = up(tmp_path, idle_time_before_shutdown_minutes=2)
    world.evidence = replace(IDLE, kernels=[Kernel(name="python3", is_busy=True, active_at=later(0))])
    steps_for(world, busy_s)
    world.evidence = IDLE
    gone = world.now
    while not world.events(E.STOP_ASKED):
        world.calm_step()
    assert 120 - LOOK_EACH.total_seconds() <= world.now - gone <= 120 + LATE_S


async def test_it_counts_from_when_it_was_last_used(tmp_path: Path) -> None:
    world = up(tmp_path, idle_time_before_shutdown_minutes=6)
    steps_for(world, 300)
    last = world.true_time()
    world.evidence = replace(IDLE, terminals=[Terminal(name="1", active_at=last)])
    begin = world.now
    world.until(S.STOPPED)
    assert 360 <= world.now - begin <= 360 + 2 * LATE_S


async def test_restarts_of_servers_change_neither_the_time_nor_the_count(tmp_path: Path) -> None:
    world = up(tmp_path, idle_time_before_shutdown_minutes=8)
    began = world.now
    for _ in range(3):
        steps_for(world, 50)
        world.restart()
    world.until(S.STOPPED)
    assert 480 <= world.now - began <= 480 + 2 * LATE_S
    world.restart()
    steps_for(world, 60)
    assert (world.status, len(world.events(E.STOP_ASKED))) == (S.STOPPED, 1)


async def test_a_server_that_was_away_says_so_five_minutes_before_it_stops_one(tmp_path: Path) -> None:
    world = up(tmp_path, idle_time_before_shutdown_minutes=10)
    world.now += 3600.0
    world.restart()
    world.calm_step()
    world.calm_step()
    assert world.status is S.RUNNING, "nobody could have seen that it is about to stop"
    (found,) = world.ctx.hub.idleness.values()
    assert found.warns(world.ctx.clock())
    begin = world.now
    world.until(S.STOPPED)
    assert 300 - LATE_S <= world.now - begin <= 300 + 2 * LATE_S


async def test_somebody_who_wants_it_to_stay_keeps_it_until_then(tmp_path: Path) -> None:
    world = up(tmp_path, idle_time_before_shutdown_minutes=2)
    began = world.now
    world.run(instances.keep_awake(world.ctx, "w", NAME, {"hours": 0.2}, token=ANN))
    world.until(S.STOPPED, steps_max=400)
    assert 720 <= world.now - began <= 720 + 2 * LATE_S


async def test_without_an_idle_time_it_stays(tmp_path: Path) -> None:
    world = up(tmp_path, idle_time_before_shutdown_minutes=None)
    steps_for(world, 600)
    assert world.status is S.RUNNING


async def test_a_schedule_stops_and_starts_it_though_servers_restart(tmp_path: Path) -> None:
    stop = {"action": "stop", "trigger": {"type": "cron", "expression": "3 12 * * *"}}
    start = {"action": "start", "trigger": {"type": "cron", "expression": "6 12 * * *"}}
    world = up(tmp_path, schedules={"compute_start_stop": [stop, start]}, idle_time_before_shutdown_minutes=None)
    world.until(S.STOPPED)
    assert 180 <= world.now <= 220
    world.restart()
    steps_for(world, 60)
    world.until(S.RUNNING)
    assert 360 <= world.now <= 400
    world.restart()
    steps_for(world, 120)
    assert (len(world.events(E.STOP_ASKED)), len(world.events(E.START_ASKED))) == (1, 1)
    assert world.events(E.STOP_ASKED) == ["Its schedule of 2026-01-01 12:03 UTC: stop."]


async def test_one_that_crashes_comes_back_by_itself(tmp_path: Path) -> None:
    world = up(tmp_path)
    (run,) = (run for run in world.alive() if run.owner == NAME)
    run.ends_at, run.code = world.now, 1
    world.until(S.STARTING)
    world.until(S.RUNNING)
    (again,) = world.instance_runs
    assert again != run.key
    assert len(world.events(E.WAS_LOST)) == 1


async def test_one_that_does_not_come_up_is_given_up(tmp_path: Path) -> None:
    world = InstanceWorld.begin_with(4, tmp_path)
    assert isinstance(world, InstanceWorld)
    world.calm_down()
    world.make()
    world.natures[NAME].failures, world.is_answering = 9, False
    world.until(S.UNUSABLE)
    assert len(world.events(E.GAVE_UP)) == 1
    world.natures[NAME].failures, world.is_answering = 0, True
    world.ask(E.START_ASKED)
    world.until(S.RUNNING)


@pytest.mark.parametrize("effect", INSTANCE_EFFECTS)
async def test_a_server_that_dies_before_and_after_an_effect_loses_nothing(tmp_path: Path, effect: str) -> None:
    """A whole life: made, crashed, resized, restarted, stopped, given up, deleted; and each time it comes to that."""
    world = InstanceWorld.begin_with(4, tmp_path)
    assert isinstance(world, InstanceWorld)
    world.calm_down()
    world.aims = [Aim(effect, side) for side in SIDES]
    world.make(idle_time_before_shutdown_minutes=None)
    world.until(S.RUNNING)
    (run,) = (run for run in world.alive() if run.owner == NAME)
    run.ends_at, run.code = world.now, 1
    world.until(S.STARTING)
    world.until(S.RUNNING)
    world.again(lambda: instances.resize(world.ctx, "w", NAME, {"size": "cpu-2"}, token=ANN))
    world.until(S.RUNNING)
    world.ask(E.RESTART_ASKED)
    world.until(S.RUNNING)
    world.again(lambda: instances.keep_awake(world.ctx, "w", NAME, {"hours": 1}, token=ANN))
    world.ask(E.STOP_ASKED)
    world.until(S.STOPPED)
    world.natures[NAME].failures, world.natures[NAME].code = 1, 78
    world.is_answering = False
    world.ask(E.START_ASKED)
    world.until(S.SETUP_FAILED)
    world.natures[NAME].failures = 9
    world.natures[NAME].code = 1
    world.ask(E.START_ASKED)
    world.until(S.UNUSABLE)
    home = world.homes / world.id
    home.mkdir(parents=True)
    world.delete()
    world.until(None)
    assert all(aim.is_hit for aim in world.aims), f"{effect} did not happen before and after"
    assert not home.exists()
    assert world.instance_runs == []
    assert max(world.starts.values()) == 1, "a run was started twice"
