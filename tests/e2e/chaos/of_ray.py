"""What can be done to a Ray that an installation has its nodes from: to its hosts, its head, our engine of it."""

import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.contracts import ray_cluster
from tests.hosts import Host

from ..fleets import Fleet
from ..installation import Installation, environment_of
from .blows import ALSO_STARTING, Server
from .storm import LONG_S, SHORT_S, Blow, Held, send

REJOINS_S = (0.5, 8.0)


class Hosts:
    """Its nodes, and the cables between them."""

    def __init__(
        self,
        hosts: Sequence[Host],
        chance: random.Random,
        held: Held,
        *,
        join: Callable[[Host], object] = lambda host: None,
    ) -> None:
        """`join`: how a host is a node again whose raylet was killed; at once, where nobody has to do it."""
        self._hosts, self._chance, self._held, self._join = hosts, chance, held, join
        self.hurt: set[str] = set()  #: nodes that went with their raylet, or were cut off for long
        self._away: set[str] = set()  #: hosts whose raylet was killed and has not joined again

    def blows(self) -> dict[Blow, int]:
        return {self._cut: 6, self._kill_raylet: 3}

    def _cut(self) -> str | None:
        """A host loses its cable, and gets it back."""
        if not (hosts := [host for host in self._hosts if _raylets(host)]):
            return None
        host = self._chance.choice(hosts)
        is_long = self._chance.random() < 0.3
        for_s = self._chance.uniform(*(LONG_S if is_long else SHORT_S))
        self.hurt.update(_nodes(host) if is_long else ())
        host.cut()
        return f"host cut off {self._held.until(for_s, host.mend)}"

    def _kill_raylet(self) -> str | None:
        if not (hosts := [host for host in self._hosts if host.name not in self._away and _raylets(host)]):
            return None
        host = self._chance.choice(hosts)
        self.hurt.update(_nodes(host))
        self._away.add(host.name)
        send(_raylets(host), signal.SIGKILL)
        self._held.until(self._chance.uniform(*REJOINS_S), lambda: self._back(host))
        return "raylet killed"

    def _back(self, host: Host) -> None:
        host.mend()  # one that is cut off reaches no head
        self._join(host)
        self._away.discard(host.name)


class Engine:
    """What speaks with Ray for the control plane."""

    def __init__(self, it: Installation) -> None:
        self._it = it

    def blows(self) -> dict[Blow, int]:
        return {self._kill: 3}

    def _kill(self) -> str | None:
        engines = ray_cluster.engines(self._it.home / "run" / "ray.sock")
        return "engine of the Ray driver killed" if send(engines, signal.SIGKILL) else None


class Head:
    """Ray's head, where it is a part of the installation: what keeps it, its GCS, its autoscaler."""

    def __init__(self, fleet: Fleet, server: Server, chance: random.Random) -> None:
        self._fleet, self._server, self._chance = fleet, server, chance

    def blows(self) -> dict[Blow, int]:
        return {self._kill: 2, self._kill_gcs: 2, self._kill_autoscaler: 1}

    def _kill(self) -> str | None:
        return self._server.kill("ray-head")

    def _kill_gcs(self) -> str | None:
        if self._fleet.it.part("ray-head").get("phase") != "ready" and self._chance.random() > ALSO_STARTING:
            return None
        found = self._fleet.processes("gcs_server", self._fleet.head_folder)
        return "gcs_server of the head killed" if send(found, signal.SIGKILL) else None

    def _kill_autoscaler(self) -> str | None:
        found = self._fleet.processes("ray.autoscaler.v2.monitor", str(self._fleet.it.home))
        return "autoscaler of the head killed" if send(found, signal.SIGKILL) else None


def _nodes(host: Host) -> set[str]:
    """Those of ours that live there."""
    keys = (environment_of(pid).get("ULTRAMARINE_ALLOCATION") for pid in host.pids())
    return {key for key in keys if key}


def _raylets(host: Host) -> list[int]:
    return [pid for pid in host.pids() if _name(pid) == "raylet"]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
