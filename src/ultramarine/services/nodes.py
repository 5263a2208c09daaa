"""What runners say and ask: hello, desired, reported, logs."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field

from ultramarine.domain.allocation import HOLDS_ROOM, USABLE, AllocationEvent, AllocationStatus, Node
from ultramarine.domain.distribution import PROCESSES_MAX
from ultramarine.domain.errors import Conflict, NotFound, NotSignedIn, UltramarineError
from ultramarine.domain.names import AllocationKey, NodeKey, RunKey, is_of, is_sha256
from ultramarine.domain.run import Cause, CheckpointReport, Ending, Phase, RunReport
from ultramarine.domain.usage import RankUse
from ultramarine.files.logs import LogPlace
from ultramarine.planning.seen import DIGITS, NodeNews
from ultramarine.services.context import Context
from ultramarine.services.hub import Desired
from ultramarine.services.secrets import parts
from ultramarine.store import allocations, runs
from ultramarine.store.database import Tx

PROTOCOL = 1
NODE, JOIN = "node", "join"
ENVIRONMENTS_MAX = 200  #: that a node is believed to have
WALL_MAX_S = 2.0**33  #: some time in 2242


class NodeReleased(UltramarineError):
    """The allocation of this node has ended: its runner ends every run, then itself."""

    title = "This allocation has ended"


class Hello(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer runner may say more
    protocol: int
    allocation: str
    rank: int
    epoch: str
    nonce: str = Field(min_length=16, max_length=128)
    join_secret: str
    machine: dict[str, Any]


class Ended(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    cause: Cause
    code: int | None = None
    words: str = ""
    rank: int | None = None
    outputs: dict[str, str] = Field(default_factory=dict[str, str])
    tail: str = ""


class Checkpoint(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    snapshot: str | None = None
    problem: str = ""

    def report(self) -> CheckpointReport:
        snapshot = self.snapshot if self.snapshot and is_sha256(self.snapshot) else None
        return CheckpointReport(snapshot=snapshot, problem=self.problem[:500])


class Reported(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    phase: Phase
    progress: str = ""
    address: str | None = None
    port: int | None = None
    ports: list[int] = Field(default_factory=list[int], max_length=PROCESSES_MAX)
    sockets: dict[str, str] = Field(default_factory=dict[str, str])
    started_at: float | None = None
    samples: dict[str, Any] = Field(default_factory=dict[str, Any])
    ranks: dict[str, dict[str, float]] = Field(default_factory=dict[str, dict[str, float]])
    world_size: int = 1
    gpus: list[str] | None = None  #: its own, by UUID; None: all of its node
    checkpoint: Checkpoint = Checkpoint()
    ended: Ended | None = None

    def report(self) -> RunReport:
        ended = None
        if self.ended is not None and self.phase == "ended":
            e = self.ended
            ended = Ending(
                cause=e.cause,
                code=e.code,
                words=e.words[:2000],
                rank=e.rank,
                tail=e.tail[-8192:],
                outputs=dict(e.outputs),
            )
        return RunReport(
            phase=self.phase,
            progress=self.progress[:500],
            address=self.address or "",
            port=self.port or 0,
            ports=tuple(self.ports),
            sockets=dict(self.sockets),
            started_at=_moment(self.started_at),
            samples=dict(self.samples),
            checkpoint=self.checkpoint.report(),
            ended=ended,
        )

    def uses(self) -> list[RankUse]:
        """Of those of its ranks that are alive on this node."""
        is_alone = self.world_size == 1
        alive = self.ranks if self.phase == "running" else {}
        return [RankUse(rank=rank, is_alone=is_alone, values=v, gpus=self.gpus) for rank, v in alive.items()]


def _moment(wall_s: float | None) -> datetime | None:
    """A node's wall clock; one that is out of its mind says nothing."""
    return None if wall_s is None or not 0 < wall_s < WALL_MAX_S else datetime.fromtimestamp(wall_s, UTC)


class Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    etag: str | None = None
    runs: dict[str, Reported]
    node: dict[str, Any] = Field(default_factory=dict[str, Any])

    def news(self, now: datetime) -> NodeNews:
        """`now`: when it was accepted."""
        runs = {RunKey(key): each.report() for key, each in self.runs.items()}
        told = self.node.get("environments")
        listed = cast("list[object]", told)[:ENVIRONMENTS_MAX] if isinstance(told, list) else []
        environments = [str(each)[:DIGITS] for each in listed]
        ails = str(self.node.get("ails") or "")[:300]
        return NodeNews(heard_at=now, runs=runs, environments=frozenset(environments), ails=ails)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    node_token: str
    lease_s: float
    beat_s: float


