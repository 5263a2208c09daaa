"""What a rank uses, in the names that MLflow has for it (its module `system_metrics`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

MEGABYTE = 1e6  #: MLflow's


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as its node last told; None: it does not tell that."""

    uuid: str = ""
    utilization_percent: float | None = None
    memory_used_bytes: float | None = None
    memory_bytes: float | None = None
    power_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The machine of a rank, as it last told. The network's are counters, of the whole machine."""

    cpus: float = 0
    disk_bytes: float = 0
    disk_free_bytes: float = 0
    network_received_bytes: float = 0
    network_sent_bytes: float = 0
    gpus: tuple[Gpu, ...] = ()

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """From a report; what is missing or no number is 0."""
        names = ("cpus", "disk_bytes", "disk_free_bytes", "network_received_bytes", "network_sent_bytes")
        fields = ("utilization_percent", "memory_used_bytes", "memory_bytes", "power_w")
        gpus = tuple(
            Gpu(uuid=str(gpu.get("uuid", "")), **{name: _number(gpu.get(name)) for name in fields})
            for gpu in _mappings(told.get("gpus"))
        )
        return cls(**{name: _number(told.get(name)) or 0 for name in names}, gpus=gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankUse:
    """What a rank uses: `cpu_percent` (of one CPU), `memory_bytes`, `disk_read_bytes`, `disk_written_bytes`."""

    rank: str
    is_alone: bool  #: its run has no other rank, on no node
    values: Mapping[str, float]
    gpus: Sequence[str] | None = None  #: of its run, by UUID; None: all of its node


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A metric's value at a time, for the tracking server."""

    key: str
    value: float
    at_ms: int
    step: int


def system_metrics(use: RankUse, node: Node, *, since: Node) -> dict[str, float]:
    """MLflow's metrics of a rank, by name; with its number where it is not alone. `since`: its node at the beginning.

    CPU is a percentage of the machine's CPUs, memory is the rank's own. Disk and network are the machine's, as in
    MLflow.
    """
    prefix = "system/" if use.is_alone else f"system/rank_{use.rank}/"
    return {prefix + name: value for name, value in _metrics(use, node, since)}


def _metrics(use: RankUse, node: Node, since: Node) -> Iterator[tuple[str, float]]:
    if node.cpus:
        yield "cpu_utilization_percentage", use.values.get("cpu_percent", 0.0) / node.cpus
    yield "system_memory_usage_megabytes", use.values.get("memory_bytes", 0.0) / MEGABYTE
    if node.disk_bytes:
        used = node.disk_bytes - node.disk_free_bytes
        yield "disk_usage_percentage", 100 * used / node.disk_bytes
        yield "disk_usage_megabytes", used / MEGABYTE
        yield "disk_available_megabytes", node.disk_free_bytes / MEGABYTE
    yield "network_receive_megabytes", (node.network_received_bytes - since.network_received_bytes) / MEGABYTE
    yield "network_transmit_megabytes", (node.network_sent_bytes - since.network_sent_bytes) / MEGABYTE
    own = [gpu for gpu in node.gpus if use.gpus is None or gpu.uuid in use.gpus]
    for index, gpu in enumerate(own):
        yield from ((f"gpu_{index}_{name}", value) for name, value in _of_gpu(gpu))


def _of_gpu(gpu: Gpu) -> Iterator[tuple[str, float]]:
    if gpu.utilization_percent is not None:
        yield "utilization_percentage", gpu.utilization_percent
    if gpu.memory_used_bytes is not None:
        yield "memory_usage_megabytes", gpu.memory_used_bytes / MEGABYTE
        if gpu.memory_bytes:
            yield "memory_usage_percentage", 100 * gpu.memory_used_bytes / gpu.memory_bytes
    if gpu.power_w is not None:
        yield "power_usage_watts", gpu.power_w


def _mappings(value: Any) -> list[dict[str, Any]]:
    given = cast(list[Any], value) if isinstance(value, list) else []
    return [cast(dict[str, Any], each) for each in given if isinstance(each, dict)]


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None
