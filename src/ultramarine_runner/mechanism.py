"""By which means the limits of runs can be held on this machine. Pure: files are given as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ASIDE = "ultramarine.server"  #: the group of who has made groups beside itself
CGROUP_V2, CGROUP_V1, WATCH = "cgroup-v2", "cgroup-v1", "watch"
_NEEDED = ("memory", "pids")
_WANTED = (*_NEEDED, "cpu", "cpuacct")


@dataclass(frozen=True)
class Mechanism:
    """`kind`, and by controller the folder in which groups are made; version 2 has one folder for all."""

    kind: str
    parents: Mapping[str, str]

    @property
    def folders(self) -> tuple[str, ...]:
        """Each folder once."""
        return tuple(dict.fromkeys(self.parents.values()))


WATCHING = Mechanism(WATCH, {})


def candidates(mounts: str, own: str) -> list[Mechanism]:
    """What might work, the best first. `mounts` as in /proc/self/mounts, `own` as in /proc/self/cgroup.

    Groups are made below the group that we are in ourselves, so that what limits us limits the runs too. In version 2
    that is the one above, where we have stepped aside or were put aside: where processes are, no groups are counted.
    """
    places = _places(mounts, own)
    found: list[Mechanism] = []
    for folder in _folders(places[""], own) if "" in places else ():
        found.append(Mechanism(CGROUP_V2, dict.fromkeys(_WANTED, folder)))
    if all(controller in places for controller in _NEEDED):
        found.append(Mechanism(CGROUP_V1, {one: places[one] for one in _WANTED if one in places}))
    return found


def _places(mounts: str, own: str) -> dict[str, str]:
    """By controller ("" is version 2) the folder of our own group."""
    mounted: dict[str, str] = {}
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[2] == "cgroup2":
            mounted.setdefault("", fields[1])
        elif len(fields) > 3 and fields[2] == "cgroup":
            for option in fields[3].split(","):
                mounted.setdefault(option, fields[1])
    return {name: mounted[name] + ("" if path == "/" else path) for name, path in _own(own) if name in mounted}


def _folders(folder: str, own: str) -> list[str]:
    """Of version 2, our own group, and the one above where there is one."""
    path = next(path for name, path in _own(own) if not name)
    above, name = folder.rpartition("/")[::2]
    if path == "/":
        return [folder]
    return [above] if name == ASIDE else [folder, above]


def _own(text: str) -> Sequence[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number.isdigit() and path.startswith("/") and "/.." not in path:  # "..": a group outside of our namespace
            found += [(controller, path) for controller in controllers.split(",")]
    return found


def cpu_shares(cpus: float) -> int:
    """Version 1's weight: 1024 for each CPU that was asked for."""
    return max(2, min(262144, round(cpus * 1024)))


def cpu_weight(cpus: float) -> int:
    """Version 2's weight: 100, which is what everybody has, for each CPU that was asked for."""
    return max(1, min(10000, round(cpus * 100)))
