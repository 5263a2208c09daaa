"""JSON lines between link and keeper, over a socket pair that closes when either dies."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

_CHUNK = 1 << 16


def send(to: socket.socket, message: Mapping[str, Any]) -> None:
    """Send one message whole; OSError when the other is gone."""
    to.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")


class Reader:
    """Cuts what arrives into messages."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._rest = b""

    def read(self) -> list[dict[str, Any]] | None:
        """What one `recv` brings, maybe nothing whole yet; None when the other is gone."""
        try:
            chunk = self._source.recv(_CHUNK)
        except ConnectionError:
            return None
        if not chunk:
            return None
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every message until the other is gone."""
        while (found := self.read()) is not None:
            yield from found
