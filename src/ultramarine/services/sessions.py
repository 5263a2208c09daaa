"""Signing in to the second origin in a browser: a one-time code in a link, exchanged for a session in a cookie.

Sessions are derived: they hold whose they are and until when, signed with the master key. Codes live in memory for a
minute.
"""

from datetime import timedelta

from ultramarine.domain.errors import NotSignedIn
from ultramarine.domain.identity import Right, Session, Token, check, in_tracking
from ultramarine.services.context import Context
from ultramarine.services.identity import require_workspace
from ultramarine.services.secrets import parts
from ultramarine.tracking.plugin.ultramarine_mlflow.names import workspace_in_mlflow

CODE_LIFE = timedelta(seconds=60)
SESSION_LIFE = timedelta(hours=12)
SESSION = "session"
MLFLOW_PAGES = "/mlflow/"


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
    code = ctx.names()
    right = in_tracking(token.role)
    session = Session(workspace=shown, subject=token.subject, reach=token.workspace, right=right)
    ctx.codes[code] = (ctx.clock() + CODE_LIFE, session, path)
    return code


def exchange(ctx: Context, code: str) -> tuple[str, str]:
    """The session for a code, and where to go. Raises `NotSignedIn` for one that is used, old or unknown."""
    until, session, path = ctx.codes.pop(code, (None, None, ""))
    if until is None or session is None or until < ctx.clock():
        raise NotSignedIn("This link was used already, or is too old.", hint="Get a new one: um open mlflow")
    expires = str(int((ctx.clock() + SESSION_LIFE).timestamp()))
    said = (session.workspace, session.subject, session.reach, session.right)
    return ctx.secrets.token(SESSION, *said, expires), path


def read(ctx: Context, cookie: str) -> Session:
    """Whose session it is. Raises `NotSignedIn`."""
    purpose, *said, expires, secret = parts(cookie, 7)
    is_ours = purpose == SESSION and ctx.secrets.matches(secret, SESSION, *said, expires)
    if not is_ours or float(expires) < ctx.clock().timestamp():
        raise NotSignedIn("This session is over.", hint="Get a new link: um open mlflow")
    workspace, subject, reach, right = said
    return Session(workspace=workspace, subject=subject, reach=reach, right=Right(right))
