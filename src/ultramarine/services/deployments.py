"""Online deployments: what stands behind an endpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from ultramarine.domain.compute import Compute, ComputeStatus
from ultramarine.domain.endpoint import Deployment, DeploymentEvent, DeploymentSpec, DeploymentStatus
from ultramarine.domain.errors import Conflict, InvalidInput, NotFound
from ultramarine.domain.names import Reference, RunKey, checked_name
from ultramarine.domain.page import Page, PageRequest
from ultramarine.domain.run import OwnerNoun, Run, RunStatus
from ultramarine.domain.size import SHARE_MILLI, Amount
from ultramarine.planning.lately import Lately, ReplicaLoad
from ultramarine.planning.probing import Kind
from ultramarine.planning.traffic import Traffic
from ultramarine.routing.publisher import Reach
from ultramarine.services import endpoints as endpoint_services
from ultramarine.services import environments, models
from ultramarine.services.context import Context
from ultramarine.services.measures import ReplicaFigures
from ultramarine.services.snapshots import uploaded
from ultramarine.store import computes, endpoints, runs
from ultramarine.store.database import Tx

#: What a replica is told when it begins: a change of it takes new ones.
RENEWING = ("environment_variables", "data_collector", "batching_enabled", "onnx_enabled", "smoke_test_enabled")
#: What can be changed on a deployment that is there; for another model, code or environment make another deployment.
CHANGEABLE = (
    *RENEWING,
    "instance_count",
    "scale_settings",
    "request_settings",
    "liveness_probe",
    "readiness_probe",
    "app_insights_enabled",
    "description",
    "tags",
)
#: Of these what a change does not name stays as it is; with a `type` the settings are others altogether.
SETTINGS = (
    "scale_settings",
    "request_settings",
    "liveness_probe",
    "readiness_probe",
    "data_collector",
    "environment_variables",
)
#: Collections that fill without a script's doing.
COLLECTED_BY_ITSELF = ("model_inputs", "model_outputs", "request", "response")
LOG_BYTES = 1 << 20
FAILED_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentState:
    """`reached`: of its replicas, whether the gateway reaches each; nothing of one that it has not tried.

    `leaving`: those that get no more requests, since when. `unwell`: what their probes have against them.
    `failed`: replicas that failed last, the newest first. `traffic`: what the gateway has counted, where it was asked.
    `lately`: of that, what came in the last minute. `scaling`: what its requests were at the last look.
    `loads`: what its replicas say they have to do. `uses`: what they use of their node.
    `notice`: what its user should know, when it is made.
    """

    deployment: Deployment
    replicas: Sequence[Run]
    failed: Sequence[Run]
    reached: Mapping[RunKey, Reach]
    leaving: Mapping[RunKey, datetime]
    unwell: Mapping[RunKey, str]
    traffic: Traffic | None
    lately: Lately | None
    loads: Mapping[RunKey, ReplicaLoad]
    uses: Mapping[RunKey, Mapping[str, Mapping[str, float]]]
    scaling: str
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLog:
    """`replica`: its number, which its deployment counts."""

    replica: int
    text: str


async def put(
    ctx: Context, workspace: str, endpoint: str, name: str, *, body: Mapping[str, Any]
) -> tuple[DeploymentState, bool]:
    """Write what is wanted; the loops resolve the model and make the replicas. The second value: whether it is new."""
    checked_name("online deployment", name)
    spec = DeploymentSpec.read(
        {**body, "name": body.get("name", name), "endpoint_name": body.get("endpoint_name", endpoint)},
        what=f"deployment {name}",
    )
    if (spec.name, spec.endpoint_name) != (name, endpoint):
        raise InvalidInput(
            f"The body says {spec.endpoint_name}/{spec.name}, the address {endpoint}/{name}.",
            hint="Use the same names in both.",
        )
    notice = await _check(ctx, workspace, spec)
    async with ctx.begin() as tx:
        await endpoints.get(tx, workspace, endpoint)
        there = {d.name: d for d in await endpoints.deployments(tx, workspace, endpoint)}.get(name)
        if there is None:
            deployment = _new(ctx, workspace, spec)
            await endpoints.add_deployment(tx, deployment)
        else:
            deployment = await _change(ctx, tx, there, spec)
        state = await _state(ctx, tx, deployment)
    ctx.ring(ctx.serving)
    return replace(state, notice=notice), there is None


async def _check(ctx: Context, workspace: str, spec: DeploymentSpec) -> str:
    """What is wrong with it is said now, not by a replica that fails in a minute. Gives what its user should know."""
    ctx.site.sizes.fitted(spec.instance_type, ctx.site.machine)
    if spec.code_configuration is None and (unknown := spec.collected.keys() - COLLECTED_BY_ITSELF):
        raise InvalidInput(
            f"data_collector: {', '.join(sorted(unknown))} would be collected by a script, and there is none.",
            hint=f"Without code_configuration there are: {', '.join(COLLECTED_BY_ITSELF)}.",
        )
    if spec.code_configuration is not None:
        uploaded(ctx, spec.code_configuration.code, field="code_configuration.code")
    model = await models.by_reference(ctx, workspace, spec.model, field="model")
    is_mlflow = model.tags.get(models.TYPE) != "custom_model"
    if spec.code_configuration is None and not is_mlflow:
        raise InvalidInput(
            f"model: {model.name} is a custom_model, and there is no code_configuration.",
            hint="Write code_configuration: {code: ./score, scoring_script: score.py}; "
            "models of type mlflow_model need none.",
        )
    if spec.environment is None and not is_mlflow:
        raise InvalidInput(
            "environment: a custom_model needs one.",
            hint="Write environment: azureml:sklearn@latest, or one of your own.",
        )
    async with ctx.read() as tx:
        _check_room(ctx, spec, await compute_of(tx, workspace, spec))
        if spec.environment is None:
            return ""
        found = await environments.for_run(ctx, tx, workspace, spec.environment, field="environment")
        return environments.notice(spec.environment, found, field="environment")


async def compute_of(tx: Tx, workspace: str, spec: DeploymentSpec) -> Compute:
    return await computes.get(tx, workspace, Reference.parse(spec.compute, field="compute").name)


def need_of(ctx: Context, spec: DeploymentSpec, compute: Compute) -> Amount:
    """What a replica takes of its node: of the machine itself memory, and a share of its CPUs; else its whole size."""
    size, _ = ctx.site.sizes.fitted(spec.instance_type, ctx.site.machine)
    if compute.is_elastic:
        return Amount(shares_milli=SHARE_MILLI, memory_bytes=size.amount.memory_bytes)
    return size.amount


def cpus_of(ctx: Context, spec: DeploymentSpec) -> float:
    """What a replica weighs where all CPUs are busy: those of its size, though of the machine itself it reserves less.

    It mostly waits; but when it is asked, or loads, somebody waits for it.
    """
    size, _ = ctx.site.sizes.fitted(spec.instance_type, ctx.site.machine)
    return max(size.amount.cpus_milli, SHARE_MILLI) / 1000


def _check_room(ctx: Context, spec: DeploymentSpec, compute: Compute) -> None:
    if compute.is_instance:
        raise InvalidInput(
            f"compute: {compute.name} is a compute instance, somebody's own machine, and holds no replicas.",
            hint="Write compute: local, or leave it out; or make a compute of type inferencecluster.",
        )
    if "inferencing" not in compute.targets:
        raise InvalidInput(
            f"compute: {compute.name} is no inferencing target.",
            hint="Write compute: local, or leave it out; or make a compute of type inferencecluster.",
        )
    if compute.status is not ComputeStatus.SUCCEEDED:
        raise Conflict(f"compute: {compute.name} is being deleted.", hint="um compute list")
    if not compute.is_elastic and not (need := need_of(ctx, spec, compute)).fits_in(compute.size):
        raise InvalidInput(
            f"instance_type: a replica takes {need}, and a node of {compute.name} has {compute.size}.",
            hint=f"Write instance_type: {compute.size_name}, or a smaller one: um compute list-sizes",
        )


def _new(ctx: Context, workspace: str, spec: DeploymentSpec) -> Deployment:
    now = ctx.clock()
    return Deployment(
        id=ctx.names(),
        workspace=workspace,
        endpoint=spec.endpoint_name,
        name=spec.name,
        spec=spec,
        serving={},
        replicas_wanted=spec.count_at_first,
        created_at=now,
        changed_at=now,
    )


async def _change(ctx: Context, tx: Tx, there: Deployment, spec: DeploymentSpec) -> Deployment:
    if there.status is DeploymentStatus.DELETING:
        raise Conflict(
            f"Deployment {there.name} is being deleted.", hint="Wait until it is gone, or choose another name."
        )
    if _fixed(there.spec) != _fixed(spec):
        raise Conflict(
            f"Deployment {there.name} exists with another model, code, environment or size.",
            hint="Make another deployment (green), try it, and move the traffic; then delete this one.",
        )
    if there.spec == spec and there.status is not DeploymentStatus.FAILED:
        return there
    # Replicas that begin to follow the requests are as many as there are: how many are needed is seen later.
    changed = replace(there, spec=spec, replicas_wanted=there.wanted)
    if any(getattr(there.spec, field) != getattr(spec, field) for field in RENEWING):
        changed = replace(changed, replicas_old=there.replicas_made)
    return await endpoints.record(tx, changed, DeploymentEvent.CHANGE_ASKED, now=ctx.clock(), reason="Asked by user.")


def _fixed(spec: DeploymentSpec) -> dict[str, Any]:
    return {name: value for name, value in spec.model_dump().items() if name not in CHANGEABLE}


async def update(
    ctx: Context, workspace: str, endpoint: str, name: str, *, changes: Mapping[str, Any]
) -> DeploymentState:
    if unknown := [field for field in changes if field not in CHANGEABLE]:
        raise InvalidInput(
            f"{unknown[0]}: it cannot be changed.", hint=f"What can be changed: {', '.join(CHANGEABLE)}."
        )
    async with ctx.read() as tx:
        there = await endpoints.deployment(tx, workspace, endpoint, name)
    body = there.spec.body()
    state, _ = await put(ctx, workspace, endpoint, name, body=body | _merged(body, changes))
    return state


def _merged(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes`, with what there is of the settings that they name in part."""
    return {field: _into(body.get(field), value) if field in SETTINGS else value for field, value in changes.items()}


