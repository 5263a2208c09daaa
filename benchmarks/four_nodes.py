"""A thousand queued no-op jobs on a cluster of four virtual nodes: jobs a second, CPU a job, and how long they waited.

    .venv/bin/python -m benchmarks.four_nodes [--quick] [--keep]

All are submitted over four connections, the cluster's nodes are up. The limit that no system can pass is the machine
itself: `fork`, `exec` and `wait` of the same command, on all cores at once. A job's wait is from its creation to its
start, as the installation recorded both; with a queue that stands from the beginning, the last ones wait for all.
"""

import itertools
import os
import secrets
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from benchmarks import kept, measure
from benchmarks.installation import Installation, cluster, ended, installation, job, until
from benchmarks.measure import Row, Series
from benchmarks.throughput import processes_per_s, submit, wait_for_all
from ultramarine.sdk import Workspace

NODES, GOAL = 4, 40.0


def rate(here: Installation, names: Sequence[str]) -> float:
    """Jobs a second, from the first request to the last recorded end."""
    begin = time.perf_counter()
    submit(here, names, "true", compute="four")
    wait_for_all(here.client(), names)
    return len(names) / (time.perf_counter() - begin)


def limit_per_s(count: int) -> float:
    """The machine's own processes a second, on all its cores."""
    cores = len(os.sched_getaffinity(0))
    begin = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(processes_per_s, [count // cores] * cores))
    return count // cores * cores / (time.perf_counter() - begin)


def waits_s(workspace: Workspace, names: Sequence[str]) -> list[float]:
    views = [workspace.jobs.get(name) for name in names]
    return [_moment(view["started_at"]) - _moment(view["created_at"]) for view in views if view["started_at"]]


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def rows(here: Installation, *, count: int, rounds: int = 3) -> Sequence[Row]:
    workspace = here.client()
    cluster(workspace, "four", nodes=NODES, nodes_min=NODES, idle_s=3600)
    until(lambda: workspace.computes.get("four")["nodes"]["idle"] == NODES, "the nodes are up", seconds=120)
    ended(workspace, workspace.jobs.create(job("true", compute="four"))["name"])
    pids = here.pids()
    ours = [pids["control"], pids["gateway"], pids["mlflow"], *here.runners()]
    before, turn = measure.cpu_ms(ours), itertools.count()
    waits: list[float] = []

    def through() -> float:
        names = [f"four-{secrets.token_hex(4)}-{next(turn)}" for _ in range(count)]
        found = rate(here, names)
        waits.extend(waits_s(workspace, names[:: max(1, count // 100)]))
        return found

    found, limit = measure.paired(through, lambda: limit_per_s(count), rounds=rounds, unit="/s")
    cost = (measure.cpu_ms(ours) - before) / (rounds * count)
    what = f"{count:,} queued no-op jobs on {NODES} virtual nodes"
    return [
        Row(
            what=what,
            figure=f"{found}; {measure.number(cost)} ms CPU a job (control plane, gateway, MLflow, runners)",
            beside=f"fork, exec, wait on all cores {limit}",
            ratio=f"{found.median / limit.median:.2f}×",
            goal=f"≥ {GOAL:g}/s",
            is_met=found.median >= GOAL,
        ),
        Row(what=f"wait of {what}", figure=_spread(waits)),
    ]


def _spread(waits: Sequence[float]) -> str:
    series = Series(waits, "s")
    return f"{series}; the longest {measure.number(max(waits))} s, mean {measure.number(statistics.mean(waits))} s"


def measured(is_quick: bool) -> str:
    with installation() as here:
        return measure.table(rows(here, count=20, rounds=1) if is_quick else rows(here, count=1000))


def main() -> None:
    kept.main("four nodes", measured, about=__doc__)


if __name__ == "__main__":
    main()
