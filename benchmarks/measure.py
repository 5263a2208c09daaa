"""What all programs here share: series with their spread, ratios, CPU, and how a result is printed."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
BUSY = 1.0  #: a load average for each CPU above which the machine has other things to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table. `figure`: median and spread; `beside`: the peer's; `ratio`: times the peer's."""

    what: str
    figure: str
    beside: str = ""
    ratio: str = ""
    goal: str = ""
    is_met: bool | None = None  #: None where there is no goal

    def cells(self) -> tuple[str, ...]:
        met = "" if self.is_met is None else "yes" if self.is_met else "**no**"
        return (self.what, self.figure, self.beside, self.ratio, self.goal, met)


@dataclass(frozen=True, slots=True)
class Series:
    """Repeated measurements of one thing, in one unit."""

    values: Sequence[float]
    unit: str = "ms"

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        """The median, and in brackets the quartiles."""
        if len(self.values) < 4:
            return f"{number(self.median)} {self.unit} ({number(min(self.values))}–{number(max(self.values))})"
        low, _, high = statistics.quantiles(self.values, n=4)
        return f"{number(self.median)} {self.unit} ({number(low)}–{number(high)})"


def number(value: float) -> str:
    """With three digits that mean something."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def paired(
    ours: Callable[[], float], peer: Callable[[], float], *, rounds: int, unit: str = "ms"
) -> tuple[Series, Series]:
    """Both in turn."""
    found = in_turn({"ours": ours, "peer": peer}, rounds=rounds, unit=unit)
    return found["ours"], found["peer"]


def in_turn(works: Mapping[str, Callable[[], float]], *, rounds: int, unit: str = "ms") -> dict[str, Series]:
    """All in turn, so that the machine's noise touches all alike. The order changes each round."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds):
        for name in sorted(works, reverse=turn % 2 == 1):
            found[name].append(works[name]())
    return {name: Series(values, unit) for name, values in found.items()}


def ms(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


def cpu_ms(pids: Sequence[int]) -> float:
    """CPU time that these processes have used so far, user and system, in ms. One that is gone counts 0."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total * 1000 / TICKS


def pss_mb(pid: int) -> float:
    """Its proportional share of memory in MB (10⁶ bytes): what is shared counts once."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def children(pid: int) -> list[int]:
    """All processes below it."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            below.setdefault(parent, []).append(int(entry.name))
    found = list(below.get(pid, []))
    for one in found:
        found += below.get(one, [])
    return found


def machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown CPU",
    )
    return f"{len(os.sched_getaffinity(0))} CPUs ({model}), load average {os.getloadavg()[0]:.1f}"


def when_and_where(load_before: float) -> str:
    """For the head of what is kept. `load_before`: the load average before anything was measured."""
    shared = load_before > BUSY * len(os.sched_getaffinity(0))
    noise = (
        "The machine was shared and busy before it began: read the ratios and the CPU time, not the figures."
        if shared
        else "The machine had nothing else to do."
    )
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}; load average {load_before:.1f} before. {noise}"


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    head = ("what", "figure (quartiles)", "beside", "ratio", "goal", "met")
    lines = [head, tuple("---" for _ in head), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def show(rows: Sequence[Row]) -> None:
    """What a program prints when it is run alone."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}\n\n{table(rows)}")