def _into(there: Any, change: Any) -> Any:
    if not isinstance(there, dict) or not isinstance(change, dict):
        return change
    before, after = cast("dict[str, Any]", there), cast("dict[str, Any]", change)
    if "type" in after:
        return after
    return {**before, **{name: _into(before.get(name), value) for name, value in after.items()}}


async def get(ctx: Context, workspace: str, endpoint: str, name: str) -> DeploymentState:
    async with ctx.read() as tx:
        return await _state(ctx, tx, await endpoints.deployment(tx, workspace, endpoint, name))


async def page(ctx: Context, workspace: str, endpoint: str, *, request: PageRequest) -> Page[DeploymentState]:
    async with ctx.read() as tx:
        await endpoints.get(tx, workspace, endpoint)
        found = await endpoints.deployment_page(tx, workspace, endpoint, request=request)
        return Page(rows=[await _state(ctx, tx, each) for each in found.rows], next=found.next)


async def delete(ctx: Context, workspace: str, endpoint: str, name: str) -> DeploymentState:
    """End it, once it has no traffic."""
    endpoint_services.refuse_with_traffic(await endpoint_services.get(ctx, workspace, endpoint), name)
    async with ctx.begin() as tx:
        there = await endpoints.deployment(tx, workspace, endpoint, name)
        if there.status is not DeploymentStatus.DELETING:
            there = await endpoints.record(
                tx, there, DeploymentEvent.DELETE_ASKED, now=ctx.clock(), reason="Asked by user."
            )
        state = await _state(ctx, tx, there)
    ctx.ring(ctx.serving)
    return state


