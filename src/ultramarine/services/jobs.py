"""Jobs: created, looked at, canceled."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ultramarine.domain.compute import Compute, ComputeStatus
from ultramarine.domain.distribution import run_fields
from ultramarine.domain.environment import Environment
from ultramarine.domain.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from ultramarine.domain.expression import Expressions
from ultramarine.domain.job import PRIORITIES, Input, Job, JobSpec
from ultramarine.domain.model import job_output
from ultramarine.domain.names import JobId, Reference, checked_name
from ultramarine.domain.page import Page, PageRequest, cut
from ultramarine.domain.quota import Usage
from ultramarine.domain.run import RUN, Mode, OwnerNoun, Run, RunEvent, Tier
from ultramarine.domain.size import Amount
from ultramarine.files.logs import LogFile
from ultramarine.planning.quotas import usage_of
from ultramarine.planning.runs import run_key
from ultramarine.services import environments, identity, notebooks
from ultramarine.services.context import PART, Context
from ultramarine.services.snapshots import get_snapshot, uploaded
from ultramarine.store import assets, computes, events, installation, jobs, runs
from ultramarine.store.database import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A job with its newest run, whose status is the job's."""

    job: Job
    run: Run
    notice: str = ""  #: when it is made: what its user should know of it


async def create(
    ctx: Context, workspace: str, name: str, body: Mapping[str, Any], *, user: str
) -> tuple[JobState, bool]:
    """Write a job and its first run, Queued. The second value: whether it is new.

    The same body again is the same job; another one is refused with `AlreadyExists`.
    """
    checked_name("job", name)
    spec = JobSpec.read({**body, "name": body.get("name", name)}, what=f"job {name}")
    if spec.name != name:
        raise InvalidInput(f"name: the body says {spec.name!r}, the address {name!r}.", hint="Use one name in both.")
    digest = hashlib.sha256(json.dumps(spec.body(), sort_keys=True).encode()).hexdigest()
    async with ctx.begin() as tx:
        await identity.require_workspace(tx, workspace)
        if (there := await jobs.find(tx, workspace, name)) is not None:
            if there.body_sha256 != digest:
                raise AlreadyExists("job", name)
            return JobState(job=there, run=await runs.newest(tx, there.id)), False
        job = Job(
            id=JobId(ctx.names()),
            workspace=workspace,
            name=name,
            spec=spec,
            body_sha256=digest,
            user=user,
            created_at=ctx.clock(),
        )
        made = await _first_run(ctx, tx, job)
        await jobs.add(tx, job)
    ctx.ring()
    return made, True


async def _first_run(ctx: Context, tx: Tx, job: Job) -> JobState:
    spec = job.spec
    compute = await _target(ctx, tx, job.workspace, spec)
    need = _need(ctx, compute, spec)
    await _within_quota(tx, compute, spec, need)
    environment = await environments.for_run(ctx, tx, job.workspace, spec.environment, field="environment")
    plan = await _run_spec(ctx, tx, job, environment)
    is_part = spec.resources.part_of(compute.size) is not None
    plan["limits"] = {"timeout_s": spec.limits.timeout, **_memory_in_words(compute, is_part=is_part)}
    run = Run(
        key=run_key(ctx.site.epoch, job.id, 1),
        workspace=job.workspace,
        owner_noun=OwnerNoun.JOB,
        owner_id=job.id,
        owner_name=job.name,
        ordinal=1,
        mode=Mode.TASK,
        compute=compute.id,
        instance_count=spec.resources.instance_count,
        need=need,
        user=job.user,
        tier=Tier.SPOT if compute.gives_way else spec.queue_settings.tier,
        priority=PRIORITIES[spec.queue_settings.priority],
        timeout_s=spec.limits.timeout,
        retries_left=spec.retries,
        asked_at=job.created_at,
        created_at=job.created_at,
        changed_at=job.created_at,
    )
    notice = environments.notice(spec.environment, environment, field="environment")
    return JobState(job=job, run=await runs.add(tx, run, plan), notice=notice)


def _memory_in_words(compute: Compute, *, is_part: bool) -> dict[str, str]:
    """Whose memory a run had that used too much, and what to do then."""
    if is_part:
        return {"of": "its resources", "hint": "Ask for more: resources.memory"}
    if compute.is_elastic:
        return {"of": f"a job on {compute.name} (as size {PART})", "hint": "Ask for more: resources.memory"}
    hint = f"Ask for a compute of a larger size than {compute.name} has: um compute list-sizes"
    return {"of": f"its size {compute.size_name}", "hint": hint}


