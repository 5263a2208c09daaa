"""One MLflow server, spoken to over its Unix socket, on behalf of one workspace at a time."""

from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ultramarine.domain.errors import AlreadyExists, Conflict, InvalidInput, NotFound, UltramarineError
from ultramarine.tracking.errors import TrackingUnavailable

if TYPE_CHECKING:
    import httpx

JsonObject = dict[str, Any]

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
WORKSPACE_HEADER = "X-MLFLOW-WORKSPACE"
SECRET_HEADER = "X-Ultramarine-Internal"
CONNECT_S, ANSWER_S = 2.0, 30.0


class Connection:
    """Sends requests, and turns MLflow's errors into ours."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    @cached_property
    def _http(self) -> "httpx.AsyncClient":
        # imported late: it takes a tenth of the control plane's start, and is needed when MLflow is first spoken to
        import httpx

        transport = httpx.AsyncHTTPTransport(uds=str(self._socket), verify=False)  # no TLS on a socket
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
        return httpx.AsyncClient(transport=transport, base_url="http://mlflow/mlflow", timeout=timeout)

    async def close(self) -> None:
        if "_http" in vars(self):
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(
        self, workspace: str, path: str, *, about: tuple[str, str], query: Mapping[str, str | int] | None = None
    ) -> JsonObject:
        """`about`: noun and name of what is asked for, for the error."""
        request = self._http.build_request("GET", path, params=query, headers={WORKSPACE_HEADER: workspace})
        return await self._json(request, about)

    async def send(
        self,
        method: str,
        workspace: str,
        path: str,
        *,
        about: tuple[str, str],
        body: JsonObject,
        secret: str = "",
    ) -> JsonObject:
        """A request with a JSON body; `about` as in `get`. `secret`: for what only the control plane may ask."""
        headers = {WORKSPACE_HEADER: workspace} | ({SECRET_HEADER: secret} if secret else {})
        request = self._http.build_request(method, path, json=body, headers=headers)
        return await self._json(request, about)

    async def put_file(
        self, workspace: str, path: str, content: AsyncIterable[bytes], *, about: tuple[str, str]
    ) -> None:
        """Store a file; it appears when its last byte is there."""
        headers = {WORKSPACE_HEADER: workspace, "content-type": "application/octet-stream"}
        request = self._http.build_request("PUT", path, content=content, headers=headers)
        await self._answered(request, about)

    @asynccontextmanager
    async def get_file(self, workspace: str, path: str, *, about: tuple[str, str]) -> AsyncGenerator["httpx.Response"]:
        """The answer with its body still to be read."""
        import httpx  # late: see `_http`

        request = self._http.build_request("GET", path, headers={WORKSPACE_HEADER: workspace})
        response = await self._sent(request, stream=True)
        try:
            if response.is_error:
                await response.aread()
                raise _error(response, about)
            yield response
        except httpx.TransportError as error:
            raise TrackingUnavailable(_words(error)) from error
        finally:
            await response.aclose()

    async def _json(self, request: "httpx.Request", about: tuple[str, str]) -> JsonObject:
        response = await self._answered(request, about)
        return response.json() if response.content else {}

    async def _answered(self, request: "httpx.Request", about: tuple[str, str]) -> "httpx.Response":
        response = await self._sent(request, stream=False)
        if response.is_error:
            raise _error(response, about)
        return response

    async def _sent(self, request: "httpx.Request", *, stream: bool) -> "httpx.Response":
        import httpx  # late: see `_http`

        try:
            return await self._http.send(request, stream=stream)
        except httpx.TransportError as error:
            raise TrackingUnavailable(_words(error)) from error


def _words(error: "httpx.TransportError") -> str:
    return str(error) or type(error).__name__


def _error(response: "httpx.Response", about: tuple[str, str]) -> UltramarineError:
    """MLflow's error as ours."""
    code, message = _said(response)
    noun, name = about
    if code == "RESOURCE_DOES_NOT_EXIST" or response.status_code == 404:
        return NotFound(noun, name)
    if code == "RESOURCE_ALREADY_EXISTS":
        return AlreadyExists(noun, name)
    if code == "INVALID_STATE":
        return Conflict(f"The {noun} {name!r} does not allow it: {message}", hint=f"um {noun} show {name}")
    if response.status_code >= 500 or code == "TEMPORARILY_UNAVAILABLE":
        return TrackingUnavailable(f"{response.status_code} {message}".rstrip(" ."))
    return InvalidInput(
        f"MLflow refused the {noun} {name!r}: {message}", hint="Change what the message names, then try again."
    )


def _said(response: "httpx.Response") -> tuple[str, str]:
    try:
        body: Mapping[str, object] = response.json()
    except ValueError:
        return "", response.text[:500]
    return str(body.get("error_code", "")), str(body.get("message", ""))[:1000]
