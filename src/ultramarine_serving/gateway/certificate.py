"""The certificate that TLS listeners show: looked at again, and replaced while connections go on."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from ultramarine_serving.gateway.fields import BadFile
from ultramarine_serving.gateway.stamp import Stamp, stamp
from ultramarine_serving.http.tls import server_context

log = logging.getLogger("ultramarine.gateway")


class Certificate:
    """A PEM file with a key and its certificates. `context` is what to listen with; it stays the same object.

    Raises BadFile when there is none to begin with.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Stamp | None = None
        try:
            self._seen = stamp(os.stat(path))
            self.context = self._current = server_context(path)
        except OSError as error:  # ssl.SSLError is one
            raise _bad(path, error) from None
        self.context.sni_callback = self._choose

    def look(self) -> None:
        """Take the file if it is another one; one that cannot be used changes nothing."""
        try:
            now = stamp(os.stat(self._path))
            if now == self._seen:
                return
            self._seen = now
            self._current = server_context(self._path)
        except OSError as error:
            log.warning("%s The one before stays.", _bad(self._path, error))
            return
        log.info("A new certificate is shown from now on.")

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, begun_with: ssl.SSLContext) -> None:
        """Called in each handshake, whether the client names a server or not."""
        connection.context = self._current


def _bad(path: Path, error: OSError) -> BadFile:
    why = getattr(error, "reason", None) or error.strerror or error
    return BadFile(f"{path} is no certificate with its key: {why}.")