async def _target(ctx: Context, tx: Tx, workspace: str, spec: JobSpec) -> Compute:
    """The compute that the job names, if it can take the job at all."""
    name = Reference.parse(spec.compute, field="compute").name
    compute = await computes.get(tx, workspace, name)
    count = spec.resources.instance_count
    if compute.status is not ComputeStatus.SUCCEEDED:
        raise Conflict(f"compute: {name} is being deleted.", hint="um compute list")
    if compute.is_instance:
        raise InvalidInput(
            f"compute: {name} is a compute instance, somebody's own machine, and takes no jobs.",
            hint="Write compute: local, or name a cluster: um compute list",
        )
    if "training" not in compute.targets:
        raise InvalidInput(
            f"compute: {name} is an {compute.spec.type}, which holds replicas of deployments and takes no jobs.",
            hint="Name a compute that trains: um compute list",
        )
    if count > compute.max_instances:
        raise InvalidInput(
            f"resources.instance_count: {count} nodes are asked for, "
            f"and {name} has max_instances {compute.max_instances}.",
            hint=f"Ask for fewer, or: um compute update -n {name} --max-instances {count}",
        )
    host, whole = ctx.site.host(compute.provider), compute.size * count
    if not compute.is_elastic and not whole.fits_in(host.total):
        raise InvalidInput(
            f"resources.instance_count: {count} nodes of {compute.name} are {whole}, "
            f"and {host.words} has {host.total}.",
            hint="Ask for fewer nodes, or use a compute with smaller ones: um compute list-sizes",
        )
    return compute


def _need(ctx: Context, compute: Compute, spec: JobSpec) -> Amount | None:
    """What it takes of each node; None: whole nodes. Refused where no node of the compute has so much."""
    need = spec.resources.part_of(compute.size) or (ctx.site.part if compute.is_elastic else None)
    if need is not None and not need.fits_in(compute.size):
        raise InvalidInput(
            f"resources: {need} of each node are asked for, and a node of {compute.name} has {compute.size}.",
            hint="Ask for less, or use a compute with larger nodes: um compute list-sizes",
        )
    return need


async def _within_quota(tx: Tx, compute: Compute, spec: JobSpec, need: Amount | None) -> None:
    """Refuse what would wait for ever."""
    quota = (await installation.quotas(tx)).get(compute.workspace)
    count = spec.resources.instance_count
    claim = (need or compute.size) if compute.is_elastic else compute.size * count
    if quota is not None and (over := quota.exceeded(Usage(), usage_of(compute, claim, nodes=count))) is not None:
        raise InvalidInput(
            f"Workspace {compute.workspace}: {over}",
            hint=f"Ask for less, or have an owner raise it: um workspace update -n {compute.workspace} --set quota.…",
        )


async def _run_spec(ctx: Context, tx: Tx, job: Job, environment: Environment) -> dict[str, Any]:
    """What the runner needs, as far as it is known now.

    Its node, the environment's lock and the tokens are added when it is sent.
    """
    spec, expressions = job.spec, job.spec.expressions()
    variables = {
        n: expressions.value(v, field=f"environment_variables.{n}") for n, v in spec.environment_variables.items()
    }
    return {
        **_program(spec, expressions),
        "code": None if spec.code is None else {"snapshot": uploaded(ctx, spec.code, field="code")},
        "inputs": [await _input(ctx, tx, job.workspace, name, given) for name, given in spec.file_inputs().items()],
        "outputs": [{"name": name, "kind": output.type} for name, output in spec.all_outputs().items()],
        "environment_variables": variables,
        "environment": {"workspace": environment.workspace, "name": environment.name, "version": environment.version},
        "experiment": spec.experiment_name,
        **run_fields(spec.distribution, spec.resources.instance_count),
    }


def _program(spec: JobSpec, expressions: Expressions) -> dict[str, Any]:
    if spec.command is None:
        return notebooks.run_fields(spec, expressions)
    return {"command": expressions.command(spec.command)}


