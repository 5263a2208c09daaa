"""How a turn of the scheduler and its memory grow with the queue and with the nodes, loading from the store included.

    .venv/bin/python -m benchmarks.growth [--quick] [--keep]

Each size is a process of its own, so that its peak of memory is its own, with its rows in SQLite on the disk. "First":
a server that has just started reads everything and writes why each run waits. "Next": as most turns are, nothing has
happened. The time is wall time beside the CPU time of the process: on a busy machine they part. An extra node and an
extra job cost what two sizes differ by.
"""

import asyncio
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from benchmarks import kept
from benchmarks.turn import standing
from ultramarine.controllers.runs import RunLoop

GOAL_MS = 1000.0
TURNS = 5
ONE = "--one"  #: what a process is told that measures a single size
#: Queued jobs and nodes.
SIZES = ((10_000, 1_000), (10_000, 10_000), (50_000, 10_000), (100_000, 10_000))
QUICK = ((200, 20), (400, 20))


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Times in ms, memory in MB (10⁶ bytes): before anything was read, and at most."""

    queued: int
    nodes: int
    first_ms: float
    first_cpu_ms: float
    next_ms: float
    next_cpu_ms: float
    before_mb: float
    peak_mb: float

    @property
    def grown_mb(self) -> float:
        return self.peak_mb - self.before_mb


async def measured(folder: Path, *, queued: int, nodes: int) -> Size:
    """In this process, which must have done nothing else."""
    async with standing(folder, queued=queued, nodes=nodes) as loop:
        before = _peak_mb()
        first = await _timed(loop)
        turns = [await _timed(loop) for _ in range(TURNS)]
    return Size(
        queued=queued,
        nodes=nodes,
        first_ms=first[0],
        first_cpu_ms=first[1],
        next_ms=statistics.median(wall for wall, _ in turns),
        next_cpu_ms=statistics.median(cpu for _, cpu in turns),
        before_mb=before,
        peak_mb=_peak_mb(),
    )


async def _timed(loop: RunLoop) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.create_task(loop.tick())
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def in_its_own_process(queued: int, nodes: int) -> Size:
    words = [sys.executable, "-m", "benchmarks.growth", ONE, str(queued), str(nodes)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return Size(**json.loads(done.stdout))


def table(sizes: Sequence[Size]) -> str:
    """As Markdown: a line for each size, and what one more node and one more job cost."""
    head = "| queued | nodes | first turn, ms (CPU) | next turns, ms (CPU) | goal | met | memory at most, MB | for it |"
    lines = [head, "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for size in sizes:
        met = "yes" if size.next_ms <= GOAL_MS else "**no**"
        lines.append(
            f"| {size.queued:,} | {size.nodes:,} | {size.first_ms:.0f} ({size.first_cpu_ms:.0f}) "
            f"| {size.next_ms:.0f} ({size.next_cpu_ms:.0f}) | ≤ {GOAL_MS:g} | {met} "
            f"| {size.peak_mb:.0f} | {size.grown_mb:.0f} |"
        )
    return "\n".join([*lines, "", *_slopes(sizes)])


def _slopes(sizes: Sequence[Size]) -> list[str]:
    """By CPU time, which other programs touch least."""
    found: list[str] = []
    for one, other in itertools.pairwise(sizes):
        jobs, nodes = other.queued - one.queued, other.nodes - one.nodes
        if bool(jobs) == bool(nodes):
            continue
        more, what = (jobs, "job") if jobs else (nodes, "node")
        cpu, memory = other.next_cpu_ms - one.next_cpu_ms, other.grown_mb - one.grown_mb
        where = f"{one.queued:,} × {one.nodes:,} to {other.queued:,} × {other.nodes:,}"
        found.append(
            f"- {where}: one more {what} costs {cpu * 1000 / more:.1f} µs a turn, {memory * 1000 / more:.2f} kB."
        )
    return found


def main() -> None:
    if sys.argv[1:2] == [ONE]:
        queued, nodes = map(int, sys.argv[2:])
        with tempfile.TemporaryDirectory(prefix="um-bench-") as folder:
            print(json.dumps(asdict(uvloop.run(measured(Path(folder), queued=queued, nodes=nodes)))))
    else:
        kept.main(
            "growth",
            lambda quick: table([in_its_own_process(*size) for size in (QUICK if quick else SIZES)]),
            about=__doc__,
        )


if __name__ == "__main__":
    main()
