"""From the request to the first line that the user's code prints: on a warm node, and on a cluster that has none.

    .venv/bin/python -m benchmarks.first_line [--rounds 15]

The line is a time stamp that the command takes when it runs, so neither log shipping nor polling counts. The peer is
`subprocess.Popen` of the same command on the same machine, in turn. What an environment adds that the node has built is
measured beside a job that needs none; the command is run by the same Python in both.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks import measure
from benchmarks.installation import MINIMAL, Installation, cluster, ended, installation, job, output, until
from benchmarks.measure import Row, Series
from ultramarine.sdk import Workspace

COMMAND = f"{sys.executable} -c 'import time; print(time.time())'"
WARM_GOAL_MS, ZERO_GOAL_MS, BUILT_GOAL_MS = 100.0, 1000.0, 50.0
BUILT = "sklearn@latest"


def popen_ms() -> float:
    begin = time.time()
    done = subprocess.run(["/bin/sh", "-c", COMMAND], capture_output=True, text=True, check=True)
    return (float(done.stdout) - begin) * 1000


def submit_ms(workspace: Workspace, compute: str, *, environment: str = MINIMAL) -> float:
    workspace.jobs.list(limit=1)  # the connection is warm
    begin = time.time()
    name = workspace.jobs.create(job(COMMAND, compute=compute, environment=environment))["name"]
    ended(workspace, name)
    return (float(output(workspace, name)) - begin) * 1000


def from_zero_ms(workspace: Workspace) -> float:
    def is_empty() -> bool:
        return workspace.computes.get("zero")["nodes"]["total"] == 0

    until(is_empty, "the cluster has no node", seconds=60, every_s=0.1)
    return submit_ms(workspace, "zero")


def rows(here: Installation, *, rounds: int) -> Sequence[Row]:
    workspace = here.client()
    submit_ms(workspace, "local")  # brings the node up
    warm, popen = measure.paired(lambda: submit_ms(workspace, "local"), popen_ms, rounds=rounds)
    submit_ms(workspace, "local", environment=BUILT)  # builds it
    built, none = measure.paired(
        lambda: submit_ms(workspace, "local", environment=BUILT), lambda: submit_ms(workspace, "local"), rounds=rounds
    )
    cluster(workspace, "zero", nodes=1, idle_s=0)
    zero, beside = measure.paired(lambda: from_zero_ms(workspace), popen_ms, rounds=max(3, rounds // 3))
    return [
        _row("submit → first line, warm node", warm, popen, WARM_GOAL_MS),
        _row("with `sklearn` built on the node", built, none, BUILT_GOAL_MS, peer="without"),
        _row("cluster from zero → first line", zero, beside, ZERO_GOAL_MS),
    ]


def _row(what: str, ours: Series, beside: Series, goal_ms: float, *, peer: str = "Popen") -> Row:
    more = ours.median - beside.median
    return Row(
        what=what,
        figure=str(ours),
        beside=f"{peer} {beside}",
        ratio=f"{ours.median / beside.median:.1f}×, {more:.0f} ms more",
        goal=f"≤ {goal_ms:g} ms more",
        is_met=more <= goal_ms,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    with installation() as here:
        measure.show(rows(here, rounds=arguments.parse_args().rounds))


if __name__ == "__main__":
    main()
