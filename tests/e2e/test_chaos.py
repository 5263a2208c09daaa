"""A storm over a whole installation: whatever is killed, stopped or filled up, every job ends as it should.

`make kill`: 300 jobs in 15 minutes; by itself 40 in 100 seconds. ULTRAMARINE_CHAOS_SEED repeats the dice of a run.
"""

import os
import random
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from .chaos import ledger, rows, verdict
from .chaos.campaign import CLUSTERS, SCRATCH_MIB, SETTINGS, SIZE, Planned, planned
from .chaos.figures import Figures, withstood
from .chaos.rows import Attempt
from .chaos.storm import Storm
from .chaos.users import Users
from .installation import FINAL, Installation, environment_of, installed, leftovers, nothing_left, until

JOBS = int(os.environ.get("ULTRAMARINE_CHAOS_JOBS", "40"))
SECONDS = float(os.environ.get("ULTRAMARINE_CHAOS_S", "100"))
SEED = os.environ.get("ULTRAMARINE_CHAOS_SEED") or secrets.token_hex(4)
CALM_S = 240.0  #: after the storm, until every job has ended
pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + CALM_S + 400)]


@pytest.fixture
def it(cache: Path) -> Iterator[Installation]:
    """With clusters whose nodes share one small disk."""
    with installed(cache, **SETTINGS) as made:
        nodes = made.home / "nodes"
        nodes.mkdir(parents=True, mode=0o700)
        made.home.chmod(0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SCRATCH_MIB}m,mode=700", "scratch", nodes], check=True)
        try:
            made.up()
            made.pid("mlflow", within_s=300)
            for name, fields in CLUSTERS.items():
                common = {"name": name, "type": "amlcompute", "size": SIZE, "idle_time_before_scale_down": 5}
                made.workspace.computes.create_or_update({**common, **fields})
            yield made
            made.down()
            nothing_left(made.home, made.epoch)
        finally:
            made.um("down")
            subprocess.run(["umount", "--lazy", nodes], check=True)


def test_whatever_breaks_every_job_ends_as_it_should(it: Installation):
    print(f"ULTRAMARINE_CHAOS_SEED={SEED}")
    jobs = planned(random.Random(f"{SEED}/jobs"), jobs=JOBS, seconds=SECONDS * 0.9)
    (book := it.home.with_name("ledger")).mkdir()
    users = Users(it, jobs, book)
    storm = Storm(it, random.Random(f"{SEED}/storm"), seconds=SECONDS)
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
    all_end(it, jobs)
    facts = verdict.Facts(
        attempts=rows.attempts(it.home), lives=ledger.read(book), shot=frozenset(storm.shot), full=storm.full
    )
    is_as_it_should_be(it, jobs, facts, storm)


def all_end(it: Installation, jobs: Sequence[Planned]) -> None:
    def open_ones() -> list[str]:
        ended = {job["name"] for job in it.workspace.jobs.list() if job["status"] in FINAL}
        return [job.name for job in jobs if job.name not in ended]

    for part in ("gateway", "control"):
        it.pid(part)
    try:
        until(lambda: not open_ones(), "all jobs have ended", seconds=CALM_S)
    except AssertionError as error:
        stories = "\n".join(verdict.story(it, name) for name in open_ones()[:5])
        raise AssertionError(f"{error}\n{open_ones()}\n{stories}\n{it.told()}") from None


def is_as_it_should_be(it: Installation, jobs: Sequence[Planned], facts: verdict.Facts, storm: Storm) -> None:
    wrong = list[str]()
    figures = Figures(seed=SEED, seconds=SECONDS, jobs=len(jobs), deeds=storm.done)
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