async def logs(
    ctx: Context, workspace: str, endpoint: str, name: str, *, replica: int | None, lines: int
) -> ReplicaLog | None:
    """The last lines of one replica's log: of the newest one that has written, if none is named.

    Raises `NotFound` for one that there never was. None: no replica has written anything.
    """
    async with ctx.read() as tx:
        deployment = await endpoints.deployment(tx, workspace, endpoint, name)
        made = [run for run in reversed(await runs.of_owner(tx, deployment.id)) if replica in (None, run.ordinal)]
        if replica is not None and not made:
            raise NotFound("replica", str(replica), hint=f"um online-deployment show -e {endpoint} -n {name}")
    for run in made:
        text = b"".join(ctx.logs.tail(log, bytes_max=LOG_BYTES) for log in ctx.logs.files(run.key))
        if text or replica is not None:
            last = "".join(text.decode("utf-8", "replace").splitlines(keepends=True)[-lines:])
            return ReplicaLog(replica=run.ordinal, text=last)
    return None


def figures(ctx: Context, open_runs: Sequence[Run]) -> Sequence[ReplicaFigures]:
    """What is known of the load and the use of each replica."""
    found: list[ReplicaFigures] = []
    for run in open_runs:
        if run.owner_noun is OwnerNoun.DEPLOYMENT:
            endpoint, deployment = run.owner_name.split("/", 1)
            use = ctx.usage.of(run.key).get("0", {}).get("now", {})
            found.append(
                ReplicaFigures(
                    place=(run.workspace, endpoint, deployment, run.key),
                    load=ctx.hub.loads.get(run.key),
                    cpu_percent=use.get("cpu_percent"),
                    memory_bytes=use.get("memory_bytes"),
                )
            )
    return found


async def _state(ctx: Context, tx: Tx, deployment: Deployment) -> DeploymentState:
    made = await runs.of_owner(tx, deployment.id)
    replicas = [run for run in made if not run.is_final]
    reached = {run.key: ctx.hub.reached[run.key] for run in replicas if run.key in ctx.hub.reached}
    memory = ctx.hub.scaling.get(deployment.id)
    traffic = ctx.hub.traffic.get(deployment.place)
    return DeploymentState(
        deployment=deployment,
        replicas=replicas,
        failed=[run for run in reversed(made) if run.status is RunStatus.FAILED][:FAILED_SHOWN],
        reached=reached,
        traffic=traffic,
        lately=None if traffic is None else ctx.hub.history.lately(deployment.place, traffic, ctx.clock()),
        loads={run.key: ctx.hub.loads[run.key] for run in replicas if run.key in ctx.hub.loads},
        uses={run.key: use for run in replicas if (use := ctx.usage.of(run.key).get("0"))},
        unwell={run.key: words for run in replicas if (words := _unwell(ctx, run, deployment.spec))},
        leaving={run.key: ctx.hub.leaving[run.key] for run in replicas if run.key in ctx.hub.leaving},
        scaling="" if memory is None else memory.words,
    )


def _unwell(ctx: Context, run: Run, spec: DeploymentSpec) -> str:
    found = ((kind, ctx.hub.probings.get((run.key, kind))) for kind in Kind)
    return " ".join(probing.words(kind, kind.settings(spec)) for kind, probing in found if probing is not None).strip()
