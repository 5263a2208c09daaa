"""Compute targets, their nodes and what they use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ultramarine.domain.allocation import Allocation, AllocationStatus, Node
from ultramarine.domain.compute import ClusterSpec, Compute, ComputeEvent, ComputeStatus, LocalSpec, read_spec
from ultramarine.domain.errors import Conflict, InvalidInput
from ultramarine.domain.identity import Right, Token, check
from ultramarine.domain.instance import Instance, InstanceSpec
from ultramarine.domain.names import ComputeId, NodeKey, Reference, checked_name
from ultramarine.domain.page import Page, PageRequest, cut
from ultramarine.domain.run import ON_NODES, Run
from ultramarine.domain.size import Amount, Size
from ultramarine.planning.idleness import Idleness
from ultramarine.planning.state import State
from ultramarine.services import identity, inside
from ultramarine.services import instances as instance_services
from ultramarine.services.context import Context
from ultramarine.store import allocations, computes, endpoints, hosts, instances, leases, runs
from ultramarine.store.database import Tx

CHANGEABLE = ("min_instances", "max_instances", "idle_time_before_scale_down", "description", "tags")
CHANGEABLE_OF_INSTANCE = (
    "idle_time_before_shutdown_minutes",
    "schedules",
    "setup_scripts",
    "custom_applications",
    "description",
    "tags",
)
MadeSpec = ClusterSpec | InstanceSpec  #: of what users make


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeState:
    """A compute with what lives on it now; of an instance, how it stands."""

    compute: Compute
    allocations: Sequence[Allocation]
    runs: Sequence[Run]
    nodes: Mapping[NodeKey, Node]  #: those whose runner has said hello
    instance: Instance | None = None
    idleness: Idleness | None = None  #: of an instance that is up, once it is known
    notice: str = ""

    def limits_by(self, allocation: Allocation) -> str:
        """By what the limits of runs are held on its node, as its runner said; "" before it has."""
        node = self.nodes.get(allocation.node)
        return "" if node is None else str(node.machine.get("limits", ""))

    @property
    def instance_words(self) -> str:
        """Of an instance, why it stands as it does."""
        return "" if self.instance is None else self.instance.words(self.runs[-1].reason if self.runs else "")

    def runs_on(self, allocation: Allocation) -> list[Run]:
        return [run for run in self.runs if allocation.node in run.nodes and run.status in ON_NODES]


async def put(
    ctx: Context, workspace: str, name: str, body: Mapping[str, Any], *, token: Token
) -> tuple[ComputeState, bool]:
    """Make a cluster or an instance, or change what is there. The second value: whether it is new.

    Clusters are for compute operators to make; an instance of one's own is for all who work.
    """
    checked_name("compute", name)
    spec = read_spec({**body, "name": body.get("name", name)})
    if spec.name != name:
        raise InvalidInput(f"name: the body says {spec.name!r}, the address {name!r}.", hint="Use one name in both.")
    if isinstance(spec, LocalSpec):
        raise Conflict(
            "The compute local is there in every workspace and cannot be made.", hint="um compute show local"
        )
    if not isinstance(spec, InstanceSpec):
        check(token, Right.OPERATE, workspace)
    else:
        instance_services.check_spec(ctx, spec)
    host = ctx.site.host(spec.provider)
    size, notice = ctx.site.sizes.fitted(spec.size, host)
    async with ctx.begin() as tx:
        await identity.require_workspace(tx, workspace)
        await leases.alone(tx, leases.COMPUTES)  # that it has no other's name and no other's ports
        there = await computes.find(tx, workspace, name)
        if there is None:
            made = _new(ctx, workspace, spec, size)
            await inside.check_ports(tx, made)
            await computes.add(tx, made)
            if isinstance(spec, InstanceSpec):
                await instances.add(tx, instance_services.new(ctx, made, spec, token=token))
        else:
            await _check_owner(tx, there, token)
            changed = _changed(there, spec, size)
            await inside.check_ports(tx, changed)
            await instance_services.follow(ctx, tx, before=there, after=changed)
            await computes.update(tx, changed, now=ctx.clock())
        state = await _state(ctx, tx, await computes.get(tx, workspace, name), notice=notice)
    ctx.ring(ctx.serving)
    return state, there is None


async def _check_owner(tx: Tx, compute: Compute, token: Token) -> None:
    if (instance := await instances.find(tx, compute.id)) is not None:
        instance_services.check_owner(token, instance)


def _new(ctx: Context, workspace: str, spec: MadeSpec, size: Size) -> Compute:
    now = ctx.clock()
    return Compute(
        id=ComputeId(f"c{ctx.names()[:10]}"),
        workspace=workspace,
        name=spec.name,
        spec=spec,
        host=ctx.site.host(spec.provider).name,
        size=size.amount,
        size_name=size.name,
        created_at=now,
        changed_at=now,
    )


def _changed(there: Compute, spec: MadeSpec, size: Size) -> Compute:
    """Nodes keep the size that they were made with, so a cluster's size stays as it is."""
    if there.status is not ComputeStatus.SUCCEEDED:
        raise Conflict(
            f"Compute {there.name} is being deleted.",
            hint=f"Wait until um compute show {there.name} says that it is gone.",
        )
    if size.name != there.size_name:
        raise Conflict(
            f"Compute {there.name} has size {there.size_name}; a size cannot be changed to {size.name}.",
            hint=f"um compute resize -n {there.name} --size {size.name}"
            if there.is_instance
            else "Make another compute with that size.",
        )
    if spec.type != there.spec.type:
        raise Conflict(
            f"Compute {there.name} is of type {there.spec.type}; it cannot become {spec.type}.",
            hint="Make another compute of that type.",
        )
    if spec.provider != there.provider:
        raise Conflict(
            f"Compute {there.name} has provider {there.provider}; it cannot be changed to {spec.provider}.",
            hint="Make another compute with that provider.",
        )
    return replace(there, spec=spec)


