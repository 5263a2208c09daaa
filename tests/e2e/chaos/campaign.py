"""Which jobs a campaign has: what they do, when they come, what each may come to. All of it follows from the dice."""

import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SIZE, NODES = "eighth", 8  #: so many nodes are what the machine has room for
NODE_CPUS = (os.cpu_count() or 1) / NODES
SETTINGS: Mapping[str, str] = {
    "ULTRAMARINE_SIZES": json.dumps({SIZE: {"cpus": NODE_CPUS, "memory_gib": 0.5}}),
    "ULTRAMARINE_BEAT_S": "0.5",
    "ULTRAMARINE_SILENT_AFTER_S": "2",
    "ULTRAMARINE_LEASE_S": "6",
    "ULTRAMARINE_LEASE_MARGIN_S": "3",
    "ULTRAMARINE_NODE_START_S": "10",  # it counts anew each time that a target does not answer, which is often here
    "ULTRAMARINE_GRACE_S": "2",
    "ULTRAMARINE_CHECKPOINT_EVERY_S": "0.5",
    "ULTRAMARINE_DISK_RESERVE_BYTES": str(16 << 20),
}
SMALL = {"ULTRAMARINE_RUN_DISK_BYTES_MAX": str(64 << 20)}  #: of runs whose disk is others' too: nobody fills it up
LEASE_S, MARGIN_S = 6.0, 3.0
SCRATCH_MIB = 256  #: of the disk that the nodes of a campaign share
LOW = "low"  #: the cluster whose nodes give way to those of others
MIXED = "mixed"  #: where long spot jobs run while there is room, and now and then somebody takes all of it
CLUSTERS: Mapping[str, int] = {"c": 5, MIXED: 2, LOW: 4}  #: with so many nodes at most

COMPLETED, CANCELED = ("Completed", "completed"), ("Canceled", "stopped")
EXITED, TIMEOUT = ("Failed", "exited"), ("Failed", "timeout")
OUT_OF_MEMORY, DISK_FULL = ("Failed", "out_of_memory"), ("Failed", "disk_full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of job: so many of them (`weight`), what they do, the status and cause of the attempt that ends them."""

    name: str
    weight: int
    deed: str
    amount: tuple[int, int] = (0, 0)  #: lines, times, MiB: from, to
    pause_s: float = 0.02
    ends: tuple[str, str] = COMPLETED
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def cluster(self) -> str:
        return str(self.fields.get("compute", "c"))

    @property
    def ranks(self) -> int:
        return int(self.fields.get("resources", {}).get("instance_count", 1))

    @property
    def part(self) -> float:
        """What it takes of each of its nodes."""
        return float(self.fields.get("resources", {}).get("cpus", NODE_CPUS)) / NODE_CPUS


_TWO, _THREE = {"resources": {"instance_count": 2}}, {"resources": {"instance_count": 3}}
_HALF = {"resources": {"cpus": NODE_CPUS / 2}}
_MIXED, _LOW = {"compute": MIXED}, {"compute": LOW}
_SPOT = {**_MIXED, "queue_settings": {"job_tier": "spot"}}
KINDS = (
    Kind(name="counts", weight=8, deed="count", amount=(100, 400)),
    Kind(name="pair", weight=4, deed="count", amount=(100, 300), fields=_TWO),
    Kind(name="three", weight=2, deed="count", amount=(100, 200), fields=_THREE),
    Kind(name="shares", weight=5, deed="count", amount=(100, 300), fields=_HALF),
    Kind(name="fails", weight=2, deed="fail", amount=(5, 100), ends=EXITED),
    Kind(name="again", weight=3, deed="fail_first", amount=(1, 2), fields={"retries": 2}),
    Kind(name="twice", weight=2, deed="fail", amount=(5, 60), ends=EXITED, fields={"retries": 1}),
    Kind(name="canceled", weight=4, deed="endless", ends=CANCELED),
    Kind(name="gone", weight=2, deed="endless", ends=CANCELED, fields=_TWO),
    Kind(name="late", weight=2, deed="endless", ends=TIMEOUT, fields={"limits": {"timeout": 4}}),
    Kind(name="greedy", weight=1, deed="greedy", amount=(32, 32), pause_s=0.1, ends=OUT_OF_MEMORY),
    Kind(name="hog", weight=1, deed="hog", amount=(8, 8), pause_s=0.15, ends=DISK_FULL),
    Kind(name="spot", weight=9, deed="resume", amount=(500, 1200), fields=_SPOT),
    Kind(name="takes", weight=4, deed="count", amount=(50, 150), fields={**_MIXED, **_TWO}),
    Kind(name="low", weight=6, deed="resume", amount=(300, 700), fields=_LOW),
    Kind(name="lowpair", weight=2, deed="count", amount=(100, 200), fields={**_LOW, **_TWO}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A job that will be asked for `at_s` seconds after the beginning, and canceled `cancel_s` after that."""

    name: str
    kind: Kind
    amount: int
    at_s: float
    cancel_s: float | None

    def command(self, ledger: object) -> str:
        return f"python witness.py {ledger} {self.name} {self.kind.deed} {self.amount} {self.kind.pause_s}"

    @property
    def ranks(self) -> int:
        return self.kind.ranks

    @property
    def retries(self) -> int:
        return int(self.kind.fields.get("retries", 0))


def planned(chance: random.Random, *, count: int, seconds: float, nodes: Mapping[str, int] = CLUSTERS) -> list[Planned]:
    """As many of each kind as their weights say, in an order and at moments that are diced: alone, and in crowds.

    `nodes`: of each cluster; what has no room there is left out.
    """
    fitting = [kind for kind in KINDS if kind.ranks <= nodes[kind.cluster]]
    weights = [kind.weight for kind in fitting]
    kinds = [kind for kind in fitting for _ in range(max(1, round(count * kind.weight / sum(weights))))]
    chance.shuffle(kinds)
    kinds = [*kinds[:count], *chance.choices(fitting, weights, k=max(0, count - len(kinds)))]
    moments = list[float]()
    while len(moments) < count:
        crowd = chance.choice((1, 1, 2, 4, 8, 12))
        moments += [chance.uniform(0, seconds)] * crowd
    found = list[Planned]()
    for number, (kind, at_s) in enumerate(zip(kinds, sorted(moments[:count]), strict=True)):
        cancel_s = chance.uniform(0, 8) if kind.ends == CANCELED else None
        name = f"{kind.name}-{number}"
        found.append(Planned(name=name, kind=kind, amount=chance.randint(*kind.amount), at_s=at_s, cancel_s=cancel_s))
    return found
