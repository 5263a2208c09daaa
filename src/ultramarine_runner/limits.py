"""Which runs are to be ended here, and why: time, memory, processes, disk, the lease. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .spec import Limits
from .state import Run

_LEASE = "The node heard nothing from the control plane for the length of its lease, and ended its tasks."
WORTH_BYTES = 1 << 20  #: ending a run that has written less gives a full disk nothing back
DISK_PATIENCE_S = 10.0  #: so long whoever else has written more is waited for
_KEPT_BY = "ask who keeps this installation for more"


@dataclass(frozen=True)
class Verdict:
    """Why a run is to be ended."""

    cause: str
    words: str
    grace_s: float = 0.0


@dataclass(frozen=True)
class Disk:
    """The disk that the folders of runs are on. Sizes in bytes."""

    free_bytes: int = 0
    is_full: bool = False
    written: Mapping[str, int] = field(
        default_factory=dict[str, int]
    )  #: by run key, of those that have a limit; of all when it is full
    beside_bytes: int = 0  #: the most that a run has there which is another node's, or has ended and is not gone yet
    full_s: float = 0.0  #: for how long it has been full


@dataclass(frozen=True)
class Node:
    """What the runs share. Times on the boot clock; sizes in bytes, 0 for no limit."""

    now: float
    lease_until: float
    memory_bytes: int = 0
    disk: Disk = Disk()


def verdicts(runs: Sequence[Run], node: Node) -> dict[str, Verdict]:
    """The runs to end now, by key. What has no processes or is ending already is let be; the lease ends all tasks."""
    open_runs = [run for run in runs if run.has_ranks and not run.ending_asked]
    found = {run.key: verdict for run in open_runs if (verdict := _over(run, node))}
    found.update(_of_memory(open_runs, node) if not found else {})
    found.update(_of_disk(open_runs, node.disk))
    found.update(of_lease(runs, node))
    return found


def of_lease(runs: Sequence[Run], node: Node) -> dict[str, Verdict]:
    """The tasks that end with the lease, if it is over."""
    if node.now <= node.lease_until:
        return {}
    return {run.key: Verdict("lease", _LEASE) for run in runs if run.is_task and not run.ending_asked}


def next_deadline(runs: Sequence[Run]) -> float | None:
    """When the next time limit is over, on the boot clock."""
    times = [
        run.started_boot_s + run.spec.limits.timeout_s
        for run in runs
        if run.has_ranks and not run.ending_asked
        if run.spec and run.started_boot_s is not None and run.spec.limits.timeout_s is not None
    ]
    return min(times, default=None)


def memory_words(used: float, limits: Limits) -> str:
    """How much of its memory a run has used. `limits.memory_bytes` is set."""
    return f"It used {size(used)} of the {size(limits.memory_bytes or 0)} of memory of {limits.of}. {limits.hint}"


def log_words(limits: Limits) -> str:
    """A log that grew too long. `limits.log_bytes` is set."""
    return (
        f"It wrote more than the {limits.log_bytes} bytes ({size(limits.log_bytes or 0)}) of log that a rank may write."
        f" Write less, or write to a file in outputs, or {_KEPT_BY} (ULTRAMARINE_RUN_LOG_BYTES_MAX)."
    )


def size(value: float) -> str:
    """Bytes for a person."""
    mib = value / (1 << 20)
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"


def _over(run: Run, node: Node) -> Verdict | None:
    if run.spec is None or run.started_boot_s is None:
        return None
    limits = run.spec.limits
    if limits.timeout_s is not None and node.now - run.started_boot_s >= limits.timeout_s:
        words = f"It ran for {limits.timeout_s:g} s, which is its limit (limits.timeout)."
        return Verdict("timeout", words, run.wanted.grace_s)
    return _too_much(run, limits, node.disk.written.get(run.key, 0))


def _too_much(run: Run, limits: Limits, written: int) -> Verdict | None:
    used, there = run.samples.get("memory_bytes", 0), run.samples.get("processes", 0)
    if limits.memory_bytes and used > limits.memory_bytes:
        return Verdict("out_of_memory", memory_words(used, limits))
    if limits.processes and (there > limits.processes or run.samples.get("processes_refused")):
        words = (
            f"It had {max(there, limits.processes):.0f} processes and threads of the {limits.processes} that a run may"
            f" have. Start fewer, or {_KEPT_BY} (ULTRAMARINE_RUN_PROCESSES_MAX)."
        )
        return Verdict("processes", words)
    if limits.disk_bytes and written > limits.disk_bytes:
        words = (
            f"It used {size(written)} of the {size(limits.disk_bytes)} of disk that a run may write."
            f" Write less, or {_KEPT_BY} (ULTRAMARINE_RUN_DISK_BYTES_MAX)."
        )
        return Verdict("disk_full", words)
    return None


def _of_memory(runs: Sequence[Run], node: Node) -> dict[str, Verdict]:
    """The run that uses most goes when all together use more than the node has, or when the kernel had to kill."""
    killed = [run for run in runs if run.samples.get("oom_kills")]
    total = sum(_used(run) for run in runs)
    is_full = bool(node.memory_bytes) and total > node.memory_bytes
    if not killed and not is_full:
        return {}
    run = max(killed or runs, key=_used)
    limits = run.spec.limits if run.spec else Limits()
    used = max(_used(run), run.samples.get("memory_peak_bytes", 0)) if killed else _used(run)
    allowed = limits.memory_bytes if killed and limits.memory_bytes else node.memory_bytes
    words = memory_words(used, Limits(memory_bytes=allowed, of=limits.of, hint=limits.hint))
    more = f" All runs of its node used {size(total)}." if is_full and len(runs) > 1 else ""
    return {run.key: Verdict("out_of_memory", words + more)}


def _of_disk(runs: Sequence[Run], disk: Disk) -> dict[str, Verdict]:
    """The task that has written most goes when the disk is full: it, and none of those that share the disk with it."""
    written = {run.key: disk.written.get(run.key, 0) for run in runs if run.is_task}
    if not disk.is_full or not written:
        return {}
    key = max(written, key=lambda one: written[one])
    is_another = disk.beside_bytes > written[key] and disk.full_s < DISK_PATIENCE_S
    if is_another or written[key] < WORTH_BYTES:
        return {}
    words = f"The node's disk is full ({size(disk.free_bytes)} left); this run wrote most: {size(written[key])}."
    return {key: Verdict("disk_full", words)}


def _used(run: Run) -> float:
    return run.samples.get("memory_bytes", 0)
