"""Free ports for the processes of a node, held until they start."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence

_TAKEN = re.compile(r"EADDRINUSE|address already in use", re.IGNORECASE)


class Held:
    """Free TCP ports on all addresses. Nothing listens there."""

    def __init__(self, count: int) -> None:
        self._sockets: list[socket.socket] = []
        for _ in range(count):
            held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._sockets.append(held)
            held.bind(("", 0))
        self.ports: tuple[int, ...] = tuple(held.getsockname()[1] for held in self._sockets)

    def close(self) -> None:
        """Give them to the processes."""
        for held in self._sockets:
            held.close()


def taken(tail: str, ports: Sequence[int]) -> int | None:
    """The port of these that a failed rank complained was taken; None when it complained of none."""
    if not _TAKEN.search(tail):
        return None
    return next((port for port in ports if re.search(rf"(?<!\d){port}(?!\d)", tail)), None)
