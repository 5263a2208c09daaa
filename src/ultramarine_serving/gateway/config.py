"""`gateway.json`: where the gateway listens and where its table is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ultramarine_serving.gateway.fields import BadFile, Fields, read_json
from ultramarine_serving.http.address import Address


@dataclass(frozen=True)
class Config:
    """What does not change while the gateway runs. Relative paths are relative to where it was started."""

    listeners: Mapping[str, Address]
    table: Path
    admin: str  #: path of a Unix socket, with `{worker}` for its number
    workers: int = 1
    grace_s: float = 10.0  #: how long requests may go on after SIGTERM

    def admin_path(self, worker: int) -> str:
        return os.path.abspath(self.admin.replace("{worker}", str(worker)))


def read(path: Path) -> Config:
    """Read the file. Raises BadFile."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadFile(
            f"{path} cannot be read: {error.strerror}. Name the gateway's configuration with --config."
        ) from None
    fields = Fields(read_json(data, str(path)), "gateway")
    listeners: dict[str, Address] = {}
    for name, value in fields.mapping("listeners").items():
        each = Fields(value, f"gateway.listeners.{name}")
        listeners[name] = Address(host=each.text("host"), port=each.whole("port"))
        each.done()
    config = Config(
        listeners=listeners,
        table=Path(fields.text("table")),
        admin=fields.text("admin"),
        workers=fields.whole("workers", 1, least=1),
        grace_s=fields.number("grace_s", 10.0),
    )
    fields.done()
    if not listeners:
        raise BadFile("gateway.listeners must name at least one listener.")
    if config.workers > 1 and "{worker}" not in config.admin:
        raise BadFile("gateway.admin must hold {worker}: each worker has a socket of its own.")
    return config