async def hello(ctx: Context, said: Hello) -> Welcome:
    """Take a runner for a node, once: the same nonce gets the same answer, another one is refused."""
    if said.protocol != PROTOCOL:
        raise Conflict(
            f"The runner speaks protocol {said.protocol}, the server {PROTOCOL}.",
            hint="Start the runner that this server ships.",
        )
    if said.epoch != ctx.site.epoch or not ctx.secrets.matches(said.join_secret, JOIN, said.allocation):
        raise NotSignedIn(
            "The join secret is not that of this allocation.",
            hint="Runners are started by the control plane's drivers only.",
        )
    key = NodeKey(f"{said.allocation}.{said.rank}")
    async with ctx.begin() as tx:
        allocation = await allocations.get(tx, said.allocation)
        if allocation.status not in USABLE or said.rank != 0:
            raise NodeReleased(
                f"Allocation {allocation.key} is {allocation.status}.", hint="Nothing is to be done: this runner ends."
            )
        there = await allocations.node(tx, key)
        if there is not None and there.nonce != said.nonce:
            raise Conflict(f"Node {key} has another runner already.", hint="Nothing is to be done: this runner ends.")
        if there is None:
            node = Node(
                key=key,
                allocation=AllocationKey(said.allocation),
                nonce=said.nonce,
                machine=said.machine,
                used_at=ctx.clock(),
            )
            await allocations.add_node(tx, node)
            await allocations.record(tx, allocation, AllocationEvent.SAID_HELLO, now=ctx.clock())
    ctx.hub.greet(key, now=ctx.clock())
    ctx.ring()
    return Welcome(
        node_token=ctx.secrets.token(NODE, key, said.nonce),
        lease_s=ctx.hub.patience.lease_s,
        beat_s=ctx.hub.patience.beat_s,
    )


async def signed_in(ctx: Context, bearer: str) -> NodeKey:
    """Which node this token is of. Raises `NotSignedIn`, or `NodeReleased` when its allocation is over."""
    purpose, key, nonce, secret = parts(bearer, 4)
    if purpose != NODE or not ctx.secrets.matches(secret, NODE, key, nonce):
        raise NotSignedIn("This is no token of a node.", hint="A runner gets its token by hello.")
    node = NodeKey(key)
    if not is_of(node, ctx.site.epoch):
        raise NodeReleased(
            f"Node {key} is of before the installation was restored from a backup.",
            hint="Nothing is to be done: this runner ends.",
        )
    if ctx.hub.etag(node):
        return node  # it is among those whose desired state was published, so it is ours
    async with ctx.read() as tx:
        found = await allocations.node(tx, key)
        status = await _status(tx, key)
    if found is not None and secrets.compare_digest(found.nonce, nonce) and status in HOLDS_ROOM:
        return node
    raise NodeReleased(f"Node {key} is not ours any more.", hint="Nothing is to be done: this runner ends.")


async def _status(tx: Tx, node: str) -> AllocationStatus:
    try:
        return (await allocations.get(tx, node.rpartition(".")[0])).status
    except NotFound:
        return AllocationStatus.FORGOTTEN


async def desired(ctx: Context, node: NodeKey, *, etag: str, wait_s: float) -> Desired | None:
    return await ctx.hub.desired(node, etag=etag, wait_s=min(wait_s, 60))


def report(ctx: Context, node: NodeKey, said: Report) -> Mapping[str, Any]:
    """Take a node's whole state. Runs that it should not have (any more) are fenced: ended without grace."""
    news = said.news(ctx.clock())
    if ctx.hub.report(node, news, said.node, etag=said.etag):
        ctx.work.ring()
    ctx.measures.beat()
    for key, each in said.runs.items():
        ctx.usage.take(RunKey(key), each.uses(), said.node, at=news.heard_at)
    alive = [key for key, each in said.runs.items() if each.phase != "ended"]
    fenced = [key for key in alive if ctx.hub.fences(node, RunKey(key))]
    return {"etag": ctx.hub.etag(node), "lease_s": ctx.hub.patience.lease_s, "fenced": fenced}


async def append_log(ctx: Context, node: NodeKey, place: LogPlace, content: bytes, *, offset: int) -> int:
    """Add to a log of a run that is or was on this node. The size now.

    Raises `OffsetDiffers`, and `NotFound` for a run that is not this node's.
    """
    if not ctx.hub.wants(node, place.run):
        async with ctx.read() as tx:
            if node not in (await runs.get(tx, place.run)).nodes:
                raise NotFound("run", place.run, hint="Nothing is to be done: these logs are not wanted.")
    size = ctx.logs.append(place, content, offset=offset)
    ctx.changes.ring()
    return size