async def update(ctx: Context, workspace: str, name: str, changes: Mapping[str, Any], *, token: Token) -> ComputeState:
    async with ctx.read() as tx:
        there = await computes.get(tx, workspace, name)
    changeable = CHANGEABLE_OF_INSTANCE if there.is_instance else CHANGEABLE
    if unknown := [field for field in changes if field not in changeable]:
        raise InvalidInput(
            f"{unknown[0]}: it cannot be changed.", hint=f"What can be changed: {', '.join(changeable)}."
        )
    state, _ = await put(ctx, workspace, name, {**there.spec.body(), "type": there.spec.type, **changes}, token=token)
    return state


async def get(ctx: Context, workspace: str, name: str) -> ComputeState:
    async with ctx.read() as tx:
        return await _state(ctx, tx, await computes.get(tx, workspace, name))


async def page(ctx: Context, workspace: str, request: PageRequest) -> Page[ComputeState]:
    async with ctx.read() as tx:
        await identity.require_workspace(tx, workspace)
        found = await computes.page(tx, workspace, request)
        living = await _living(ctx, tx)
    return found.map(living.on)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """A node, what runs on it, and what its runner last said of its load."""

    allocation: Allocation
    runs: Sequence[Run]
    limits: str  #: by what the limits of runs are held there, as its runner said
    load: Mapping[str, Any]


async def nodes(ctx: Context, workspace: str, name: str, *, request: PageRequest) -> Page[NodeState]:
    async with ctx.read() as tx:
        compute = await computes.get(tx, workspace, name)
        found = await allocations.of_compute(tx, compute.id, request)
        state = await _state(ctx, tx, compute)
    return found.map(
        lambda a: NodeState(allocation=a, runs=state.runs_on(a), limits=state.limits_by(a), load=ctx.hub.load(a.node))
    )


