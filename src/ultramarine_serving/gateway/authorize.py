"""Who is it? The control plane says; its yes is remembered for as long as it allows, and a no-answer is a no."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, cast

from ultramarine_serving.http.body import BodyBroken, BodyTooLarge
from ultramarine_serving.http.client import NotConnected, Pool, UpstreamError

CACHE_MAX = 10_000
CACHE_MAX_S = 60.0
ANSWER_MAX_BYTES = 65_536
TIMEOUT_S = 10.0
REPEATABLE = ("authorize", "held")  #: asked twice, they do no more than once


class Unavailable(Exception):
    """The authorizer does not answer: nothing is known, so nothing is allowed."""


@dataclass(frozen=True)
class Grant:
    """What a token allows."""

    workspace: str
    subject: str
    run: str = ""  #: the id of the run whose own token it is
    reach: str = ""  #: the one workspace that it may be used for, or * for all
    right: str = ""  #: what it may do there: read, or work
    instance: str = ""  #: the id of the compute instance that it may enter


class Denied(Exception):
    """The authorizer said no. `status` is 401 (unknown), 403 (known, not allowed) or 404 (allowed, not there)."""

    def __init__(self, status: int, detail: str, hint: str = "") -> None:
        super().__init__(detail.rstrip("."))
        self.status = status
        self.hint = hint


class Authorizer:
    """Asks `POST /internal/…` of one upstream. Tokens are kept as SHA-256 only."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._cache: OrderedDict[bytes, tuple[float, Grant]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Grant]] = {}

    async def grant(
        self, token: str, purpose: str, *, workspace: str, hold_s: float, endpoint: str = "", instance: str = ""
    ) -> Grant:
        """What the token allows in the workspace that the client wants; empty: it wants none in particular.

        `endpoint`: the one of that workspace that it wants to call; `instance`: the one that it wants to enter.

        Raises Denied, Unavailable.
        """
        question = {"token": token, "purpose": purpose}
        if workspace:
            question["workspace"] = workspace
        if endpoint:
            question["endpoint"] = endpoint
        if instance:
            question["instance"] = instance
        key = hashlib.sha256("\0".join(question.values()).encode()).digest()
        kept = self._cache.get(key)
        if kept is not None and asyncio.get_running_loop().time() < kept[0]:
            return kept[1]
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.get_running_loop().create_task(self._ask(key, question, hold_s))
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)  # others may wait for the same answer

    def _asked(self, key: bytes, task: asyncio.Task[Grant]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # seen, even if every client has gone

    async def _ask(self, key: bytes, question: dict[str, str], hold_s: float) -> Grant:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        status, answer = await self.post("authorize", question, hold_s=hold_s)
        if status in (401, 403, 404):
            self._cache.pop(key, None)
            raise Denied(status, str(answer.get("detail", "")), str(answer.get("hint", "")))
        workspace, subject, cache_s = answer.get("workspace"), answer.get("subject", ""), answer.get("cache_s", 0)
        if status != 200 or not isinstance(workspace, str) or not isinstance(cache_s, (int, float)):
            raise Unavailable(f"the authorizer answered {status} with {sorted(answer)}")
        made = Grant(
            workspace=workspace,
            subject=str(subject),
            run=str(answer.get("run") or ""),
            reach=str(answer.get("reach") or workspace),
            right=str(answer.get("right") or "read"),
            instance=str(answer.get("instance") or ""),
        )
        if cache_s > 0:
            self._cache[key] = (asked_at + min(float(cache_s), CACHE_MAX_S), made)
            self._cache.move_to_end(key)
            if len(self._cache) > CACHE_MAX:
                self._cache.popitem(last=False)
        return made

    async def post(self, what: str, body: dict[str, Any], *, hold_s: float) -> tuple[int, dict[str, Any]]:
        """Status and JSON object; waits `hold_s` at most while it takes no connections. Raises Unavailable."""
        data = json.dumps(body).encode()
        head = (
            f"POST /internal/{what} HTTP/1.1\r\nhost: authorizer\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n\r\n"
        ).encode()
        try:
            answer = await self.pool.ask_held(
                head, data, hold_s=hold_s, may_repeat=what in REPEATABLE, timeout_s=TIMEOUT_S
            )
            try:
                text = await answer.body.read_all(ANSWER_MAX_BYTES)
            finally:
                answer.close()
            read: object = json.loads(text or b"{}")
        except NotConnected as error:
            raise Unavailable(str(error)) from None
        except (UpstreamError, BodyBroken, BodyTooLarge, ValueError) as error:
            raise Unavailable(f"the authorizer's answer cannot be read: {error}") from None
        return answer.status, cast("dict[str, Any]", read) if isinstance(read, dict) else {}
