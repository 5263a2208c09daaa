"""An installation with a Ray of its own, whose machines are hosts of a network of this machine."""

import json
import shutil
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests import hosts

from ultramarine.drivers.ray.places import Places

from .installation import Installation, end, installed, is_alive

PROVIDER = Path(__file__).parent / "fleet"
IDLE_S = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    it: Installation
    network: hosts.Network
    folder: Path  #: the provider's

    @property
    def head_folder(self) -> str:
        """What stands in the command line of each process of the head."""
        return f"{Places(home=self.it.home).shelter}/"

    def compute_id(self, name: str) -> str:
        with sqlite3.connect(self.it.home / "ultramarine.db") as database:
            [found] = database.execute("SELECT id FROM computes WHERE name = ?", [name]).fetchone()
        return str(found)

    def machines(self) -> list[dict[str, Any]]:
        """Those whose processes live."""
        return [each for each in self._known() if is_alive(each["pid"])]

    def clear(self) -> None:
        """End what a failed test has left of machines, and remove what those have left that nobody took away."""
        for machine in self._known():
            for pid in self.processes(machine["place"]):
                end(pid)
            shutil.rmtree(machine["place"], ignore_errors=True)

    def _known(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.folder.glob("*.json")]

    def calls(self) -> int:
        """How often the provider was asked to start machines."""
        try:
            return len((self.folder / "calls").read_text().splitlines())
        except FileNotFoundError:
            return 0

    def cluster(self, name: str, *, nodes: int = 2, idle_s: int = 600) -> None:
        body = {"name": name, "type": "amlcompute", "size": "cpu-1", "max_instances": nodes, "provider": "ray"}
        self.it.workspace.computes.create_or_update({**body, "idle_time_before_scale_down": idle_s})

    def delete(self, name: str) -> None:
        self.it.workspace.computes.delete(name)
        self.it.workspace.computes.wait_gone(name, timeout_s=120)

    def processes(self, *words: str) -> list[int]:
        """Processes of the head or of a machine, by words of their command lines."""
        found: list[int] = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if all(word in line for word in words):
                found.append(int(folder.name))
        return found


@contextmanager
def fleet(cache: Path, folder: Path, *, count: int = 2, **settings: str) -> Generator[Fleet, None, None]:
    """`folder`: of the provider's files; `count`: hosts that there are; `settings`: further ones."""
    with hosts.network(count) as network:
        file = folder / "provider.yml"
        file.write_text(yaml.safe_dump(_provider(network, folder, cache=cache)))
        of_ray = {
            "ULTRAMARINE_RAY_HEAD": f"{network.address}:6379",
            "ULTRAMARINE_RAY_PROVIDER": str(file),
            "ULTRAMARINE_LISTEN": network.address,
        }
        with installed(cache, **of_ray, **settings) as it:
            it.up()
            made = Fleet(it=it, network=network, folder=folder)
            try:
                yield made
            finally:
                it.um("down", within_s=150)  # beyond its own patience: it says what has not ended
                made.clear()


def _provider(network: hosts.Network, folder: Path, *, cache: Path) -> dict[str, Any]:
    return {
        "provider": {
            "type": "external",
            "module": "hosts_provider.HostsProvider",
            "folder": str(folder),
            "cache": str(cache),
            "hosts": [[host.name, host.address] for host in network.hosts],
            "disable_node_updaters": True,
        },
        "idle_timeout_minutes": IDLE_S / 60,
        "pythonpath": [str(PROVIDER)],
    }
