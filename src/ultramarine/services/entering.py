"""Entering a compute instance, by a browser or a program: its owner alone, operators and owners of all not.

A session is derived, like those of the second origin: it holds which instance, whose, by which token and until when,
signed with the master key. It is good for as long as that token is, and for no other instance of the same name.
"""

from dataclasses import dataclass

from ultramarine.domain.compute import ComputeStatus
from ultramarine.domain.errors import Conflict, NotAllowed, NotFound, NotSignedIn
from ultramarine.domain.identity import Entry, Right, Token, check
from ultramarine.domain.instance import Instance, InstanceStatus
from ultramarine.domain.names import ComputeId
from ultramarine.services import identity, inside, sessions
from ultramarine.services.context import Context
from ultramarine.services.secrets import parts
from ultramarine.services.sessions import ENTRY
from ultramarine.store import computes, instances

BY_TOKEN, BY_SESSION = "instance", "instance-session"  #: what the gateway asks for
PURPOSES = frozenset({BY_TOKEN, BY_SESSION})
PAGE = "lab"  #: below an instance's path: JupyterLab
OVER = "Get a new link: um compute connect -n NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """The yes."""

    workspace: str
    subject: str
    instance: ComputeId


async def make_code(ctx: Context, token: Token, workspace: str, name: str, *, application: str | None) -> str:
    """A code that is good once, within a minute, for JupyterLab in a browser, or for a custom application.

    Raises `NotAllowed` for who is not its owner, `Conflict` where it does not run, `NotFound` for an application that
    it has not.
    """
    instance = await _entered(ctx, token, workspace, name)
    page = PAGE if application is None else await _page_of(ctx, workspace, name, application)
    if instance.status is not InstanceStatus.RUNNING:
        raise Conflict(
            f"Compute instance {name} is {instance.status.value}: there is nothing to enter.",
            hint=f"Start it, and wait until it is Running: um compute start -n {name}",
        )
    entry = Entry(instance=instance.id, subject=token.subject, token=token.id, path=instance.path)
    return sessions.keep_code(ctx, entry, f"{instance.path}{page}")


async def _page_of(ctx: Context, workspace: str, name: str, application: str) -> str:
    async with ctx.read() as tx:
        known = inside.applications((await computes.get(tx, workspace, name)).spec)
    if application not in known:
        hint = f"Write it under custom_applications: um compute update -n {name} -f FILE.yml, then um compute restart."
        raise NotFound("application of this instance", application, known=known, hint=hint)
    return f"proxy/{application}/"


async def access(ctx: Context, bearer: str, purpose: str, *, workspace: str, name: str) -> Entered:
    """Whether who shows this may enter the instance that has the name now.

    Raises `NotSignedIn`, `NotAllowed`, and `NotFound` for who may know that there is none.
    """
    if purpose == BY_TOKEN:
        token = await identity.signed_in(ctx, bearer)
        instance = await _entered(ctx, token, workspace, name)
        return Entered(workspace=workspace, subject=token.subject, instance=instance.id)
    kind, id, subject, by, expires, secret = parts(bearer, 6)
    is_ours = kind == ENTRY and ctx.secrets.matches(secret, ENTRY, id, subject, by, expires)
    if not is_ours or float(expires) < ctx.clock().timestamp():
        raise NotSignedIn("This session is over.", hint=OVER)
    token = await identity.token_of(ctx, by)
    try:
        instance = await _entered(ctx, token, workspace, name)
    except NotFound:
        raise NotSignedIn("This session is of an instance that there is not any more.", hint=OVER) from None
    if instance.id != id:
        raise NotSignedIn("This session is of another instance.", hint=OVER)
    return Entered(workspace=workspace, subject=subject, instance=instance.id)


async def _entered(ctx: Context, token: Token, workspace: str, name: str) -> Instance:
    """The instance of that name, for its owner: a person, or what runs in that very instance."""
    check(token, Right.WORK, workspace)
    if token.job is not None:
        raise NotAllowed(
            "A job enters no compute instance, whoever has submitted it.",
            hint="Use a token of your own; a job hands on files by its outputs.",
        )
    async with ctx.read() as tx:
        compute = await computes.find(tx, workspace, name)
        instance = None if compute is None else await instances.find(tx, compute.id)
    if compute is None or instance is None or compute.status is not ComputeStatus.SUCCEEDED:
        raise NotFound("compute instance", name, hint="um compute list")
    if token.subject != instance.owner:
        raise NotAllowed(
            f"Compute instance {name} is {instance.owner}'s: nobody else may enter it, whatever their role.",
            hint="Make one of your own: um compute create --type computeinstance",
        )
    if token.instance not in (None, instance.id):
        raise NotAllowed(
            f"This is the token of what runs in another instance; it does not enter {name}.",
            hint=f"Sign in with a token of your own: um compute connect -n {name}",
        )
    return instance
