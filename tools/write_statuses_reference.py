"""Write docs/reference/statuses.md from the transition tables; a test holds the page to them."""

# ruff: noqa: E501 (a paragraph and a row of a table are one line)

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ultramarine.domain.allocation import ALLOCATION
from ultramarine.domain.compute import COMPUTE_STATES
from ultramarine.domain.endpoint import DEPLOYMENT
from ultramarine.domain.environment import ENVIRONMENT
from ultramarine.domain.instance import INSTANCE
from ultramarine.domain.machine import Machine
from ultramarine.domain.rollout import ROLLOUT
from ultramarine.domain.run import RUN

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "statuses.md"
HEAD = """# Statuses

<!-- Made by tools/write_statuses_reference.py from the tables of legal moves. -->

Every thing that has a status has one table that says which event leads from which status to which. A move that is not in the table is refused. Each
move is written with an event row in the same transaction: `um job events -n NAME`, `um event list`. A reason in words is kept beside the status.
"""
MACHINES: Mapping[str, tuple[Machine[Any, Any], str]] = {
    "Job": (
        RUN,
        "The status of a job is that of its newest run, and a replica of a deployment is a run too. A failed attempt that is tried again stays "
        "*Failed*; the next attempt is a new run, which begins *Queued*. (`src/ultramarine/domain/run.py`)",
    ),
    "Deployment": (
        DEPLOYMENT,
        "*Succeeded* once as many replicas as were asked for answer the gateway. (`src/ultramarine/domain/endpoint.py`)",
    ),
    "Rollout": (
        ROLLOUT,
        "*Returned*: the figures were bad, and the traffic is as it was before. *Canceled*: somebody took it back, or changed the traffic by hand. "
        "(`src/ultramarine/domain/rollout.py`)",
    ),
    "Environment": (
        ENVIRONMENT,
        "*Succeeded* means locked: its exact packages are known. It is installed on a node by the first run that needs it there. "
        "(`src/ultramarine/domain/environment.py`)",
    ),
    "Compute": (COMPUTE_STATES, "(`src/ultramarine/domain/compute.py`)"),
    "Compute instance": (
        INSTANCE,
        "Beside the status of its compute, which alone says that it is deleted. *Running*: JupyterLab answers. What crashes is started again by itself; "
        "after three failures in a row to come up it is *Unusable*, with the end of its log as the reason. (`src/ultramarine/domain/instance.py`)",
    ),
    "Allocation": (
        ALLOCATION,
        "Machines held under our key, each with a runner. Users see them as a cluster's nodes. (`src/ultramarine/domain/allocation.py`)",
    ),
}


def page() -> str:
    return "\n".join([HEAD, *(line for title in MACHINES for line in _section(title))]).rstrip() + "\n"


def _section(title: str) -> Iterator[str]:
    machine, words = MACHINES[title]
    final = ", ".join(f"`{status}`" for status in sorted(machine.final))
    ends = f"ends as {final}" if final else "ends with what it is of"
    yield f"## {title}\n\n{words}\n\nBegins as `{machine.initial}`, {ends}.\n"
    yield f"```mermaid\n{machine.mermaid()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
