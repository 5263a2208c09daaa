"""What an installation costs that does nothing: its start until it is ready, its memory, its CPU.

    .venv/bin/python -m benchmarks.footprint [--rounds 5]

Memory is the proportional set size of each part with all its children. The start's peer is the least that any server
of this kind does: a Python that imports FastAPI and SQLAlchemy.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks import measure
from benchmarks.installation import Installation, stopped_installation, until
from benchmarks.measure import Row

READY_GOAL_MS, MEMORY_GOAL_MB = 3000.0, 150.0
IDLE_S = 10.0
FLOOR = "import fastapi, sqlalchemy, uvicorn"


def rows(here: Installation, *, rounds: int) -> Sequence[Row]:
    """Starts and ends it; leaves it running."""
    first = measure.ms(here.up)

    def again() -> float:
        here.down()
        return measure.ms(here.up)

    def floor() -> float:
        return measure.ms(lambda: subprocess.run([sys.executable, "-c", FLOOR], check=True))

    ready, floors = measure.paired(again, floor, rounds=rounds)
    found = [
        Row(
            what="`um up -d` until ready",
            figure=f"{ready}; the first {measure.number(first)} ms",
            beside=f"import fastapi, sqlalchemy, uvicorn {floors}",
            ratio=f"{ready.median / floors.median:.1f}×",
            goal=f"≤ {READY_GOAL_MS:g} ms",
            is_met=ready.median <= READY_GOAL_MS,
        )
    ]
    until(here.are_ready, "MLflow answers", seconds=900, every_s=0.2)  # its first start makes an environment
    return [*found, *_idle(here)]


def _idle(here: Installation) -> Sequence[Row]:
    time.sleep(IDLE_S)  # what a start leaves to be done is done
    parts = {name: [pid, *measure.children(pid)] for name, pid in here.pids().items() if name != "supervisor"}
    parts = {"supervisor": [here.pids()["supervisor"]], **parts}
    memory = {name: sum(measure.pss_mb(pid) for pid in pids) for name, pids in parts.items()}
    before, begin = {name: measure.cpu_ms(pids) for name, pids in parts.items()}, time.perf_counter()
    time.sleep(IDLE_S)
    seconds = time.perf_counter() - begin
    busy = {name: (measure.cpu_ms(pids) - before[name]) / seconds / 10 for name, pids in parts.items()}
    ours = sum(size for name, size in memory.items() if name != "mlflow")
    each = ", ".join(f"{name} {measure.number(size)}" for name, size in memory.items())
    return [
        Row(
            what="idle memory (PSS) without MLflow and runners",
            figure=f"{measure.number(ours)} MB ({each})",
            goal=f"≤ {MEMORY_GOAL_MB:g} MB",
            is_met=ours <= MEMORY_GOAL_MB,
        ),
        Row(
            what="idle CPU, % of a core",
            figure=", ".join(f"{name} {measure.number(percent)}" for name, percent in busy.items()),
        ),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    with stopped_installation() as here:
        measure.show(rows(here, rounds=arguments.parse_args().rounds))


if __name__ == "__main__":
    main()
