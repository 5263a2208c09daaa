"""Models, in MLflow's own registry.

They are created from uploads, from jobs' outputs and from what jobs logged; their files are brought to us.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultramarine.domain.endpoint import InlineModel
from ultramarine.domain.errors import Conflict, NotFound
from ultramarine.domain.model import ModelSpec, job_output, not_a_model
from ultramarine.domain.names import Reference, checked_name
from ultramarine.domain.page import Page, PageRequest
from ultramarine.files.snapshots import Entry, Manifest, canonical
from ultramarine.services import identity
from ultramarine.services.context import Context
from ultramarine.services.snapshots import get_snapshot, uploaded
from ultramarine.store import jobs, runs
from ultramarine.tracking.artifacts import ArtifactFile, ArtifactLocation
from ultramarine.tracking.registry import ModelVersion, NewVersion

TYPE, ENVIRONMENT, VERSION, JOB = (
    "ultramarine.type",
    "ultramarine.environment",
    "ultramarine.version",
    "ultramarine.job",
)
PIECE_BYTES = 1 << 20


async def create(
    ctx: Context, workspace: str, name: str, body: Mapping[str, Any], *, version: str | None = None
) -> tuple[ModelVersion, bool]:
    """Register a version, which is always new.

    MLflow numbers it; a version of Azure's free form is kept as a tag and found by it.
    """
    checked_name("model", name)
    spec = ModelSpec.read({**body, "name": name} | ({"version": version} if version else {}), what=f"model {name}")
    async with ctx.read() as tx:
        await identity.require_workspace(tx, workspace)
    there = await ctx.tracking.registry.versions(workspace, name)
    if spec.version is not None and any(version_of(each) == spec.version for each in there):
        raise Conflict(
            f"Model {name}:{spec.version} exists already.", hint="Leave out the version to make the next one."
        )
    location, tags = await _source(ctx, workspace, spec)
    await ctx.tracking.registry.ensure(workspace, name)
    tags = {**spec.tags, **tags, TYPE: spec.type} | ({VERSION: spec.version} if spec.version else {})
    made = await ctx.tracking.registry.create_version(
        workspace, name, NewVersion(location=location, description=spec.description, tags=tags)
    )
    return made, True


async def _source(ctx: Context, workspace: str, spec: ModelSpec) -> tuple[ArtifactLocation, dict[str, str]]:
    """Where the files are in MLflow, after they were put there if need be; and tags that say where they come from."""
    if (output := job_output(spec.path)) is not None:
        job, kind, path = output
        return await _of_job(ctx, workspace, spec, job=job, output=kind, path=path)
    if spec.path.startswith("runs:/"):
        run, _, path = spec.path.removeprefix("runs:/").partition("/")
        return await _of_job(ctx, workspace, spec, job=run, output="artifacts", path=path)
    if spec.path.startswith("azureml:"):
        raise not_a_model(spec.path)
    return await _upload(ctx, workspace, spec.name, uploaded(ctx, spec.path, field="path")), {}


async def _of_job(
    ctx: Context, workspace: str, spec: ModelSpec, *, job: str, output: str, path: str
) -> tuple[ArtifactLocation, dict[str, str]]:
    """What a job logged (`artifacts`), or one of its named outputs. `job` is its name, or its id."""
    async with ctx.read() as tx:
        found = await jobs.find(tx, workspace, job) or await jobs.by_id(tx, job)
        if found is None or found.workspace != workspace:
            raise NotFound("job", job)
        newest = await runs.newest(tx, found.id)
        named = (await runs.specs(tx, [newest.key]))[newest.key]["environment"]
    tags = {JOB: found.name, ENVIRONMENT: f"{named['workspace']}/{named['name']}:{named['version']}"}
    if output == "artifacts":
        return await ctx.tracking.runs.resolve(workspace, f"runs:/{found.id}/{path}"), tags
    outputs = newest.ending.outputs if newest.ending else {}
    if output not in outputs:
        known = [*outputs, "artifacts"]
        raise NotFound(
            "output", output, hint=f"um job show -n {found.name}; a running job's outputs come at its end.", known=known
        )
    return await _upload(ctx, workspace, spec.name, outputs[output], below=path), tags


async def _upload(ctx: Context, workspace: str, name: str, snapshot: str, *, below: str = "") -> ArtifactLocation:
    """Copy a snapshot's files into MLflow, as a logged model of no run."""
    prefix = f"{below}/" if below else ""
    entries = [entry for entry in get_snapshot(ctx, snapshot).files if entry.path.startswith(prefix)]
    if not entries:
        raise NotFound("file", below or snapshot, hint="The folder is empty: a model has at least one file.")
    experiment = await ctx.tracking.runs.ensure_experiment(workspace, "Models")
    model = await ctx.tracking.runs.create_logged_model(workspace, experiment_id=experiment, name=name)
    for entry in entries:
        content = _pieces(ctx.blobs.path(entry.sha256))
        await ctx.tracking.artifacts.upload(workspace, model.location / entry.path.removeprefix(prefix), content)
    await ctx.tracking.runs.finish_logged_model(workspace, model.id)
    return model.location


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def version_of(model: ModelVersion) -> str:
    return model.tags.get(VERSION, str(model.version))


