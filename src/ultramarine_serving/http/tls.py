"""TLS of both ends, and the secret by which a server of ours knows who may ask it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

SECRET = b"x-ultramarine-secret"  #: the header that holds it


def server_context(pem: Path) -> ssl.SSLContext:
    """To listen with: `pem` holds a key (not encrypted), its certificate, and what is between that and its CA.

    Raises OSError (ssl.SSLError is one) where it cannot be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    made.load_cert_chain(pem, password=_no_password)
    return made


@dataclass(frozen=True)
class Expected:
    """Whom a client takes for its upstream, and what it says there itself."""

    name: str  #: that its certificate is for, whatever its address is
    ca: str = field(repr=False)  #: PEM of what alone is trusted to have signed it
    secret: str = field(repr=False)
    behind: str = ""  #: the program behind it that is meant, for its CONNECT; empty: itself

    @property
    def context(self) -> ssl.SSLContext:
        """To connect with."""
        return client_context(self.ca)

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Of each request; of the CONNECT alone where there is one."""
        return ((SECRET, self.secret.encode("ascii")),)


@lru_cache(maxsize=4)
def client_context(ca: str) -> ssl.SSLContext:
    """To connect with, for all upstreams of a CA. Raises ssl.SSLError or ValueError for what is no PEM."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_verify_locations(cadata=ca)
    return made


def _no_password() -> str:
    """Nobody sits at a terminal to be asked."""
    raise ssl.SSLError("the key is encrypted")
