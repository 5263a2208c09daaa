"""Which runs are to be ended here, and why: time, memory, disk, the lease. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .state import Run

_LEASE = "The node heard nothing from the control plane for the length of its lease, and ended its tasks."


@dataclass(frozen=True)
class Verdict:
    """Why a run is to be ended."""

    cause: str
    words: str
    grace_s: float = 0.0


@dataclass(frozen=True)
class Node:
    """What the runs share. Times on the boot clock; sizes in bytes, 0 for no limit."""

    now: float
    lease_until: float
    memory_bytes: int = 0
    disk_full: bool = False
    disk_free_bytes: int = 0
    written: Mapping[str, int] | None = None  #: on the disk, by run key


def verdicts(runs: Sequence[Run], node: Node) -> dict[str, Verdict]:
    """The runs to end now, by key. What has no processes or is ending already is let be; the lease ends all tasks."""
    open_runs = [run for run in runs if run.has_ranks and not run.ending_asked]
    found = {run.key: verdict for run in open_runs if (verdict := _over(run, node))}
    found.update(_of_memory(open_runs, node) if not found else {})
    found.update(_of_disk(open_runs, node))
    if node.now > node.lease_until:
        found.update({run.key: Verdict("lease", _LEASE) for run in runs if run.is_task and not run.ending_asked})
    return found


def next_deadline(runs: Sequence[Run]) -> float | None:
    """When the next time limit is over, on the boot clock."""
    times = [
        run.started_boot_s + run.spec.limits.timeout_s
        for run in runs
        if run.has_ranks and not run.ending_asked
        if run.spec and run.started_boot_s is not None and run.spec.limits.timeout_s is not None
    ]
    return min(times, default=None)


def _over(run: Run, node: Node) -> Verdict | None:
    if run.spec is None or run.started_boot_s is None:
        return None
    limits = run.spec.limits
    if limits.timeout_s is not None and node.now - run.started_boot_s >= limits.timeout_s:
        words = f"It ran for {limits.timeout_s:g} s, which is its limit (limits.timeout)."
        return Verdict("timeout", words, run.wanted.grace_s)
    used, allowed = _used(run), limits.memory_bytes
    if allowed and used > allowed:
        return Verdict("out_of_memory", f"It used {_mib(used)} of memory, its limit is {_mib(allowed)}.")
    return None


def _of_memory(runs: Sequence[Run], node: Node) -> dict[str, Verdict]:
    """The run that uses most goes when all together use more than the node has."""
    total = sum(_used(run) for run in runs)
    if not node.memory_bytes or total <= node.memory_bytes:
        return {}
    run = max(runs, key=_used)
    words = (
        f"It used {_mib(_used(run))} of memory, its node has {_mib(node.memory_bytes)}; all runs used {_mib(total)}."
        " Ask for a larger size."
    )
    return {run.key: Verdict("out_of_memory", words)}


def _of_disk(runs: Sequence[Run], node: Node) -> dict[str, Verdict]:
    """The task that has written most goes when the disk is full."""
    written = {run.key: (node.written or {}).get(run.key, 0) for run in runs if run.is_task}
    if not node.disk_full or not written:
        return {}
    key = max(written, key=lambda one: written[one])
    words = f"The node's disk is full ({_mib(node.disk_free_bytes)} left); this run wrote most: {_mib(written[key])}."
    return {key: Verdict("disk_full", words)}


def _used(run: Run) -> float:
    return run.samples.get("memory_bytes", 0)


def _mib(size: float) -> str:
    return f"{size / (1 << 20):.0f} MiB"
