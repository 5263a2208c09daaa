"""A free port for rank 0, held until the ranks start."""

from __future__ import annotations

import re
import socket

_TAKEN = re.compile(r"EADDRINUSE|address already in use", re.IGNORECASE)


def reserve() -> tuple[socket.socket, int]:
    """A socket that holds a free TCP port on all addresses, and the port. It does not listen."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.bind(("", 0))
    return held, held.getsockname()[1]


def was_taken(tail: str, port: int) -> bool:
    """Whether a failed rank complained that just this port was taken."""
    return bool(_TAKEN.search(tail)) and re.search(rf"(?<!\d){port}(?!\d)", tail) is not None