async def _input(ctx: Context, tx: Tx, workspace: str, name: str, given: Input) -> dict[str, Any]:
    field, path = f"inputs.{name}.path", given.path or ""
    if (output := job_output(path)) is not None:
        snapshot = await _output_of(tx, workspace, *output, field=field)
    elif path.startswith("azureml:") and not path.startswith("azureml://"):
        reference = Reference.parse(path, field=field)
        snapshot = (await assets.data(tx, workspace, reference.name, reference.version)).snapshot
    else:
        snapshot = uploaded(ctx, path, field=field)
    kind = get_snapshot(ctx, snapshot).kind
    if given.type == "uri_file" and kind != "file":
        raise InvalidInput(
            f"{field}: {path} is a folder, and the input's type is uri_file.",
            hint="Name one file, or write type: uri_folder.",
        )
    variable = f"AZURE_ML_INPUT_{name}"
    return {"name": name, "variable": variable, "snapshot": snapshot, "mode": given.mode, "kind": given.type}


async def _output_of(tx: Tx, workspace: str, job: str, output: str, path: str, *, field: str) -> str:
    """The snapshot of an output of a job that has ended."""
    ending = (await runs.newest(tx, (await jobs.get(tx, workspace, job)).id)).ending
    outputs = ending.outputs if ending else {}
    if output not in outputs or path:
        inside = " with a path inside" if path else ""
        raise InvalidInput(
            f"{field}: job {job} has no output {output!r}{inside}; it has {', '.join(outputs) or 'none yet'}.",
            hint=f"Write azureml://jobs/{job}/outputs/NAME, once the job has ended.",
        )
    return outputs[output]


async def get(ctx: Context, workspace: str, name: str) -> JobState:
    async with ctx.read() as tx:
        job = await jobs.get(tx, workspace, name)
        return JobState(job=job, run=await runs.newest(tx, job.id))


async def checkpoint(ctx: Context, workspace: str, name: str) -> str:
    """The snapshot of its newest checkpoint, whichever attempt has kept it."""
    found = (await get(ctx, workspace, name)).run.checkpoint
    if found is None:
        raise NotFound(
            "checkpoint of job", name, hint="A job keeps what it writes to the folder $ULTRAMARINE_CHECKPOINT_DIR."
        )
    return found


async def attempts(ctx: Context, workspace: str, name: str) -> tuple[Job, Sequence[Run]]:
    async with ctx.read() as tx:
        job = await jobs.get(tx, workspace, name)
        return job, await runs.of_owner(tx, job.id)


async def attempt(ctx: Context, workspace: str, name: str, *, number: int) -> Run:
    _, runs_there = await attempts(ctx, workspace, name)
    for run in runs_there:
        if run.ordinal == number:
            return run
    known = [str(run.ordinal) for run in runs_there]
    raise NotFound("attempt", str(number), hint=f"um job show -n {name}", known=known)


async def page(
    ctx: Context, workspace: str, request: PageRequest, *, status: str = "", experiment: str = ""
) -> Page[Mapping[str, Any]]:
    async with ctx.read() as tx:
        await identity.require_workspace(tx, workspace)
        return await jobs.page(tx, workspace, request, status=status, experiment=experiment)


async def cancel(ctx: Context, workspace: str, name: str) -> JobState:
    """Ask it to stop. One that is being canceled already stays so; one that has ended is refused."""
    async with ctx.begin() as tx:
        job = await jobs.get(tx, workspace, name)
        run = await runs.newest(tx, job.id)
        if RunEvent.CANCEL_ASKED in RUN.events(run.status) or run.is_final:
            run = await runs.record(tx, run, RunEvent.CANCEL_ASKED, now=ctx.clock(), reason="Asked by user.")
    ctx.ring()
    return JobState(job=job, run=run)


async def history(ctx: Context, workspace: str, name: str, *, request: PageRequest) -> Page[events.Happening]:
    async with ctx.read() as tx:
        job = await jobs.get(tx, workspace, name)
        return await events.of(tx, job.id, request)


async def log_files(ctx: Context, workspace: str, name: str, *, request: PageRequest) -> Page[tuple[Run, LogFile]]:
    """The log files of each attempt."""
    _job, runs_there = await attempts(ctx, workspace, name)
    found = [(run, log) for run in runs_there for log in ctx.logs.files(run.key)]
    return cut(found, request, key=lambda one: f"{one[0].ordinal}/{one[1].place.rank}/{one[1].place.file}")
