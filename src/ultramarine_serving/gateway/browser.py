"""People's browsers: a cookie instead of a token, and what other sites may not do with it."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from ultramarine_serving.gateway.authorize import Authorizer, Unavailable
from ultramarine_serving.http.messages import Request, Response, problem

HOLD_S = 5.0

_FROM_US = (b"same-origin", b"none")
_PATH = re.compile(r"/(?:[A-Za-z0-9._-]+/)*")


@dataclass(frozen=True)
class Origin:
    """A listener that signs browsers in. Cookies do not know ports, so each has a name of its own for its cookie."""

    listener: str
    cookie: str
    ask: str  #: what to type for a new link


SECOND = Origin(listener="second", cookie="ultramarine", ask="um open mlflow")
INSTANCES = Origin(listener="instances", cookie="ultramarine-instance", ask="um compute connect -n NAME")


def session_of(request: Request, origin: Origin) -> str:
    """The session's token, or an empty string."""
    for name, value in request.headers:
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, token = part.strip().partition("=")
                if key == origin.cookie and token:
                    return token
    return ""


def refuse_foreign(request: Request, *, frames: bool = True) -> Response | None:
    """Refuse what another site's page made the browser send: its cookie speaks for the person, not for that page.

    A browser says where from in `sec-fetch-site`; one that does not, in `origin`. Following a link to here is allowed;
    unless `frames`, not into a frame of that page.
    """
    site = request.header(b"sec-fetch-site")
    is_read = request.method in ("GET", "HEAD") and not request.upgrade
    if site:
        is_link = is_read and request.header(b"sec-fetch-mode") == b"navigate"
        if not frames and request.header(b"sec-fetch-dest", b"document") != b"document":
            is_link = False
        is_allowed = site in _FROM_US or is_link
    else:
        is_allowed = is_read
    origin = request.header(b"origin")
    if origin and origin != b"%b://%b" % (request.scheme.encode(), request.header(b"host")):
        is_allowed = False
    elif origin and not site:
        is_allowed = True
    if is_allowed:
        return None
    hint = "Open the page itself; programs use a bearer token."
    return problem(403, "From another site", "A page of another origin sent this with your cookie.", hint=hint)


async def login(request: Request, authorizer: Authorizer, origin: Origin) -> Response:
    """`GET /login?code=…`: exchange the one-time code for a session and keep it in a cookie."""
    code = parse_qs(request.query).get("code", [""])[0]
    if request.method != "GET" or not code:
        hint = f"Ask for a new link: {origin.ask}."
        return problem(400, "No code", "A sign-in link is GET /login?code=CODE.", hint=hint)
    try:
        said = {"code": code, "listener": origin.listener}
        status, answer = await authorizer.post("exchange", said, hold_s=HOLD_S)
    except Unavailable as error:
        detail, hint = f"The link cannot be checked: {error}.", "Open the link again in a moment."
        return problem(503, "No authorization", detail, hint=hint, headers=[(b"retry-after", b"2")])
    session = answer.get("session")
    if status != 200 or not isinstance(session, str) or not session:
        hint = f"Ask for a new one: {origin.ask}."
        return problem(403, "Link not valid", "The link was used before, or is too old.", hint=hint)
    cookie = _cookie(request, origin, session, path=answer.get("path", "/"))
    if cookie is None:
        return problem(502, "No session", "The session's token is no cookie.", hint="Report it with the time of day.")
    where = str(answer.get("redirect", "/"))
    if not where.startswith("/") or where.startswith(("//", "/\\")):
        where = "/"
    headers = [(b"set-cookie", cookie), (b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer")]
    if request.header(b"sec-fetch-site") in (b"", *_FROM_US):
        return Response(303, [*headers, (b"location", where.encode("ascii", "replace"))])
    # A browser that came by a link on another site sends a strict cookie only where a page of ours asked it to go on.
    href = html.escape(where)
    page = f'<!doctype html><meta http-equiv="refresh" content="0;url={href}"><a href="{href}">Go on</a>'
    return Response(200, [*headers, (b"content-type", b"text/html; charset=utf-8")], page.encode())


def _cookie(request: Request, origin: Origin, session: str, *, path: Any) -> bytes | None:
    """The header that sets it, below `path` alone; None where that cannot be."""
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        return None
    try:
        cookie = SimpleCookie({origin.cookie: session})[origin.cookie]
    except CookieError:
        return None
    cookie["path"] = path
    cookie["httponly"] = True
    cookie["samesite"] = "Strict"
    cookie["secure"] = request.scheme == "https"
    return cookie.OutputString().encode()
