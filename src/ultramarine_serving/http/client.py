"""An HTTP/1.1 client for proxies: a pool of connections for each upstream, bodies streamed both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ultramarine_serving.http.address import Address
from ultramarine_serving.http.connecting import connect, in_words
from ultramarine_serving.http.deadlines import Deadlines
from ultramarine_serving.http.tls import Expected
from ultramarine_serving.http.upstream import Answer, Broken, NotConnected, TooSlow, Upstream, UpstreamError

__all__ = ["Answer", "Broken", "NotConnected", "Pool", "TooSlow", "UpstreamError"]

HOLD_STEP_FIRST_S = 0.02
HOLD_STEP_MAX_S = 0.25


class Pool:
    """The connections to one upstream. The newest idle one is used first; after `idle_s` seconds it is closed."""

    def __init__(
        self, address: Address, *, idle_s: float, idle_max: int = 64, expected: Expected | None = None
    ) -> None:
        """`expected`: who must show by TLS that it is the one; None: whoever answers at the address, in the clear."""
        self.address = address
        self._expected = expected
        self._idle_s = idle_s
        self._idle_max = idle_max
        self._idle: list[Upstream] = []
        self._is_closed = False
        self._loop = asyncio.get_running_loop()
        self.deadlines = Deadlines(self._loop)

    def _kept(self) -> Upstream | None:
        """An idle connection, if there is one."""
        while self._idle:
            kept = self._idle.pop()
            if not kept.is_lost:
                return kept
        return None

    async def connect(self) -> Upstream:
        """A new connection. Raises NotConnected."""
        try:
            return await connect(self.address, lambda: Upstream(self, self._loop), expected=self._expected)
        except (OSError, asyncio.TimeoutError) as error:
            raise NotConnected(in_words(self.address, error)) from None

    async def ask(
        self,
        head: bytes,
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        is_head: bool = False,
        is_chunked: bool = False,
        timeout_s: float = 0,
    ) -> Answer:
        """Connect, send, wait for the headers of the answer (`timeout_s` from here, 0: for ever).

        Raises NotConnected, Broken, TooSlow, and what reading `body` raises.
        """
        while True:
            kept = self._kept()
            connection = kept or await self.connect()
            waiting = connection.ask(head, body, is_head=is_head, is_chunked=is_chunked, timeout_s=timeout_s)
            if waiting is not None:
                break
            if kept is None:
                raise NotConnected("the connection was closed at once")
        try:
            return await waiting
        except asyncio.CancelledError:
            connection.abort()
            raise

    async def ask_held(
        self,
        head: bytes,
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        hold_s: float,
        may_repeat: bool = False,
        is_chunked: bool = False,
        timeout_s: float = 0,
    ) -> Answer:
        """As `ask`, but go on for `hold_s` seconds while no connection can be made: the upstream may be restarting.

        With `may_repeat` (harmless to do twice, `body` is bytes) also where a kept connection turns out to be closed.
        """
        is_head = head.startswith(b"HEAD ")
        until = self._loop.time() + hold_s
        wait_s = HOLD_STEP_FIRST_S
        while True:
            try:
                return await self.ask(head, body, is_head=is_head, is_chunked=is_chunked, timeout_s=timeout_s)
            except NotConnected:
                if self._loop.time() + wait_s > until:
                    raise
            except Broken as error:
                if not (may_repeat and error.is_stale):
                    raise
                continue
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, HOLD_STEP_MAX_S)

    def take_back(self, connection: Upstream) -> None:
        if self._is_closed or len(self._idle) >= self._idle_max:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def forget(self, connection: Upstream) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def close_idle(self, now: float) -> None:
        """To be called about once a second."""
        old = [each for each in self._idle if now - each.idle_since > self._idle_s]
        for each in old:
            each.abort()

    def drop_idle(self) -> None:
        """The upstream is in doubt: the next request makes a connection of its own."""
        kept, self._idle = self._idle, []
        for each in kept:
            each.abort()

    def close(self) -> None:
        """Keep no connection any more. Exchanges under way end normally."""
        self._is_closed = True
        self.drop_idle()
