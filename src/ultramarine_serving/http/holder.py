"""Whose program listens at a port of this machine, as Linux tells it: any of its users may have taken it first."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterator

_LISTENING = "0A"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


class Holder(enum.Enum):
    NOBODY = "nobody"
    KNOWN = "known"
    STRANGER = "stranger"


def holder(port: int, *, socket: str) -> Holder:
    """Who listens there; known is whoever has the Unix socket at the path `socket`."""
    users = set(_listening(port))
    if not users:
        return Holder.NOBODY
    try:
        known = os.stat(socket).st_uid
    except OSError:
        return Holder.NOBODY  # what it belongs to is gone
    return Holder.KNOWN if users == {known} else Holder.STRANGER


def _listening(port: int) -> Iterator[int]:
    """The users whose sockets listen there, at whatever address."""
    end = f":{port:04X}"
    for path in _TABLES:
        # Without IPv6 there is none of it.
        with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as table:
            next(table, None)
            for line in table:
                _, local, _, state, _, _, _, user, *_ = line.split()
                if state != _LISTENING:
                    break  # they come first: a machine may have very many connections
                if local.endswith(end):
                    yield int(user)
