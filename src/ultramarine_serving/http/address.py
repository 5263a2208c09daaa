"""Where a server listens, or a client connects: `unix:PATH` or `HOST:PORT`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass

#: What `sockaddr_un.sun_path` holds on Linux, less the final zero.
UNIX_PATH_MAX_BYTES = 107


@dataclass(frozen=True)
class Address:
    """Either `path` (a Unix socket) or `host` and `port`."""

    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `unix:/run/x.sock`, `127.0.0.1:80`, `[::1]:80` or `http://host:80`. Raises ValueError."""
        if text.startswith("unix:"):
            path = text[len("unix:") :]
            if not path or "\0" in path:
                raise ValueError(f"Address {text!r} has no path after 'unix:'. Write unix:/path/to.sock.")
            return cls(path=path)
        host, colon, port = text.removeprefix("http://").rstrip("/").rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"Address {text!r} is neither unix:PATH nor HOST:PORT (port 0 to 65535).")
        return cls(host=host.removeprefix("[").removesuffix("]"), port=int(port))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @contextlib.contextmanager
    def usable_path(self) -> Generator[str, None, None]:
        """`path`, or a short alias of it that holds inside the `with`: the kernel takes no more than 107 bytes."""
        if len(os.fsencode(self.path)) <= UNIX_PATH_MAX_BYTES:
            yield self.path
            return
        folder, name = os.path.split(self.path)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}/{name}"
        finally:
            os.close(descriptor)
