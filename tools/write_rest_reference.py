"""Write docs/reference/rest.md from the application's routes; a test holds the page to them."""

# ruff: noqa: E501 (a paragraph and a row of a table are one line)

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from ultramarine.api import access
from ultramarine.api.app import ROUTERS, build
from ultramarine.services.context import Context

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "rest.md"
HEAD = """# REST

<!-- Made by tools/write_rest_reference.py from the application. -->

At the gateway's address, `http://127.0.0.1:7770` by default; the same as OpenAPI at `/api/v1/openapi.json`. `Authorization: Bearer TOKEN` always; the owner's
token is in `HOME/connection.json`. Bodies are the [YAML](yaml.md) as JSON. A `PUT` with the same body again answers 200 with what is there, with another
body 409.

Lists are `{"value": […], "next": CURSOR}`, at most `limit` rows a page (50, up to 1000): send the cursor as `after` for the next page, until it is null.
Errors are `application/problem+json`: `type`, `title`, `status`, `code`, `detail`
(what and why) and `hint` (what to do next); [errors](errors.md) lists them. `text/event-stream` answers go on where they broke off when `Last-Event-ID` is sent.
Endpoints are called at their own address, with their own key: see [how to call a scoring script](../how-to/score-script.md).
"""
TITLES: Mapping[str, str] = {
    "installation": "Installation, tokens, workspaces, events",
    "jobs": "Jobs",
    "pages": "Pages of executed notebooks",
    "computes": "Computes",
    "assets": "Environments, data and models",
    "files": "Files",
    "models": "Files of models",
    "endpoints": "Online endpoints and deployments",
    "collected": "What deployments have collected",
}
INSIDE = "What the parts of an installation say to each other is not listed: the runners' protocol has a page of its own, [runner-protocol.md](runner-protocol.md)."


def page() -> str:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    known = build(cast(Context, None)).openapi()["paths"]
    sections: dict[str, list[APIRoute]] = {}
    for route in routes:
        module = route.endpoint.__module__.rpartition(".")[2]
        if module in TITLES and route.path_format in known:
            sections.setdefault(module, []).append(route)
    lines = [line for module in TITLES for line in _section(TITLES[module], sections.get(module, []))]
    return "\n".join([HEAD, *lines, INSIDE]).rstrip() + "\n"


def _section(title: str, routes: list[APIRoute]) -> Iterator[str]:
    yield f"## {title}\n\n| | role | |\n|---|---|---|"
    yield from (_row(route) for route in routes)
    yield ""


def _row(route: APIRoute) -> str:
    query = "&".join(parameter.alias for parameter in _query(route.dependant))
    address = f"{'/'.join(sorted(route.methods or ()))} {route.path_format.removeprefix('/api/v1')}" + (
        f"?{query}" if query else ""
    )
    words = " ".join((route.endpoint.__doc__ or route.endpoint.__name__.replace("_", " ").capitalize() + ".").split())
    return f"| `{address}` | {_role(route)} | {words.replace('|', chr(92) + '|')} |"


def _query(dependant: Dependant) -> Iterator[ModelField]:
    """The parameters of a route, and of what it depends on."""
    for below in dependant.dependencies:
        yield from _query(below)
    yield from dependant.query_params


def _role(route: APIRoute) -> str:
    """The weakest role that may: each route states it in its signature."""
    roles: Mapping[Any, str] = {
        access.Reader: "reader",
        access.Worker: "data_scientist",
        access.Operator: "compute_operator",
        access.Owner: "owner",
        access.SignedIn: "any",
    }
    by_call = {get_args(kind)[1].dependency: role for kind, role in roles.items()}
    found = [by_call[each.call] for each in route.dependant.dependencies if each.call in by_call]
    return found[0] if found else "none"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
