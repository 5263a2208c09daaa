"""How many no-op jobs a second go through the whole system, and how many submissions a second are accepted.

    .venv/bin/python -m benchmarks.throughput [--jobs 300]

No-op jobs run `true` in the curated environment `minimal` on the local compute; from the first request to the last end
that the control plane has recorded. The peer is the machine itself: as many `fork`, `exec` and `wait` of the same
command line, one after the other. A submission is kept when it is answered, so its limit is a transaction that is
synced to the disk: one row in a table of SQLite with the same settings.
"""

import argparse
import itertools
import secrets
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import measure
from benchmarks.installation import FINAL, Installation, ended, installation, job, until
from benchmarks.measure import Row, Series
from ultramarine.sdk import Workspace

JOBS_GOAL = 40.0
CLIENTS = 4
ROUNDS = 3


def submit(
    here: Installation, names: Sequence[str], command: str, *, compute: str = "local", clients: int = CLIENTS
) -> float:
    """Submit them all over some connections; the seconds that it took."""
    shares = [names[each::clients] for each in range(clients)]

    def work(share: Sequence[str]) -> None:
        workspace = here.client()
        for name in share:
            workspace.jobs.create(job(command, compute=compute) | {"name": name})

    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin


def wait_for_all(workspace: Workspace, names: Sequence[str]) -> None:
    """Ask for one job at a time: to list them all again and again would cost as much as they do."""
    for name in reversed(names):
        until(
            lambda name=name: workspace.jobs.get(name)["status"] in FINAL, f"{name} has ended", seconds=600, every_s=0.1
        )


def jobs_per_s(here: Installation, count: int) -> float:
    workspace = here.client()
    names = [f"noop-{secrets.token_hex(4)}-{each}" for each in range(count)]
    begin = time.perf_counter()
    submit(here, names, "true")
    wait_for_all(workspace, names)
    return count / (time.perf_counter() - begin)


def processes_per_s(count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        subprocess.run(["/bin/sh", "-c", "true"], check=True)
    return count / (time.perf_counter() - begin)


def submissions_per_s(here: Installation, count: int) -> float:
    """While what was accepted already runs: the next jobs do not wait for it."""
    names = [f"held-{secrets.token_hex(4)}-{each}" for each in range(count)]
    seconds = submit(here, names, "true")
    workspace = here.client()
    wait_for_all(workspace, names)
    return count / seconds


def commits_per_s(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(Path(folder, "a.db"), isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("CREATE TABLE a (b TEXT)")
        begin = time.perf_counter()
        for _ in range(count):
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO a VALUES (?)", ("x" * 500,))
            database.execute("COMMIT")
        seconds = time.perf_counter() - begin
        database.close()
    return count / seconds


def rows(here: Installation, *, count: int) -> Sequence[Row]:
    workspace = here.client()
    ended(workspace, workspace.jobs.create(job("true"))["name"])  # the node is up
    pids = here.pids()
    ours = [pids["control"], pids["gateway"], pids["mlflow"], *here.runners()]
    before = measure.cpu_ms(ours)
    done = itertools.count()

    def noop() -> float:
        next(done)
        return jobs_per_s(here, count)

    through, processes = measure.paired(noop, lambda: processes_per_s(count), rounds=ROUNDS, unit="/s")
    cost = (measure.cpu_ms(ours) - before) / (next(done) * count)
    accepted, commits = measure.paired(
        lambda: submissions_per_s(here, count), lambda: commits_per_s(count), rounds=ROUNDS, unit="/s"
    )
    return [
        Row(
            what="no-op jobs through the whole system",
            figure=f"{through}; {measure.number(cost)} ms CPU a job (control plane, gateway, MLflow, runner)",
            beside=f"fork, exec, wait {processes}",
            ratio=f"{through.median / processes.median:.2f}×",
            goal=f"≥ {JOBS_GOAL:g}/s",
            is_met=through.median >= JOBS_GOAL,
        ),
        _accepted(accepted, commits),
    ]


def _accepted(ours: Series, peer: Series) -> Row:
    return Row(
        what=f"accepted submissions, {CLIENTS} connections",
        figure=str(ours),
        beside=f"synced SQLite commits {peer}",
        ratio=f"{ours.median / peer.median:.2f}×",
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=200)
    with installation() as here:
        measure.show(rows(here, count=arguments.parse_args().jobs))


if __name__ == "__main__":
    main()
