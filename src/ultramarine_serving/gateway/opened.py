"""Compute instances of the route table as frozen data, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ultramarine_serving.gateway.elsewhere import expected_of
from ultramarine_serving.gateway.fields import BadFile, Fields
from ultramarine_serving.http import behind
from ultramarine_serving.http.address import Address
from ultramarine_serving.http.tls import Expected

PREFIX = "/instances/"
HOST = "127.0.0.1"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"

_APPLICATION = re.compile(r"[a-z0-9-]+")
_PORTS = range(1024, 65536)
_NAMED = re.compile(f"{NAME}/{NAME}")


@dataclass(frozen=True)
class Way:
    """How a program is reached. `expected`: on another machine, by the one door of its instance."""

    address: Address
    expected: Expected | None = None

    @property
    def is_here(self) -> bool:
        return self.expected is None


@dataclass(frozen=True)
class Instance:
    """One whose program runs."""

    id: str  #: another one that gets its name later has another
    address: Address
    base: str  #: what all its paths begin with
    secret: str = field(repr=False)  #: what its program wants to be told
    applications: Mapping[str, int]  #: by name, at which port of its machine each listens
    expected: Expected | None = None  #: of one on another machine

    @property
    def lab(self) -> Way:
        return self._way(self.address, behind.JUPYTERLAB)

    def application(self, name: str) -> Way | None:
        """None: it has none of that name."""
        if (port := self.applications.get(name)) is None:
            return None
        return self._way(Address(host=HOST, port=port), behind.application(name, port))

    @property
    def ways(self) -> list[Way]:
        """To all its programs."""
        return [self.lab, *(way for name in self.applications if (way := self.application(name)) is not None)]

    def _way(self, here: Address, elsewhere: str) -> Way:
        if self.expected is None:
            return Way(here)
        return Way(self.address, replace(self.expected, behind=elsewhere))


def instance_of(name: str, value: object, *, ca: str | None) -> Instance:
    """Read one instance of a table. Raises BadFile."""
    where = f"instances[{name!r}]"
    if not _NAMED.fullmatch(name):
        raise BadFile(f"{where}: an instance is named workspace/instance.")
    fields = Fields(value, where)
    tls = fields.mapping("tls", {})
    made = Instance(
        id=fields.text("id"),
        address=fields.address("address"),
        base=fields.text("base"),
        secret=fields.text("secret"),
        applications=_applications(fields.mapping("applications", {}), where),
        expected=expected_of(tls, f"{where}.tls", ca=ca) if tls else None,
    )
    fields.done()
    if made.base != f"{PREFIX}{name}/":
        raise fields.bad("base", made.base, f"{PREFIX}{name}/")
    if not re.fullmatch(r"[!-~]+", made.secret):
        raise BadFile(f"{where}.secret must be visible ASCII.")  # its value is not to be shown
    return made


def _applications(given: Mapping[str, object], where: str) -> Mapping[str, int]:
    ports: dict[str, int] = {}
    for name, port in given.items():
        if not _APPLICATION.fullmatch(name) or not isinstance(port, int) or port not in _PORTS:
            raise BadFile(f"{where}.applications must be ports from 1024 on by name, {name!r} is {port!r}.")
        ports[name] = port
    return MappingProxyType(ports)
