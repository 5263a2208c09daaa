"""`gateway.json`: where the gateway listens and where its table is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ultramarine_serving.gateway.fields import BadFile, Fields, read_json
from ultramarine_serving.http.address import Address

LISTENERS = ("api", "second", "instances")
EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Tls:
    """Where the same is heard by TLS."""

    certificate: Path  #: PEM: the key, the certificate, and what stands between it and its CA; looked at again
    listeners: Mapping[str, tuple[Address, ...]]


@dataclass(frozen=True)
class Config:
    """What does not change while the gateway runs. Relative paths are relative to where it was started."""

    listeners: Mapping[str, Address]
    table: Path
    admin: str  #: path of a Unix socket, with `{worker}` for its number
    tls: Tls | None = None
    workers: int = 1
    grace_s: float = 10.0  #: how long requests may go on after SIGTERM

    @property
    def addresses(self) -> list[Address]:
        """Every port that is listened on."""
        by_tls = () if self.tls is None else self.tls.listeners.values()
        return [*self.listeners.values(), *(address for addresses in by_tls for address in addresses)]

    @property
    def shares_ports(self) -> bool:
        """Whether a port is bound more than once: by several workers, or for all addresses beside our loopback."""
        return self.workers > 1 or any(address.host in EVERYWHERE for address in self.addresses)

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
    listeners = {
        name: _address(value, f"gateway.listeners.{name}") for name, value in fields.mapping("listeners").items()
    }
    tls = fields.mapping("tls", {})
    config = Config(
        listeners=listeners,
        table=Path(fields.text("table")),
        admin=fields.text("admin"),
        tls=_tls(tls) if tls else None,
        workers=fields.whole("workers", 1, least=1),
        grace_s=fields.number("grace_s", 10.0),
    )
    fields.done()
    if not listeners:
        raise BadFile("gateway.listeners must name at least one listener.")
    if config.workers > 1 and "{worker}" not in config.admin:
        raise BadFile("gateway.admin must hold {worker}: each worker has a socket of its own.")
    return config


def _tls(value: object) -> Tls:
    fields = Fields(value, "gateway.tls")
    listeners = Fields(fields.mapping("listeners"), "gateway.tls.listeners")
    made = Tls(
        certificate=Path(fields.text("certificate")),
        listeners={
            name: tuple(_address(each, f"gateway.tls.listeners.{name}") for each in listeners.items(name, []))
            for name in LISTENERS
        },
    )
    listeners.done()
    fields.done()
    return made


def _address(value: object, where: str) -> Address:
    fields = Fields(value, where)
    address = Address(host=fields.text("host"), port=fields.whole("port"))
    fields.done()
    return address