async def get(ctx: Context, workspace: str, name: str, version: str | None) -> ModelVersion:
    """A version, the newest where none is named. Raises `NotFound`, with those that there are."""
    there = await ctx.tracking.registry.versions(workspace, name)
    for each in there:
        if version is None or version_of(each) == version:
            return each
    if there:
        raise NotFound(
            "model",
            f"{name}:{version}",
            hint=f"um model list -n {name}",
            known=[f"{name}:{version_of(v)}" for v in there],
        )
    raise NotFound("model", name, known=[m.name for m in await ctx.tracking.registry.models(workspace)])


async def by_reference(ctx: Context, workspace: str, given: str | InlineModel, *, field: str) -> ModelVersion:
    """The model that a deployment names. One that is written out there is registered, once, under its own name."""
    if isinstance(given, InlineModel):
        return await _inline(ctx, workspace, given)
    parsed = Reference.parse(given, field=field)
    return await get(ctx, workspace, parsed.name, parsed.version)


async def _inline(ctx: Context, workspace: str, given: InlineModel) -> ModelVersion:
    """Its name and version where it has them, as in Azure ML; else a name made of its content."""
    body = given.body()
    content = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    name, version = given.name or f"inline-{content}", given.version or "1"
    for each in await ctx.tracking.registry.versions(workspace, name):
        if version_of(each) == version:
            return each
    made, _ = await create(ctx, workspace, name, body, version=version)
    return made


async def page(ctx: Context, workspace: str, request: PageRequest, *, name: str = "") -> Page[ModelVersion]:
    """The newest version of each, or every version of one. The cursors are MLflow's own."""
    registry = ctx.tracking.registry
    if name:
        return await registry.version_page(workspace, name, request)
    found = await registry.model_page(workspace, request)
    latest = [await registry.version(workspace, m.name, m.latest) for m in found.rows if m.latest is not None]
    return Page(rows=latest, next=found.next)


async def files(ctx: Context, workspace: str, model: ModelVersion) -> Sequence[ArtifactFile]:
    return await ctx.tracking.artifacts.files(workspace, await ctx.tracking.files_of(workspace, model))


async def read_file(ctx: Context, workspace: str, model: ModelVersion, path: str) -> AsyncIterator[bytes]:
    known = [file.path for file in await files(ctx, workspace, model)]
    if path not in known:
        raise NotFound("file", path, hint=f"um model show -n {model.name}", known=known)
    location = await ctx.tracking.files_of(workspace, model)
    return ctx.tracking.artifacts.download(workspace, location / path)


async def fetch(ctx: Context, workspace: str, model: ModelVersion) -> str:
    """Bring a model's files into our own. The hash of the snapshot, which needs neither MLflow nor the registry."""
    location = await ctx.tracking.files_of(workspace, model)
    entries: list[Entry] = []
    for file in await ctx.tracking.artifacts.files(workspace, location):
        chunks = ctx.tracking.artifacts.download(workspace, location / file.path)
        sha256 = await ctx.blobs.take(chunks, bytes_max=ctx.site.limits.upload_bytes_max)
        entries.append(Entry(path=file.path, sha256=sha256, size=ctx.blobs.path(sha256).stat().st_size, mode=0o644))
    return ctx.blobs.put(canonical(Manifest(kind="folder", files=entries).model_dump()))
