"""By which names we are known: a browser that was told another name for our address asks for somebody else."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_HOST = re.compile(rb"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


def plain(name: str) -> str:
    """A name or an address as it is compared."""
    name = name.lower().rstrip(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def known(names: Iterable[str]) -> frozenset[str]:
    """With those of this machine itself."""
    return frozenset(plain(name) for name in (*LOOPBACK, *names))


def is_one(header: bytes, names: frozenset[str]) -> bool:
    """Whether a request's `host` names one of `names`, at whatever port: it may have come through a tunnel."""
    match = _HOST.fullmatch(header)
    return match is not None and plain((match["v6"] or match["name"]).decode()) in names
