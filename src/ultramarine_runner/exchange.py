"""The two conversations that never stop: what is wanted here, and what is reported from here."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any, Callable

from .machine import boot_s
from .wire import BACKOFF_FIRST_S, BACKOFF_LAST_S, JSON, Channel, Dismissed, Unreachable, backoff

_WAIT_S = 30
LINGER_S = 0.03  #: so long a change for which nobody waits is held back: a short run is over by then, and told once


class Follower:
    """Long-polls the desired state on a connection of its own."""

    def __init__(
        self, channel: Channel, *, wanted: Callable[[Mapping[str, Any]], None], dismissed: Callable[[Dismissed], None]
    ) -> None:
        self._channel = channel
        self._wanted = wanted
        self._dismissed = dismissed

    def start(self) -> None:
        """Begin to follow."""
        threading.Thread(target=self._serve, name="desired", daemon=True).start()

    def _serve(self) -> None:
        etag = ""
        waits = backoff()
        while True:
            try:
                path = f"/runner/v1/desired?etag={etag}&wait={_WAIT_S}"
                answer = self._channel.request("GET", path, timeout_s=_WAIT_S + 10)
                if answer.status == 304:
                    waits = backoff()
                    continue
                if answer.status != 200:
                    raise Unreachable(f"desired: {answer.status}")
                desired = answer.json()
                waits = backoff()
            except Unreachable:
                time.sleep(next(waits))
                continue
            except Dismissed as error:
                self._dismissed(error)
                return
            etag = str(desired["etag"])
            self._wanted(desired)


class Reporter:
    """Sends the whole reported state, at every change and every beat; changes meanwhile go with the next.

    What somebody waits for goes at once, the rest a moment later, with what has changed until then.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        body: Callable[[], Mapping[str, Any]],
        answered: Callable[[float, Mapping[str, Any], int], None],
        dismissed: Callable[[Dismissed], None],
        beat_s: float,
        linger_s: float = LINGER_S,
    ) -> None:
        self._channel = channel
        self._body = body
        self._answered = answered
        self._dismissed = dismissed
        self._beat_s = beat_s
        self._linger_s = linger_s
        self._wake = threading.Condition()
        self._version = 1
        self._accepted = 0
        self._urgent = 1  #: the last version that somebody waits for

    def start(self) -> None:
        """Begin to report."""
        threading.Thread(target=self._serve, name="reported", daemon=True).start()

    def changed(self, *, is_urgent: bool) -> int:
        """There is something new to report; its number, given to `answered` once it was accepted."""
        with self._wake:
            self._version += 1
            if is_urgent:
                self._urgent = self._version
            self._wake.notify()
            return self._version

    def _serve(self) -> None:
        wait = BACKOFF_FIRST_S
        while True:
            with self._wake:
                if self._accepted == self._version:
                    self._wake.wait(self._beat_s)
                self._wake.wait_for(lambda: self._urgent > self._accepted, self._linger_s)
                version = self._version
            try:
                self._report(version)
                wait = BACKOFF_FIRST_S
            except Unreachable:
                time.sleep(wait)
                wait = min(wait * 2, BACKOFF_LAST_S)
            except Dismissed as error:
                self._dismissed(error)
                return

    def _report(self, version: int) -> None:
        sent = boot_s()
        body = {**self._body(), "sent_boot_s": sent}
        answer = self._channel.request("PUT", "/runner/v1/reported", json.dumps(body).encode(), content_type=JSON)
        if answer.status != 200:
            raise Unreachable(f"reported: {answer.status}")
        self._accepted = version
        self._answered(sent, answer.json(), version)
