"""Who may ask the tracking server, and what it is told of our runs."""

from dataclasses import dataclass
from typing import Any

from ultramarine.domain.errors import NotAllowed, NotFound
from ultramarine.domain.identity import DEFAULT_WORKSPACE, EVERY_WORKSPACE, Right, check, in_tracking
from ultramarine.domain.job import Tracking
from ultramarine.services import identity, sessions
from ultramarine.services.context import Context
from ultramarine.store import installation, jobs
from ultramarine.store.database import Tx
from ultramarine.tracking.plugin.ultramarine_mlflow.names import workspace_in_mlflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the gateway wants to know: may the owner of `token` do this, in the workspace that its client names?

    `purpose`: `mlflow`, by a bearer token; `session`, by a browser's cookie; `endpoint`, to ask that one of `endpoint`;
    `instance` and `instance-session`, to enter that of `instance` by one or the other.
    """

    token: str
    purpose: str
    workspace: str | None = None
    endpoint: str | None = None
    instance: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The yes."""

    workspace: str
    subject: str
    reach: str  #: the one workspace that it is good for, or `EVERY_WORKSPACE`
    right: Right  #: `read` or `work`
    run: str | None = None  #: the id of the job whose run's own token it is


async def access(ctx: Context, question: Question) -> Access:
    """Whose token it is, and the workspace that it acts for: the one named, else its own.

    Raises `NotSignedIn`, and `NotAllowed`, also for a workspace that there is not.
    """
    if question.purpose == "session":
        session = sessions.read(ctx, question.token)
        workspace = await _named(ctx, question.workspace, reach=session.reach, own=session.workspace)
        await _check_usable(ctx, workspace)
        return Access(workspace=workspace, subject=session.subject, reach=session.reach, right=session.right)
    token = await identity.signed_in(ctx, question.token)
    workspace = await _named(ctx, question.workspace, reach=token.workspace, own=token.own_workspace)
    check(token, Right.READ, workspace)
    await _check_usable(ctx, workspace)
    right = in_tracking(token.role)
    return Access(workspace=workspace, subject=token.subject, reach=token.workspace, right=right, run=token.job)


async def _check_usable(ctx: Context, workspace: str) -> None:
    """MLflow makes a workspace when it is first named, so one that is gone must not come to it again."""
    if workspace != DEFAULT_WORKSPACE and not await identity.is_usable(ctx, workspace):
        raise NotAllowed(f"There is no workspace {workspace!r} (any more).", hint="um workspace list")


async def _named(ctx: Context, named: str | None, *, reach: str, own: str) -> str:
    """The workspace that is meant: MLflow's clients may name it as it is called in MLflow."""
    if not named or named in (own, workspace_in_mlflow(own)):
        return own
    if reach != EVERY_WORKSPACE:
        raise NotAllowed(
            f"This token is of workspace {reach!r}, not of {named!r}.",
            hint="Leave MLFLOW_WORKSPACE away, or use a token of that workspace.",
        )
    async with ctx.read() as tx:
        return await _by_any_name(tx, named)


async def _by_any_name(tx: Tx, named: str) -> str:
    known = [str(workspace["name"]) for workspace in await installation.workspaces(tx)]
    for name in known:
        if named in (name, workspace_in_mlflow(name)):
            return name
    # Not `NotFound`: the gateway knows yes and no.
    raise NotAllowed(f"There is no workspace {named!r}.", hint=f"There are: {', '.join(known)}.")


async def run_row(ctx: Context, id: str) -> dict[str, Any]:
    """A job as MLflow's run: our id is its id. MLflow is told of the job's end, from now on.

    Raises `NotFound` for an id that is not ours.
    """
    async with ctx.begin() as tx:
        job = await jobs.by_id(tx, id)
        if job is None:
            raise NotFound("job", id)
        await jobs.track(tx, id, Tracking.RUNNING)
    return {
        "id": job.id,
        "workspace": job.workspace,
        "name": job.spec.display_name or job.name,
        "experiment": job.spec.experiment_name,
        "user": job.user,
        "started_at_ms": round(job.created_at.timestamp() * 1000),
        "tags": {**job.spec.tags, "ultramarine.job": job.name},
    }
