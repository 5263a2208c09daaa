"""What must hold at every moment, whatever breaks; looked up in the rows themselves and in what really runs."""

from collections import Counter
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from tests.simulation.world import World

from ultramarine.domain.names import RunKey, is_of
from ultramarine.domain.run import INFRASTRUCTURE_RETRIES_MAX, ON_NODES, RUN, OwnerNoun
from ultramarine.domain.size import Amount
from ultramarine.files.logs import LogPlace
from ultramarine.store import tables as t

PLACED = {status.value for status in ON_NODES}
WRITTEN_OFF = ("NotResponding", "CancelRequested", "Canceled", "Failed")  #: what becomes of a run of before a restore
FINAL = {status.value for status in RUN.final}


class Invariants:
    def __init__(self, world: World) -> None:
        self._world = world
        self._final: dict[str, str] = {}
        self._given_back: set[str] = set()  #: allocations whose room is free again
        self._looked_at = -1
        self._restores = 0
        self._named: dict[str, datetime] = {}  #: when each run and allocation of whatever epoch was made
        self._before: dict[str, str] = {}  #: of runs of before the last restore, what they were then

    def check(self) -> None:
        """All of them. Cheap when nothing was written since the last time."""
        self._only_one_attempt_lives()
        if self._world.restores != self._restores:
            self._begin_anew()
        with self._world.db.engine.connect() as connection:
            newest = connection.exec_driver_sql("SELECT max(seq) FROM events").scalar_one() or 0
            if newest == self._looked_at:
                self._no_machine_is_over_committed()
                return
            self._looked_at = newest
            runs = [dict(row) for row in connection.execute(_RUNS).mappings()]
            held = [dict(row) for row in connection.execute(_ALLOCATIONS).mappings()]
            nodes = set(connection.execute(sa.select(t.nodes.c.key)).scalars())
        self._no_name_is_given_twice([*runs, *held])
        self._given_back = {row["key"] for row in held if row["status"] in ("Ended", "Forgotten")}
        self._no_machine_is_over_committed()
        self._what_is_of_before_is_not_ours(runs)
        self._an_end_is_an_end(runs)
        self._what_has_ended_lives_nowhere()
        self._one_attempt_is_open(runs)
        self._gangs_have_all_or_none(runs)
        self._placed_runs_have_nodes(runs, held, nodes)
        self._no_host_is_over_committed(runs, held)
        self._no_node_is_over_committed(runs, held)
        self._no_quota_is_exceeded(runs, held)
        self._only_spot_runs_give_way(runs)

    def check_at_the_end(self) -> None:
        world = self._world
        assert world.is_empty(), f"something is left: {world.target.machines}"
        assert not [runner.runs for runner in world.runners.values() if runner.is_alive], "a runner is left"
        assert max(world.starts.values(), default=1) == 1, "a run was started twice"
        with world.db.engine.connect() as connection:
            runs = [dict(row) for row in connection.execute(_RUNS).mappings()]
            of_jobs = [run for run in runs if run["owner_noun"] == OwnerNoun.JOB]
            attempts = {row.id: row.attempt for row in connection.execute(sa.select(t.jobs.c.id, t.jobs.c.attempt))}
        newest = {run["owner_id"]: run for run in sorted(of_jobs, key=lambda run: run["ordinal"])}
        assert {id: run["ordinal"] for id, run in newest.items()} == attempts
        assert all(run["status"] in FINAL for run in runs)
        self._nobody_canceled_what_nobody_asked(of_jobs)
        self._attempts_are_counted(runs)
        self._next_attempts_follow()
        self._logs_are_exact()

    def _only_one_attempt_lives(self) -> None:
        assert max(self._world.target.launches.values(), default=1) == 1, "an allocation was made twice"
        alive: dict[str, set[str]] = {}
        places: Counter[tuple[str, int]] = Counter()
        for runner in self._world.runners.values():
            for run in runner.runs.values() if runner.is_alive else ():
                if run.phase == "running":
                    places[run.key, run.ranks.start] += 1
                    if run.is_task:
                        alive.setdefault(run.owner, set()).add(run.key)
        assert max(places.values(), default=1) == 1, f"one run lives twice: {places}"
        twice = {owner: keys for owner, keys in alive.items() if len(keys) > 1}
        assert not twice, f"two attempts live at once: {twice}"

    def _begin_anew(self) -> None:
        """The store was restored: what it says now is what there was."""
        self._restores, self._looked_at = self._world.restores, -1
        with self._world.db.engine.connect() as connection:
            runs = {row.key: row.status for row in connection.execute(_RUNS)}
        self._before = {key: status for key, status in runs.items() if not is_of(key, self._world.epoch)}
        self._final = {key: status for key, status in runs.items() if status in FINAL}

    def _no_name_is_given_twice(self, rows: list[dict[str, Any]]) -> None:
        """What was named after a backup may live on after the restore, and must not be taken for what is made then."""
        for row in rows:
            made_at = self._named.setdefault(row["key"], row["created_at"])
            assert made_at == row["created_at"], f"the name {row['key']} was given twice"

    def _what_is_of_before_is_not_ours(self, runs: list[dict[str, Any]]) -> None:
        """No run of before a restore begins or succeeds after it, and no runner of before is heard."""
        epoch = self._world.epoch
        for run in runs:
            if not is_of(run["key"], epoch):
                was = self._before[run["key"]]
                assert run["status"] in (was, *WRITTEN_OFF), f"{run['key']} was {was} before the restore: {run}"
        for server in self._world.servers:
            assert all(is_of(node, epoch) for node in server.ctx.hub.heard()), "a runner of before is heard"

    def _no_machine_is_over_committed(self) -> None:
        """What really stands on the host; but for what a late server has started anew, or one of before a restore.

        Those are swept.
        """
        machines = [machine for machine in self._world.target.alive() if is_of(machine.key, self._world.epoch)]
        alive = [machine for machine in machines if machine.key not in self._given_back]
        total = sum((machine.claim for machine in alive), Amount())
        assert total.fits_in(self._world.host.total), f"machines take {total} of {self._world.host.total}"
        gpus = Counter(gpu for machine in alive for gpu in machine.gpu_ids)
        assert not gpus or max(gpus.values()) == 1, f"a GPU was given twice: {gpus}"
        for machine in alive:
            assert len(machine.gpu_ids) == machine.claim.gpus, f"{machine.key} has {machine.gpu_ids}"

    def _an_end_is_an_end(self, runs: list[dict[str, Any]]) -> None:
        for run in runs:
            before = self._final.setdefault(run["key"], run["status"]) if run["status"] in FINAL else None
            assert before in (None, run["status"]), f"{run['key']} was {before} and is {run['status']}"
            assert run["key"] not in self._final or run["status"] in FINAL, f"{run['key']} has come back"
            assert run["is_open"] == (run["status"] not in FINAL)

    def _what_has_ended_lives_nowhere(self) -> None:
        for runner in self._world.runners.values():
            for run in runner.runs.values() if runner.is_alive else ():
                is_free = not run.is_task or run.phase != "running"  # a replica that is cut off goes on answering
                assert is_free or run.key not in self._final, f"{run.key} has ended and still runs"

    def _one_attempt_is_open(self, runs: list[dict[str, Any]]) -> None:
        open_ones = Counter(run["owner_id"] for run in runs if run["is_open"] and run["owner_noun"] == OwnerNoun.JOB)
        assert not open_ones or max(open_ones.values()) == 1, f"two attempts are open: {open_ones}"

    def _gangs_have_all_or_none(self, runs: list[dict[str, Any]]) -> None:
        whole: Counter[str] = Counter()
        for run in runs:
            if run["status"] in PLACED:
                assert len(set(run["nodes"])) == run["instance_count"], f"{run['key']} has {run['nodes']}"
                whole.update(run["nodes"] if run["need"] is None else ())
            elif run["status"] == "Queued":
                assert run["nodes"] == [], f"{run['key']} waits and has {run['nodes']}"
        assert not whole or max(whole.values()) == 1, f"two runs have one node: {whole}"

    def _placed_runs_have_nodes(self, runs: list[dict[str, Any]], held: list[dict[str, Any]], nodes: set[str]) -> None:
        """A placed run's node exists and is not being released, or it has ended: then the run is on its way out."""
        status = {f"{allocation['key']}.0": allocation["status"] for allocation in held}
        for run in runs:
            for node in run["nodes"] if run["status"] in PLACED else ():
                assert node in nodes or status[node] in ("Ended", "Forgotten"), f"{run['key']} is on no node, {node}"
                assert status[node] != "Releasing", f"{run['key']} is on {node}, which is being released"

    def _no_host_is_over_committed(self, runs: list[dict[str, Any]], held: list[dict[str, Any]]) -> None:
        total = Amount()
        elastic: set[str] = set()
        for allocation in held:
            if allocation["status"] not in ("Ended", "Forgotten"):
                total += Amount(**allocation["claim"])
                elastic |= {f"{allocation['key']}.0"} if allocation["is_elastic"] else set()
        for run in runs:
            if run["status"] in PLACED and set(run["nodes"]) & elastic:
                total += Amount(**run["need"])
        assert total.fits_in(self._world.host.total), f"{total} of {self._world.host.total} are promised"

    def _no_node_is_over_committed(self, runs: list[dict[str, Any]], held: list[dict[str, Any]]) -> None:
        """Parts of a node are within it, next to a whole run is nobody, and no two runs have one GPU."""
        on: dict[str, list[dict[str, Any]]] = {}
        for run in runs:
            for node in run["nodes"] if run["status"] in PLACED else ():
                on.setdefault(node, []).append(run)
        for allocation in held:
            node = f"{allocation['key']}.0"
            there = on.get(node, [])
            if not allocation["is_elastic"]:
                whole = [run["key"] for run in there if run["need"] is None]
                assert not whole or len(there) == 1, f"{whole} are not alone on {node}"
                total = sum((Amount(**run["need"]) for run in there if run["need"] is not None), Amount())
                assert total.fits_in(Amount(**allocation["capacity"])), f"{node} has {total} of runs"
            gpus = Counter(gpu for run in there for gpu in run["gpu_ids"].get(node, ()))
            assert not gpus or max(gpus.values()) == 1, f"a GPU of {node} was given twice: {gpus}"
            for run in there:
                wanted = 0 if run["need"] is None else run["need"]["gpus"]
                assert len(run["gpu_ids"].get(node, ())) == wanted, f"{run['key']} has {run['gpu_ids']}"

    def _no_quota_is_exceeded(self, runs: list[dict[str, Any]], held: list[dict[str, Any]]) -> None:
        if (quota := self._world.quota) is None:
            return
        there = [a for a in held if a["status"] not in ("Ended", "Forgotten")]
        nodes = [a for a in there if not a["is_elastic"]]
        elastic = {f"{a['key']}.0" for a in there if a["is_elastic"]}
        of_runs = [r["need"]["cpus_milli"] for r in runs if r["status"] in PLACED and set(r["nodes"]) & elastic]
        cpus_milli = sum(a["claim"]["cpus_milli"] for a in nodes) + sum(of_runs)
        assert len(nodes) <= (quota.nodes or 0)
        assert cpus_milli <= 1000 * (quota.cpus or 0)

    def _only_spot_runs_give_way(self, runs: list[dict[str, Any]]) -> None:
        for run in runs:
            if run["ending"] is not None and run["ending"]["cause"] == "preempted":
                assert run["tier"] == "spot", f"{run['key']} is {run['tier']} and gave way"

    def _nobody_canceled_what_nobody_asked(self, runs: list[dict[str, Any]]) -> None:
        for run in runs:
            if run["status"] == "Canceled":
                assert run["owner_name"] in self._world.canceled, (
                    f"{run['key']} was canceled by nobody: {run['reason']}"
                )

    def _attempts_are_counted(self, runs: list[dict[str, Any]]) -> None:
        for run in runs:
            assert run["losses"] <= INFRASTRUCTURE_RETRIES_MAX
            assert run["retries_left"] >= 0

    def _next_attempts_follow(self) -> None:
        """An attempt is not made before the one that it follows has ended: both are one transaction."""
        with self._world.db.engine.connect() as connection:
            told = connection.execute(sa.select(t.events).order_by(t.events.c.seq)).all()
        last: dict[str, Any] = {}
        for event in told:
            assert event.event != "tried_again" or event.at >= last[event.id], f"{event} is before {last[event.id]}"
            last[event.id] = event.at

    def _logs_are_exact(self) -> None:
        """Byte for byte, once the runner was told that all has arrived; else a part from the beginning."""
        world = self._world
        ctx = world.servers[0].ctx
        for (key, rank), written in world.logs.items():
            place = LogPlace(run=RunKey(key), rank=rank, file="std_log.txt")
            kept = ctx.logs.read(place, offset=0, bytes_max=1 << 20)
            assert written.startswith(kept), f"the log of rank {rank} of {key} is not what was written"
            assert kept == written or (key, rank) not in world.told, f"the log of rank {rank} of {key} is not whole"


_RUNS = sa.select(
    t.runs.c.key,
    t.runs.c.owner_noun,
    t.runs.c.owner_id,
    t.runs.c.owner_name,
    t.runs.c.ordinal,
    t.runs.c.instance_count,
    t.runs.c.need,
    t.runs.c.nodes,
    t.runs.c.gpu_ids,
    t.runs.c.tier,
    t.runs.c.ending,
    t.runs.c.status,
    t.runs.c.reason,
    t.runs.c.losses,
    t.runs.c.retries_left,
    t.runs.c.is_open,
    t.runs.c.created_at,
)
_ALLOCATIONS = sa.select(
    t.allocations.c.key,
    t.allocations.c.status,
    t.allocations.c.claim,
    t.allocations.c.capacity,
    t.allocations.c.is_elastic,
    t.allocations.c.created_at,
)
