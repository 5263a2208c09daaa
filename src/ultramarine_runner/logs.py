"""Ship what ranks write and collect, by byte offset. The control plane's file length is the only offset there is."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .collected import Collected, CollectedFile
from .wire import BACKOFF_FIRST_S, BACKOFF_LAST_S, Channel, Dismissed, Unreachable

CHUNK_BYTES = 1 << 20
_LOOK_S = 0.1  #: how long a written byte may wait; an end is shipped at once


@dataclass
class _Followed:
    key: str
    rank: str
    file: str
    fd: int
    limit: int | None  #: bytes that may be shipped
    offset: int = 0
    refused: bool = False

    @property
    def path(self) -> str:
        return f"/runner/v1/logs/{self.key}/{self.rank}/{self.file}?offset={self.offset}"

    @property
    def is_over(self) -> bool:
        """Whether more was written than may be shipped."""
        return self.limit is not None and os.fstat(self.fd).st_size > self.limit

    def size(self) -> int:
        """Bytes that there are to ship in all: where the limit cuts it off, a last line says so."""
        size = os.fstat(self.fd).st_size
        return self.limit + len(_cut(self.limit)) if self.limit is not None and size > self.limit else size

    def chunk(self, size: int, bytes_max: int) -> bytes:
        """What follows the offset, of a log of `size` bytes in all."""
        if self.limit is not None and self.offset >= self.limit:
            return _cut(self.limit)[self.offset - self.limit :]
        until = size if self.limit is None else min(size, self.limit)
        return os.pread(self.fd, min(bytes_max, until - self.offset), self.offset)


def _cut(limit: int) -> bytes:
    return f"\nultramarine: log cut at {limit} bytes, which is its limit.\n".encode()


@dataclass(frozen=True)
class Listener:
    """Whom the shipper tells. All are called from its thread."""

    settled: Callable[[str], None]  #: run key: every byte was shipped or refused after its end
    over_limit: Callable[[str], None]
    dismissed: Callable[[Dismissed], None]


class Shipper:
    """One thread that ships the logs of all runs."""

    def __init__(self, channel: Channel, listener: Listener) -> None:
        self._channel = channel
        self._listener = listener
        self._wake = threading.Condition()
        self._followed: dict[str, list[_Followed]] = {}
        self._collected: dict[str, Collected] = {}
        self._ended: set[str] = set()
        self._told: set[str] = set()
        self._hurry = False
        self._retry_at = 0.0
        self._wait_s = BACKOFF_FIRST_S

    def start(self) -> None:
        """Begin to ship."""
        threading.Thread(target=self._serve, name="logs", daemon=True).start()

    def follow(self, key: str, rank: str, file: Path, *, limit: int | None) -> None:
        """Ship this file from now on. It is made here, and held open, so that nothing put in its place is ever read."""
        fd = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with self._wake:
            self._followed.setdefault(key, []).append(_Followed(key, rank, file.name, fd, limit))
            self._wake.notify()

    def collect(self, key: str, folder: Path) -> None:
        """Ship what comes to be in this folder, and delete what was shipped."""
        with self._wake:
            self._collected[key] = Collected(key, folder)

    def finish(self, key: str) -> None:
        """Nothing more will be written: ship the rest at once, then tell."""
        with self._wake:
            self._followed.setdefault(key, [])
            self._ended.add(key)
            self._hurry = True
            self._wake.notify()

    def forget(self, key: str) -> None:
        """Let go of its files."""
        with self._wake:
            self._ended.discard(key)
            self._told.discard(key)
            for one in self._followed.pop(key, []):
                os.close(one.fd)
            if (collected := self._collected.pop(key, None)) is not None:
                collected.close()

    def _serve(self) -> None:
        try:
            while True:
                with self._wake:
                    if not self._hurry:
                        self._wake.wait(_LOOK_S if len(self._told) < len(self._followed) else None)
                    self._hurry = False
                    # Those that have ended first: somebody waits for them.
                    turn = sorted((key not in self._ended, key) for key in self._followed if key not in self._told)
                if time.monotonic() >= self._retry_at:
                    self._turn([key for _, key in turn])
        except Dismissed as error:
            self._listener.dismissed(error)

    def _turn(self, keys: list[str]) -> None:
        for key in keys:
            ended = key in self._ended  # before looking: what is written until then is seen
            try:
                behind = [self._ship(one) for one in self._followed.get(key, [])]
                behind += self._ship_collected(key, is_ended=ended)
                self._wait_s = BACKOFF_FIRST_S
            except Unreachable:
                self._retry_at = time.monotonic() + self._wait_s
                self._wait_s = min(self._wait_s * 2, BACKOFF_LAST_S)
                return
            if any(behind):
                self._hurry = True
            elif ended:
                self._told.add(key)
                self._listener.settled(key)

    def _ship_collected(self, key: str, *, is_ended: bool) -> list[bool]:
        """Of each file a chunk, as `_ship`. Logs come first: somebody may be reading them."""
        collected = self._collected.get(key)
        if collected is None or not (is_ended or collected.is_due()):
            return []
        return [self._ship(one) or collected.let_go(one) for one in collected.look()]

    def _ship(self, one: _Followed | CollectedFile) -> bool:
        """Ship one chunk; whether there is more."""
        size = one.size()
        if isinstance(one, _Followed) and one.is_over:
            self._listener.over_limit(one.key)
        if one.refused or size <= one.offset:
            return False
        answer = self._channel.request("PUT", one.path, one.chunk(size, CHUNK_BYTES))
        if answer.status in (200, 409):
            one.offset = int(answer.json()["size"])
        else:
            one.refused = True
        return not one.refused and one.offset < size
