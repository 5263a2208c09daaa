"""Requests that wait for the first replica of a deployment: how long, and who is told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ultramarine_serving.gateway.authorize import Authorizer, Unavailable
from ultramarine_serving.http.messages import Request

log = logging.getLogger("ultramarine.gateway")

HOLD_MAX_S = 600.0
REPEAT_S = 1.0
SCALE_UP_TIMEOUT = b"x-scale-up-timeout"


class BadTimeout(Exception):
    """The header is no number of seconds. The text says what it is."""


def hold_s_of(request: Request, hold_s: float) -> float:
    """How long this request may be held: the client's word on it, else the deployment's. Raises BadTimeout."""
    said = request.header(SCALE_UP_TIMEOUT).decode("latin-1")
    if not said:
        return hold_s
    try:
        seconds = float(said)
    except ValueError:
        raise BadTimeout(said) from None
    if not seconds >= 0:
        raise BadTimeout(said)
    return min(seconds, HOLD_MAX_S)


class Bell:
    """Tells the control plane what is waited for: at once, and each second while it is. Nobody waits for its answer."""

    def __init__(self) -> None:
        self._control: Authorizer | None = None
        self._asked: dict[tuple[str, str], Callable[[], bool]] = {}  #: since it was last told
        self._ringing: dict[tuple[str, str], asyncio.Task[None]] = {}

    def update(self, control: Authorizer | None) -> None:
        """Who is told from now on."""
        self._control = control

    def ring(self, endpoint: str, deployment: str, is_held: Callable[[], bool]) -> None:
        """`is_held`: whether a request still waits."""
        key = (endpoint, deployment)
        self._asked[key] = is_held
        if key not in self._ringing:
            self._ringing[key] = asyncio.get_running_loop().create_task(self._ring(key))

    async def _ring(self, key: tuple[str, str]) -> None:
        try:
            while key in self._asked:
                is_held = self._asked.pop(key)
                await self._tell(*key)
                await asyncio.sleep(REPEAT_S)
                if is_held():
                    self._asked.setdefault(key, is_held)
        finally:
            del self._ringing[key]

    async def _tell(self, endpoint: str, deployment: str) -> None:
        if self._control is None:
            return
        try:
            status, _ = await self._control.post("held", {"endpoint": endpoint, "deployment": deployment}, hold_s=0)
        except Unavailable as error:
            log.warning(
                "The control plane could not be told that %s/%s is waited for: %s.", endpoint, deployment, error
            )
            return
        if status not in (200, 204):
            log.warning(
                "The control plane answered %s when told that %s/%s is waited for.", status, endpoint, deployment
            )
