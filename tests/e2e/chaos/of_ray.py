"""What can be done to a Ray of several hosts that an installation has its nodes from."""

import random
import signal
from pathlib import Path

from tests.contracts import ray_cluster
from tests.contracts.ray_cluster import RayHosts
from tests.hosts import Host

from ..installation import Installation, environment_of
from .storm import LONG_S, SHORT_S, Blow, Held, send

REJOINS_S = (0.5, 8.0)


class Ray:
    def __init__(self, it: Installation, ray: RayHosts, chance: random.Random, *, held: Held) -> None:
        self._it, self._ray, self._chance, self._held = it, ray, chance, held
        self.hurt: set[str] = set()  #: nodes that went with their raylet, or were cut off for long
        self._away: set[str] = set()  #: hosts whose raylet was killed and has not joined again

    def blows(self) -> dict[Blow, int]:
        return {self._cut: 6, self._kill_raylet: 3, self._kill_engine: 3}

    def _cut(self) -> str:
        """A host loses its cable, and gets it back."""
        host = self._chance.choice(self._ray.network.hosts)
        is_long = self._chance.random() < 0.3
        for_s = self._chance.uniform(*(LONG_S if is_long else SHORT_S))
        self.hurt.update(_nodes(host) if is_long else ())
        host.cut()
        return f"host cut off {self._held.until(for_s, host.mend)}"

    def _kill_raylet(self) -> str | None:
        host = self._chance.choice(self._ray.network.hosts)
        nodes = _nodes(host)
        if host.name in self._away or not send(_raylets(host), signal.SIGKILL):
            return None
        self.hurt.update(nodes)
        self._away.add(host.name)
        self._held.until(self._chance.uniform(*REJOINS_S), lambda: self._join(host))
        return "raylet killed"

    def _join(self, host: Host) -> None:
        host.mend()  # one that is cut off reaches no head
        self._ray.leave(host)
        self._ray.join(host)
        self._away.discard(host.name)

    def _kill_engine(self) -> str | None:
        engines = ray_cluster.engines(self._it.home / "run" / "ray.sock")
        return "engine of the Ray driver killed" if send(engines, signal.SIGKILL) else None


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
