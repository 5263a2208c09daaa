"""Takes one safeguard away at a time and looks whether seeds turn red: `python -m tests.simulation.mutations [NAME …]`.

A mutation that survives shows that the simulation does not hold the code to that safeguard: exit code 1.
"""

import asyncio
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa
from tests import factories
from tests.simulation import misfortune, world
from tests.simulation.story import live_through

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.names import Epoch
from ultramarine.domain.run import RUN, Run, RunEvent, RunStatus, Tier
from ultramarine.drivers.simulated import SimulatedDriver
from ultramarine.files.logs import LogPlace, Logs
from ultramarine.planning import allocations, placement
from ultramarine.planning.deployments import Standing
from ultramarine.planning.room import Lane, Room, Slot
from ultramarine.planning.seen import Seen
from ultramarine.planning.state import State
from ultramarine.services.hub import Hub
from ultramarine.store.database import Tx

SEEDS_MAX = 150
SWITCH = Any  #: what `patch` makes: entered, the safeguard is gone


def no_room_held_for_placed_jobs() -> list[SWITCH]:
    """Only allocations count against a host, not the runs that were placed on its elastic nodes."""
    taken = State.taken

    def of_allocations_only(self: State, host: str) -> Any:
        return taken(replace(self, runs=()), host)

    return [patch.object(State, "taken", of_allocations_only)]


def gangs_begin_with_what_there_is() -> list[SWITCH]:
    module: Any = placement
    seat = module._seat

    def some(room: Room, lane: Lane, run: Run) -> Any:
        found = [slot for slot in lane.free_for(run, None) if slot.is_ready]
        made = module._placed(room, lane, run, found) if found else None
        return iter([made]) if made else seat(room, lane, run)

    return [patch.object(placement, "_seat", some)]


def no_room_held_for_parts_of_nodes() -> list[SWITCH]:
    """A node that parts are placed on still counts as free."""
    kind: Any = Room
    slot = kind._slot

    def as_if_empty(self: Room, allocation: Allocation) -> Slot:
        made = slot(self, allocation)
        return replace(made, free=allocation.capacity) if any(run.need for run in made.holders) else made

    return [patch.object(Room, "_slot", as_if_empty)]


def quotas_are_not_heeded() -> list[SWITCH]:
    def never(*_: Any, **__: Any) -> None:
        return None

    return [patch("ultramarine.planning.quotas.exceeded", never)]


def everybody_gives_way() -> list[SWITCH]:
    return [patch.object(Tier, "gives_way", property(lambda self: self is not Tier.PREMIUM))]


def no_sweep_of_orphans() -> list[SWITCH]:
    def nothing(room: Room) -> Any:
        return iter(())

    return [patch.object(allocations, "_sweep", nothing)]


def allocate_is_not_idempotent() -> list[SWITCH]:
    """The target makes a machine at each call, whether or not it has one of this name."""

    async def allocate(self: Any, allocation: Allocation) -> None:
        self._begin()
        self._target.launch(allocation)
        self._end()

    return [patch.object(SimulatedDriver, "allocate", allocate)]


def placed_jobs_are_canceled_at_once() -> list[SWITCH]:
    """They are over for us while their ranks still run."""
    table: Any = RUN.table
    alive = (RunStatus.PREPARING, RunStatus.RUNNING, RunStatus.FINALIZING, RunStatus.NOT_RESPONDING)
    return [patch.dict(table, {(status, RunEvent.CANCEL_ASKED): RunStatus.CANCELED for status in alive})]


def no_start_time_out() -> list[SWITCH]:
    return [patch.object(world, "PATIENCE", replace(world.PATIENCE, start_s=1e9))]


def versions_are_not_checked() -> list[SWITCH]:
    async def change(tx: Tx, table: sa.Table, key: str, *, version: int, values: Mapping[str, Any], noun: str) -> None:
        column = table.c.key if "key" in table.c else table.c.id if "id" in table.c else table.c.name
        await tx.execute(table.update().where(column == key).values(**values))

    return [patch(f"ultramarine.store.{noun}.change", change) for noun in ("allocations", "computes", "hosts", "runs")]


