"""What of MLflow may be asked at all, and for which workspace: the outermost layer of its server.

MLflow has routes that run tools on the server, call addresses that a caller names, or list every workspace. Hence a
list of what is open; all else is 404, also in a later version that knows more.
"""

import asyncio
import hmac
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ultramarine_mlflow.control import SECRET_HEADER, ControlPlaneSilent, internal_secret, workspaces
from ultramarine_mlflow.names import workspace_in_mlflow

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WORKSPACE_HEADER = b"x-mlflow-workspace"
REACH_HEADER = b"x-ultramarine-reach"  # the workspace that the caller may use, or * for all
RIGHT_HEADER = b"x-ultramarine-right"  # read, or work
NOUNS = (
    "artifacts",
    "datasets",
    "experiments",
    "get-trace-artifact",
    "logged-models",
    "metrics",
    "model-versions",
    "registered-models",
    "runs",
    "server-info",
    "traces",
    "upload-artifact",
)
# Without a workspace: they say nothing of anybody's.
_OPEN = re.compile(r"/(health|version|static-files/.*)?")
_API = re.compile(r"/(?:ajax-)?api/[23]\.0/mlflow/(?P<rest>.*)")
_ARTIFACT_FILE = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts/.+")
_ARTIFACTS = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts(?:/.*)?")
_PAGES = frozenset({"/get-artifact", "/model-versions/get-artifact", "/graphql", "/v1/traces"})
# What MLflow asks by POST, and changes nothing.
_QUESTIONS = frozenset(
    {
        "datasets/search",
        "experiments/search",
        "experiments/search-datasets",
        "logged-models/search",
        "registered-models/get-latest-versions",
        "runs/search",
        "traces/batchGetInfos",
        "traces/calculate-filter-correlation",
        "traces/metrics",
        "traces/search",
    }
)
_ONLY_READS = "A reader may look, not change anything. An owner can make a token: um token create --role data_scientist"
_CLOSED = frozenset({"runs/create-promptlab-run"})
_SECURITY_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"SAMEORIGIN"))


class Guard:
    """An ASGI application around MLflow's."""

    def __init__(self, app: App, *, prefix: str, delete_workspace: Callable[[str], bool]) -> None:
        """`delete_workspace`: by its name in MLflow, with all that is in it; False where it is not there."""
        self._app = app
        self._prefix = prefix
        self._delete_workspace = delete_workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._request(scope, receive, _hardened(send))

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        inside = path.removeprefix(self._prefix) if path.startswith(self._prefix + "/") else ""
        rest = match["rest"] if (match := _API.fullmatch(inside)) else ""
        workspace = _header(scope, WORKSPACE_HEADER)
        if inside and _OPEN.fullmatch(inside):
            await self._app(scope, receive, send)
        elif not workspace:
            await _answer(send, 400, "INVALID_PARAMETER_VALUE", "The header X-MLFLOW-WORKSPACE is missing.")
        elif rest == "workspaces" and scope["method"] == "DELETE":
            await self._delete(scope, send, workspace_in_mlflow(workspace))
        elif rest.partition("/")[0] == "workspaces":
            await _workspaces(send, rest, await _usable(workspace, _header(scope, REACH_HEADER)))
        elif not _is_open(inside, rest):
            await _answer(send, 404, "ENDPOINT_NOT_FOUND", f"{path} is not served here.")
        elif _header(scope, RIGHT_HEADER) == "read" and not _is_question(scope, inside, rest):
            await _answer(send, 403, "PERMISSION_DENIED", _ONLY_READS)
        else:
            await self._app(self._inner(scope, inside, workspace_in_mlflow(workspace)), receive, send)

    async def _delete(self, scope: Scope, send: Send, name: str) -> None:
        """For the control plane alone: the door lets everybody who may read a workspace come to this address."""
        if not hmac.compare_digest(_header(scope, SECRET_HEADER.encode()).encode(), internal_secret().encode()):
            await _answer(send, 403, "PERMISSION_DENIED", "Workspaces are deleted with um workspace delete.")
        elif await asyncio.to_thread(self._delete_workspace, name):
            await _json(send, 200, {})
        else:
            await _answer(send, 404, "RESOURCE_DOES_NOT_EXIST", "There is no such workspace.")

    def _inner(self, scope: Scope, inside: str, name: str) -> Scope:
        """The request as MLflow is to see it."""
        headers = [pair for pair in scope["headers"] if pair[0] != WORKSPACE_HEADER]
        inner = {**scope, "headers": [*headers, (WORKSPACE_HEADER, name.encode())]}
        if _ARTIFACT_FILE.fullmatch(inside) and scope["method"] in ("GET", "PUT"):
            # MLflow streams files only on its unprefixed routes; under a prefix it would hold them in memory.
            inner |= {"path": inside, "raw_path": scope["raw_path"].removeprefix(self._prefix.encode())}
        return inner


def _header(scope: Scope, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


async def _usable(workspace: str, reach: str) -> list[str] | None:
    """The workspaces that the caller may use, as they are called in MLflow; None: it is not known now."""
    if reach != "*":
        return [workspace_in_mlflow(workspace)]
    try:
        return [workspace_in_mlflow(name) for name in await asyncio.to_thread(workspaces)]
    except ControlPlaneSilent:
        return None


async def _workspaces(send: Send, rest: str, names: list[str] | None) -> None:
    """Those that the caller may use, and no other: MLflow would tell the names of all."""
    if names is None:
        await _answer(send, 503, "TEMPORARILY_UNAVAILABLE", "The control plane does not answer.")
    elif rest == "workspaces":
        await _json(send, 200, {"workspaces": [{"name": name} for name in names]})
    elif (name := rest.removeprefix("workspaces/")) in names:
        await _json(send, 200, {"workspace": {"name": name}})
    else:
        await _answer(send, 404, "RESOURCE_DOES_NOT_EXIST", "There is no such workspace.")


def _is_open(inside: str, rest: str) -> bool:
    if inside in _PAGES or _ARTIFACTS.fullmatch(inside):
        return True
    return rest.partition("/")[0] in NOUNS and rest.rstrip("/") not in _CLOSED


def _is_question(scope: Scope, inside: str, rest: str) -> bool:
    return scope["method"] in ("GET", "HEAD") or inside == "/graphql" or rest.rstrip("/") in _QUESTIONS


def _hardened(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            named = {name.lower() for name, _ in message.get("headers", [])}
            added = [pair for pair in _SECURITY_HEADERS if pair[0] not in named]
            message["headers"] = [*message.get("headers", []), *added]
        await send(message)

    return with_headers


async def _answer(send: Send, status: int, code: str, words: str) -> None:
    await _json(send, status, {"error_code": code, "message": words})


async def _json(send: Send, status: int, content: object) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
