"""One campaign in one storm: its jobs are asked for, it blows, and when it is calm again all is looked at."""

import os
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.chaos.figures import Figures, withstood  # by one name, so that all worlds note in one place

from ultramarine.domain.errors import UltramarineError

from ..installation import FINAL, Installation, environment_of, leftovers, until
from . import ledger, rows, verdict
from .campaign import CLUSTERS, LOW, SIZE, Planned, planned
from .rows import Attempt
from .storm import Storm
from .users import Users

JOBS = int(os.environ.get("ULTRAMARINE_CHAOS_JOBS", "40"))
SECONDS = float(os.environ.get("ULTRAMARINE_CHAOS_S", "100"))
SEED = os.environ.get("ULTRAMARINE_CHAOS_SEED") or secrets.token_hex(4)
PATIENCE_S = 180.0  #: of users whom nobody answers
STILL_S = 90.0  #: so long after the storm no job may end while some are open; how long all take is the machine's affair
LIMIT_S = 3 * SECONDS + 900  #: of a test


@dataclass(frozen=True, slots=True, kw_only=True)
class Excuses:
    """What was done to runs, for which they may end otherwise; asked for when it is over."""

    shot: set[str]  #: keys of runs of which a rank was killed
    hurt: set[str]  #: nodes whose runner was killed, or cut off for long
    full: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])  #: when their disk was full


def come_through(
    it: Installation,
    storm: Storm,
    excuses: Callable[[], Excuses],
    *,
    count: int = JOBS,
    nodes: Mapping[str, int] = CLUSTERS,
) -> None:
    """Every job that is asked for in a storm ends as it should, and nothing is left. `nodes`: of each cluster."""
    print(f"ULTRAMARINE_CHAOS_SEED={SEED}")
    jobs = planned(random.Random(f"{SEED}/jobs"), count=count, seconds=storm.seconds * 0.9, nodes=nodes)
    (book := it.home.with_name("ledger")).mkdir()
    it.patience_s = PATIENCE_S
    let_blow(it, storm, Users(it, jobs, book))
    all_end(it, jobs)
    told = excuses()
    attempts = rows.attempts(it.home)
    facts = verdict.Facts(
        attempts=attempts,
        lives=ledger.read(book),
        shot=frozenset(told.shot),
        hurt=frozenset(told.hurt),
        full=[*told.full, *verdict.unwatched(jobs, attempts)],
    )
    is_as_it_should_be(it, jobs, facts, storm)


def make_clusters(it: Installation, nodes: Mapping[str, int] = CLUSTERS, **fields: str) -> None:
    for name, count in nodes.items():
        common = {"name": name, "type": "amlcompute", "size": SIZE, "idle_time_before_scale_down": 5}
        tier = {"tier": "low_priority"} if name == LOW else {}
        it.workspace.computes.create_or_update({**common, **tier, "max_instances": count, **fields})


def let_blow(it: Installation, storm: Storm, users: Users) -> None:
    users.start()
    storm.start()
    try:
        while users.is_alive() or storm.is_alive():
            assert not (told := rows.promised_too_much(it.home)), told
            time.sleep(0.5)  # between two looks
    finally:
        for thread in (users, storm):
            thread.over.set()
            thread.join()
    broken = [str(thread.failed) for thread in (storm, users) if thread.failed is not None]
    assert not broken, "\n".join([f"ULTRAMARINE_CHAOS_SEED={SEED}", *broken, it.told(60)])


def all_end(it: Installation, jobs: Sequence[Planned]) -> None:
    def open_ones() -> list[str]:
        ended = {job["name"] for job in it.workspace.jobs.list() if job["status"] in FINAL}
        return [job.name for job in jobs if job.name not in ended]

    for part in ("gateway", "control"):
        it.pid(part)
    while left := open_ones():
        try:
            until(lambda left=left: len(open_ones()) < len(left), "one more job has ended", seconds=STILL_S)
        except AssertionError as error:
            stories = "\n".join(verdict.story(it, name) for name in left[:5])
            raise AssertionError(f"{error}\n{left}\n{stories}\n{stands(it)}\n{it.told()}") from None


def stands(it: Installation) -> str:
    """What is held and what drivers say of it, when nothing moves any more."""
    held = [f"{key} {status}: {reason}" for key, status, reason in rows.held(it.home)]
    try:
        seen = [f"{each['pool']} {each['key']}: {each['words']}" for each in it.workspace.installation.leftovers()]
        nodes = [str(it.workspace.computes.explain(each["name"])) for each in it.workspace.computes.list()]
    except UltramarineError as error:
        seen, nodes = [str(error)], []
    return "\n".join(["== allocations", *held, "== um leftovers", *seen, "== um compute explain", *nodes])


def is_as_it_should_be(it: Installation, jobs: Sequence[Planned], facts: verdict.Facts, storm: Storm) -> None:
    wrong = list[str]()
    figures = Figures(seed=SEED, seconds=storm.seconds, jobs=len(jobs), deeds=storm.done)
    parts = {each.key: job.kind.part for job in jobs for each in facts.attempts.get(job.name, ())}
    for job in jobs:
        attempts = facts.attempts.get(job.name, ())
        figures.endings.update(f"{each.status} {each.cause or 'before it was placed'}" for each in attempts)
        if told := verdict.of_job(job, facts, log_of(it, job.name, figures)):
            wrong += [*told, verdict.story(it, job.name)]
    wrong += ledger.crowded(facts.lives, parts)
    assert not wrong, "\n".join([f"ULTRAMARINE_CHAOS_SEED={SEED}", *wrong, it.told(60)])
    until(lambda: not runs_left(it), "nothing of any run is left")
    until(lambda: not list(it.workspace.installation.leftovers()), "drivers and rows agree")
    withstood(figures)


def log_of(it: Installation, name: str, figures: Figures) -> verdict.Log:
    def log(attempt: Attempt, rank: int) -> str:
        text = verdict.read(it, name, attempt.ordinal, rank)
        figures.lines += text.count("\n")
        return text

    return log


def runs_left(it: Installation) -> list[object]:
    """Processes, folders and control groups of runs, when all jobs have ended."""
    alive = [pid for pid, _ in leftovers(it.home, it.epoch) if "ULTRAMARINE_RUN_KEY" in environment_of(pid)]
    groups = Path("/sys/fs/cgroup").rglob(f"ultramarine:{it.epoch}-*")
    return [*alive, *(it.home / "nodes").glob("*/runs/*"), *groups]
