"""Ports that several workers share."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ultramarine_serving.http.address import Address


def reserve(addresses: Sequence[Address]) -> list[socket.socket]:
    """Bind each port without listening: nobody else takes it, and port 0 gets its number for all workers alike.

    Raises OSError when a port is taken, by another gateway too (a plain bind fails beside shared ones).
    """
    held: list[socket.socket] = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
            port = probe.getsockname()[1]
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address.host, port))
        held.append(made)
    return held