async def delete(ctx: Context, workspace: str, name: str, *, token: Token) -> ComputeState:
    """Ask for its end: its runs are canceled, its nodes released, then it is gone."""
    async with ctx.begin() as tx:
        compute = await computes.get(tx, workspace, name)
        if compute.is_elastic:
            raise Conflict("The compute local is this machine itself and cannot be deleted.", hint="um compute list")
        if not compute.is_instance:
            check(token, Right.OPERATE, workspace)
        await _check_owner(tx, compute, token)
        await _refuse_with_deployments(tx, compute)
        if compute.status is ComputeStatus.SUCCEEDED:
            compute = await computes.record(
                tx, compute, ComputeEvent.DELETE_ASKED, now=ctx.clock(), reason="Asked by user."
            )
        state = await _state(ctx, tx, compute)
    ctx.ring()
    return state


async def _refuse_with_deployments(tx: Tx, compute: Compute) -> None:
    there = await endpoints.deployments(tx, compute.workspace)
    on_it = [d for d in there if Reference.parse(d.spec.compute, field="compute").name == compute.name]
    if on_it:
        named = ", ".join(f"{d.endpoint}/{d.name}" for d in on_it)
        raise Conflict(
            f"Compute {compute.name} holds the replicas of {named}.",
            hint=f"Delete them first: um online-deployment delete -e {on_it[0].endpoint} -n {on_it[0].name}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeState:
    """A size of the catalogue, the names that mean it, and whether this machine has room for it."""

    name: str
    amount: Amount
    aliases: Sequence[str]
    fits: bool


def sizes(ctx: Context, request: PageRequest) -> Page[SizeState]:
    machine, known = ctx.site.machine.total, ctx.site.sizes
    found = [
        SizeState(
            name=name,
            amount=amount,
            aliases=[alias for alias, meant in known.aliases.items() if meant == name],
            fits=amount.fits_in(machine),
        )
        for name, amount in known.native.items()
    ]
    return cut(found, request, key=lambda size: size.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of one thing of one host: how much there is, and how much of it is promised."""

    host: str
    of: str
    taken: float
    total: float


async def usage(ctx: Context, request: PageRequest) -> Page[Usage]:
    async with ctx.read() as tx:
        state = State(
            epoch=ctx.site.epoch,
            runs=await runs.open_ones(tx),
            computes=(),
            allocations=await allocations.open_ones(tx),
            nodes=(),
            hosts=await hosts.every(tx),
        )
    found = [
        one for host in state.hosts if host.is_bounded for one in _usage(host.name, state.taken(host.name), host.total)
    ]
    return cut(found, request, key=lambda usage: f"{usage.host}/{usage.of}")


def _usage(host: str, taken: Amount, total: Amount) -> Sequence[Usage]:
    return [
        Usage(host=host, of="cpus", taken=taken.cpus_milli / 1000, total=total.cpus_milli / 1000),
        Usage(host=host, of="memory_bytes", taken=taken.memory_bytes, total=total.memory_bytes),
        Usage(host=host, of="gpus", taken=taken.gpus, total=total.gpus),
    ]


async def _state(ctx: Context, tx: Tx, compute: Compute, *, notice: str = "") -> ComputeState:
    return (await _living(ctx, tx)).on(compute, notice=notice)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Living:
    """All that lives on any compute, read once for several."""

    allocations: Sequence[Allocation]
    runs: Sequence[Run]
    nodes: Mapping[NodeKey, Node]
    instances: Mapping[ComputeId, Instance]
    idleness: Mapping[ComputeId, Idleness]

    def on(self, compute: Compute, *, notice: str = "") -> ComputeState:
        held = [a for a in self.allocations if a.compute == compute.id and a.status is not AllocationStatus.ENDED]
        there = [run for run in self.runs if run.compute == compute.id]
        return ComputeState(
            compute=compute,
            allocations=held,
            runs=there,
            nodes=self.nodes,
            instance=self.instances.get(compute.id),
            idleness=self.idleness.get(compute.id),
            notice=notice,
        )


async def _living(ctx: Context, tx: Tx) -> _Living:
    nodes = {node.key: node for node in await allocations.nodes(tx)}
    return _Living(
        allocations=await allocations.open_ones(tx),
        runs=await runs.open_ones(tx),
        nodes=nodes,
        instances={each.id: each for each in await instances.every(tx)},
        idleness=ctx.hub.idleness,
    )
