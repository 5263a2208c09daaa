"""Which run is over which of its limits. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .state import Run

DISK_RESERVE_BYTES = 64 << 20  #: what is always left on the disk, so that runner and control plane can go on writing


@dataclass(frozen=True)
class Verdict:
    """Why a run is to be ended."""

    cause: str
    words: str
    grace_s: float


def over(run: Run, *, now: float, node_memory_bytes: int) -> Verdict | None:
    """What one run is over, by its last samples. `now`: boot clock, seconds."""
    if run.spec is None or run.started_boot_s is None:
        return None
    limits = run.spec.limits
    if limits.timeout_s is not None and now - run.started_boot_s >= limits.timeout_s:
        return Verdict(
            "timeout", f"It ran for {limits.timeout_s:g} s, which is its limit (limits.timeout).", run.wanted.grace_s
        )
    used = run.samples.get("memory_bytes", 0)
    allowed = limits.memory_bytes or node_memory_bytes
    if allowed and used > allowed:
        words = f"It used {_mib(used)} of memory, its limit is {_mib(allowed)}. Ask for a larger size."
        return Verdict("out_of_memory", words, 0.0)
    return None


def of_disk(free_bytes: int, written: dict[str, int]) -> tuple[str, Verdict] | None:
    """Which run has to go when the disk is full: the task that has written most. `written`: bytes by run key."""
    if free_bytes >= DISK_RESERVE_BYTES or not written:
        return None
    key = max(written, key=lambda one: written[one])
    words = (
        f"The node's disk is full ({_mib(free_bytes)} left), and this run has written most to it: {_mib(written[key])}."
    )
    return key, Verdict("disk_full", words, 0.0)


def next_deadline(runs: list[Run]) -> float | None:
    """When the next time limit is over, on the boot clock."""
    times = [
        run.started_boot_s + run.spec.limits.timeout_s
        for run in runs
        if run.has_ranks and run.spec and run.started_boot_s is not None and run.spec.limits.timeout_s is not None
    ]
    return min(times, default=None)


def _mib(size: float) -> str:
    return f"{size / (1 << 20):.0f} MiB"
