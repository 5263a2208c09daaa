"""Cookies between a browser and a program behind us: ours are our own, and the program's stay with it.

A browser keeps cookies by host and path and not by port, so one of another origin of this host may come along.
"""

from __future__ import annotations

from ultramarine_serving.http.wire import Headers

OURS = b"ultramarine"  #: what the names of all of ours begin with


def is_ours(cookie: bytes) -> bool:
    """Whether `NAME=VALUE…` is one of those that let people in."""
    return cookie.partition(b"=")[0].strip().startswith(OURS)


def onward(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The client's cookies for the program, as one header: none of ours, and of each name the first.

    Browsers write the one of the longest path first: another program's at this host must not stand in its place.
    """
    kept: dict[bytes, bytes] = {}
    for header, value in headers:
        if header == b"cookie":
            for part in value.split(b";"):
                cookie = part.strip()
                if cookie and not is_ours(cookie):
                    kept.setdefault(cookie.partition(b"=")[0].strip(), cookie)
    return [(b"cookie", b"; ".join(kept.values()))] if kept else []


def confined(cookie: bytes, base: str, *, is_by_tls: bool) -> bytes | None:
    """What a program below `base` sets, for there alone, and for TLS alone where it goes by TLS.

    None: it is one of ours, and not to be set.
    """
    if is_ours(cookie):
        return None
    first, *attributes = cookie.split(b";")
    kept, path = [first], base.encode()
    for attribute in attributes:
        name, _, value = attribute.partition(b"=")
        word, where = name.strip().lower(), value.strip()
        if word == b"path" and (where.startswith(base.encode()) or where + b"/" == base.encode()):
            path = where
        elif word not in (b"path", b"domain") and not (word == b"secure" and is_by_tls):
            kept.append(attribute)
    return b";".join([*kept, b" Path=" + path, *([b" Secure"] if is_by_tls else [])])