def leases_are_not_waited_for() -> list[SWITCH]:
    """A node that is not heard is taken for lost at once, while its runner still may go on."""
    return [patch.object(world, "PATIENCE", replace(world.PATIENCE, lease_s=1.0, margin_s=0.0, silent_after_s=0.5))]


def new_leaders_judge_old_silence() -> list[SWITCH]:
    def keep_on(self: Hub, pool: str, now: datetime) -> None:
        pass

    return [patch.object(Hub, "listen_anew", keep_on)]


def restored_without_a_new_epoch() -> list[SWITCH]:
    """The names that were given after the backup are given once more."""

    def always_the_first(_: str) -> Epoch:
        return factories.EPOCH

    return [patch.object(misfortune, "Epoch", always_the_first)]


def runs_of_before_are_taken_up() -> list[SWITCH]:
    def always(key: str, epoch: Epoch) -> bool:
        return True

    return [patch(f"ultramarine.planning.{module}.is_of", always) for module in ("runs", "state")]


def jobs_of_before_are_tried_again_at_once() -> list[SWITCH]:
    """Nobody waits until no attempt of before a restore can live any more."""

    def always(self: Seen, now: datetime) -> bool:
        return True

    return [patch.object(Seen, "leases_are_over", always)]


def runners_of_before_are_heard() -> list[SWITCH]:
    def always(key: str, epoch: Epoch) -> bool:
        return True

    return [patch("ultramarine.services.nodes.is_of", always)]


def logs_are_appended_anywhere() -> list[SWITCH]:
    """A piece that comes twice is kept twice."""
    append = Logs.append

    def at_the_end(self: Logs, place: LogPlace, content: bytes, *, offset: int) -> int:
        return append(self, place, content, offset=len(self.read(place, offset=0, bytes_max=1 << 30)))

    return [patch.object(Logs, "append", at_the_end)]


def replicas_are_not_canceled() -> list[SWITCH]:
    """Those that are not wanted any more go on."""
    kind: Any = Standing
    staying = kind.staying.fget

    def no_more(self: Standing) -> list[Run]:
        return staying(self)[: self.deployment.spec.instance_count]

    return [patch.object(Standing, "staying", property(no_more))]


def acts_do_not_carry_the_generation() -> list[SWITCH]:
    """Who stood still until another leads writes what it had planned, where no version is in its way."""

    async def nothing(tx: Tx, name: str, *, owner: str, generation: int) -> None:
        pass

    return [patch("ultramarine.store.leases.check", nothing)]


MUTATIONS: tuple[Callable[[], list[SWITCH]], ...] = (
    no_room_held_for_placed_jobs,
    gangs_begin_with_what_there_is,
    no_room_held_for_parts_of_nodes,
    quotas_are_not_heeded,
    everybody_gives_way,
    no_sweep_of_orphans,
    allocate_is_not_idempotent,
    placed_jobs_are_canceled_at_once,
    no_start_time_out,
    versions_are_not_checked,
    leases_are_not_waited_for,
    new_leaders_judge_old_silence,
    restored_without_a_new_epoch,
    runs_of_before_are_taken_up,
    jobs_of_before_are_tried_again_at_once,
    runners_of_before_are_heard,
    acts_do_not_carry_the_generation,
    logs_are_appended_anywhere,
    replicas_are_not_canceled,
)


def first_red_seed(mutation: Callable[[], list[SWITCH]]) -> tuple[int, str] | None:
    """The first seed that fails under a mutation, and how; None when all of `SEEDS_MAX` pass."""
    with ExitStack() as switched:
        for switch in mutation():
            switched.enter_context(switch)
        for seed in range(SEEDS_MAX):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    live_through(seed, Path(folder))
                except Exception as broken:  # an illegal move shows a missing safeguard as well as an invariant does
                    return seed, f"{type(broken).__name__}: {broken}"
    return None


async def main(names: list[str]) -> int:
    logging.disable(logging.CRITICAL)
    survived = 0
    for mutation in MUTATIONS:
        if names and mutation.__name__ not in names:
            continue
        found = first_red_seed(mutation)
        survived += found is None
        said = f"SURVIVED {SEEDS_MAX} seeds" if found is None else f"red at seed {found[0]}: {found[1][:100]}"
        print(f"{mutation.__name__}: {said}", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
