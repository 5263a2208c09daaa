"""Signing in in a browser: a one-time code in a link, exchanged for a session in a cookie.

Sessions are derived: they hold whose they are and until when, signed with the master key. Codes live in memory for a
minute, and are each for one origin: the second one, or that of compute instances.
"""

from dataclasses import dataclass
from datetime import timedelta

from ultramarine.domain.errors import NotSignedIn
from ultramarine.domain.identity import Entry, Right, Session, Token, check, in_tracking
from ultramarine.services.context import Context
from ultramarine.services.identity import require_workspace
from ultramarine.services.secrets import parts
from ultramarine.tracking.plugin.ultramarine_mlflow.names import workspace_in_mlflow

CODE_LIFE = timedelta(seconds=60)
SESSION_LIFE = timedelta(hours=12)
SESSION = "session"
MLFLOW_PAGES = "/mlflow/"
ENTRY = "entry"
SECOND, INSTANCES = "second", "instances"  #: the listeners of the gateway that sign browsers in


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """`session` is for the cookie, which is shown below `path` alone."""

    session: str
    redirect: str
    path: str


async def make_code(ctx: Context, token: Token, path: str, *, workspace: str | None) -> str:
    """A code that is good once, within a minute: it may stand in a link.

    The session shows `workspace` (that of the token, where None), and what else the token is good for.
    """
    shown = workspace or token.own_workspace
    check(token, Right.READ, shown)
    async with ctx.read() as tx:
        await require_workspace(tx, shown)
    if path == MLFLOW_PAGES:
        path = f"{path}#/?workspace={workspace_in_mlflow(shown)}"  # else they show the one that was looked at last
    right = in_tracking(token.role)
    return keep_code(ctx, Session(workspace=shown, subject=token.subject, reach=token.workspace, right=right), path)


def keep_code(ctx: Context, session: Session | Entry, path: str) -> str:
    """A code that is good once, within a minute. Those that nobody came with in theirs are forgotten."""
    now, code = ctx.clock(), ctx.names()
    for old in [old for old, (until, _, _) in ctx.codes.items() if until < now]:
        del ctx.codes[old]
    ctx.codes[code] = (now + CODE_LIFE, session, path)
    return code


def exchange(ctx: Context, code: str, *, listener: str) -> SignedIn:
    """The session for a code, and where to go.

    Raises `NotSignedIn` for one that is used, old, unknown, or for another origin than that of `listener`.
    """
    until, session, path = ctx.codes.pop(code, (None, None, ""))
    wanted = INSTANCES if isinstance(session, Entry) else SECOND
    if until is None or session is None or until < ctx.clock() or listener != wanted:
        hint = "um compute connect -n NAME" if listener == INSTANCES else "um open mlflow"
        raise NotSignedIn("This link was used already, or is too old.", hint=f"Get a new one: {hint}")
    expires = str(int((ctx.clock() + SESSION_LIFE).timestamp()))
    if isinstance(session, Entry):
        said = (session.instance, session.subject, session.token)
        return SignedIn(session=ctx.secrets.token(ENTRY, *said, expires), redirect=path, path=session.path)
    said = (session.workspace, session.subject, session.reach, session.right)
    return SignedIn(session=ctx.secrets.token(SESSION, *said, expires), redirect=path, path="/")


def read(ctx: Context, cookie: str) -> Session:
    """Whose session it is. Raises `NotSignedIn`."""
    purpose, *said, expires, secret = parts(cookie, 7)
    is_ours = purpose == SESSION and ctx.secrets.matches(secret, SESSION, *said, expires)
    if not is_ours or float(expires) < ctx.clock().timestamp():
        raise NotSignedIn("This session is over.", hint="Get a new link: um open mlflow")
    workspace, subject, reach, right = said
    return Session(workspace=workspace, subject=subject, reach=reach, right=Right(right))
