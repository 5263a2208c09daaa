"""Curated environments: ready-made, locked, tested. One folder each: `environment.toml`, `lock.txt`, `smoke.py`.

The locks are universal (one text serves every Python named in the TOML, on x86_64 and aarch64, by markers), hold
hashes and no index URLs.
`tools/lock_curated.py` renews them, and counts the version up where something changed.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from packaging.requirements import Requirement

from ultramarine.domain.conda import PythonNotThere
from ultramarine.locks.lock import Lock, read_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """A ready-made environment."""

    name: str
    version: str
    description: str
    requirements: tuple[str, ...]  #: what was asked for; the lock is what came of it
    provided: tuple[str, ...]  #: what the environment in front of it has: left out of the lock, with what that needs
    python: str  #: x.y that is taken where nothing else is wanted
    pythons: tuple[str, ...]  #: all that it is locked for
    text: str  #: the lock for all of them
    smoke: str  #: a script that exits with 0 when the environment works
    is_internal: bool  #: ours alone: not listed to users

    @property
    def asked(self) -> frozenset[str]:
        """The packages that were asked for, by name."""
        return frozenset(Requirement(line).name for line in self.requirements)

    def lock(self, *, python: str, platform: str) -> Lock:
        """The lock for one Python (x.y). Raises PythonNotThere, InvalidInput (platform)."""
        if python not in self.pythons:
            raise PythonNotThere(python, self.pythons)
        return read_lock(self.text, python=python, platform=platform)

    def choose_python(self, available: Mapping[str, str] | tuple[str, ...]) -> str:
        """Of those a node has: the preferred one, else the newest that will do. Raises PythonNotThere."""
        fits = [python for python in self.pythons if python in available]
        if not fits:
            raise PythonNotThere(" or ".join(self.pythons), tuple(available))
        return self.python if self.python in fits else fits[-1]


@cache
def load() -> Mapping[str, Curated]:
    """All of them by name, each in its newest version."""
    found: dict[str, Curated] = {}
    for folder in files(__name__).iterdir():
        about = folder / "environment.toml"
        if not about.is_file():
            continue
        given = tomllib.loads(about.read_text(encoding="utf-8"))
        found[folder.name] = Curated(
            name=folder.name,
            version=given["version"],
            description=given["description"],
            requirements=tuple(given["requirements"]),
            provided=tuple(given.get("provided", ())),
            python=given["python"],
            pythons=tuple(given["pythons"]),
            text=(folder / "lock.txt").read_text(encoding="utf-8"),
            smoke=(folder / "smoke.py").read_text(encoding="utf-8"),
            is_internal=given.get("internal", False),
        )
    return dict(sorted(found.items()))
