"""People's browsers on the second listener: a cookie instead of a token, and what other sites may not do with it."""

from __future__ import annotations

import html
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from ultramarine_serving.gateway.authorize import Authorizer, Unavailable
from ultramarine_serving.http.messages import Request, Response, problem

COOKIE = "ultramarine"
HOLD_S = 5.0

_FROM_US = (b"same-origin", b"none")


def session_of(request: Request) -> str:
    """The session's token, or an empty string."""
    for name, value in request.headers:
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, token = part.strip().partition("=")
                if key == COOKIE and token:
                    return token
    return ""


def refuse_foreign(request: Request) -> Response | None:
    """Refuse what another site's page made the browser send: its cookie speaks for the person, not for that page.

    A browser says where from in `sec-fetch-site`; one that does not, in `origin`. Following a link to here is allowed.
    """
    site = request.header(b"sec-fetch-site")
    is_read = request.method in ("GET", "HEAD") and not request.upgrade
    if site:
        is_link = is_read and request.header(b"sec-fetch-mode") == b"navigate"
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
    hint = "Open the page itself; programs use a bearer token on the other port."
    return problem(403, "From another site", "A page of another origin sent this with your cookie.", hint=hint)


async def login(request: Request, authorizer: Authorizer) -> Response:
    """`GET /login?code=…`: exchange the one-time code for a session and keep it in a cookie."""
    code = parse_qs(request.query).get("code", [""])[0]
    if request.method != "GET" or not code:
        return problem(
            400, "No code", "A sign-in link is GET /login?code=CODE.", hint="Ask for a new link: um open mlflow."
        )
    try:
        status, answer = await authorizer.post("exchange", {"code": code}, hold_s=HOLD_S)
    except Unavailable as error:
        hint = "Open the link again in a moment."
        return problem(
            503,
            "No authorization",
            f"The link cannot be checked: {error}.",
            hint=hint,
            headers=[(b"retry-after", b"2")],
        )
    session = answer.get("session")
    if status != 200 or not isinstance(session, str) or not session:
        return problem(
            403, "Link not valid", "The link was used before, or is too old.", hint="Ask for a new one: um open mlflow."
        )
    try:
        cookie = SimpleCookie({COOKIE: session})[COOKIE]
    except CookieError:
        return problem(502, "No session", "The session's token is no cookie.", hint="Report it with the time of day.")
    cookie["path"] = "/"
    cookie["httponly"] = True
    cookie["samesite"] = "Strict"
    cookie["secure"] = request.scheme == "https"
    where = str(answer.get("redirect", "/"))
    if not where.startswith("/") or where.startswith(("//", "/\\")):
        where = "/"
    headers = [
        (b"set-cookie", cookie.OutputString().encode()),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
    ]
    if request.header(b"sec-fetch-site") in (b"", *_FROM_US):
        return Response(303, [*headers, (b"location", where.encode("ascii", "replace"))])
    # A browser that came by a link on another site sends a strict cookie only where a page of ours asked it to go on.
    href = html.escape(where)
    page = f'<!doctype html><meta http-equiv="refresh" content="0;url={href}"><a href="{href}">Go on</a>'
    return Response(200, [*headers, (b"content-type", b"text/html; charset=utf-8")], page.encode())
