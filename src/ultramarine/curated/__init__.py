"""Curated environments: ready-made, locked, tested. One folder each: `environment.toml`, `lock.txt`, `smoke.py`.

The locks are universal (one text serves every Python and platform named in the TOML, by markers), hold hashes and no
index URLs. Where packages are built differently for an accelerator, there is a lock for it too: `lock-cuda.txt`.
`tools/lock_curated.py` renews them, and counts the version up where something changed.
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from packaging.requirements import Requirement

from ultramarine.domain.conda import PythonNotThere
from ultramarine.domain.environment import Accelerator
from ultramarine.domain.errors import InvalidInput
from ultramarine.locks.lock import PLATFORMS, Lock, read_lock


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
    platforms: tuple[str, ...]  #: as `pythons`; keys of PLATFORMS
    texts: Mapping[Accelerator, str]  #: the lock for all of them; most have only that for a CPU, which does anywhere
    find_links: Mapping[Accelerator, str]  #: where its wheels are that the package index does not have
    smoke: str  #: a script that exits with 0 when the environment works
    is_internal: bool  #: ours alone: not listed to users

    @property
    def asked(self) -> frozenset[str]:
        """The packages that were asked for, by name."""
        return frozenset(Requirement(line).name for line in self.requirements)

    def lock(self, *, python: str, platform: str, accelerator: Accelerator = Accelerator.CPU) -> Lock:
        """The lock for one Python (x.y). Raises PythonNotThere, InvalidInput (platform)."""
        if python not in self.pythons:
            raise PythonNotThere(python, self.pythons)
        if platform not in self.platforms:
            raise InvalidInput(
                f"Environment {self.name} is locked for {', '.join(self.platforms)}, not for {platform}.",
                hint="Make one of your own: um environment create --name NAME --requirements requirements.txt",
            )
        return read_lock(self.texts[accelerator], python=python, platform=platform, accelerator=accelerator)

    def locks(self, available: Collection[str], *, platform: str) -> tuple[Lock, ...]:
        """By the Python that suits best, one for each accelerator, that for a CPU first.

        Raises PythonNotThere, InvalidInput (platform).
        """
        python = self.choose_python(available)
        return tuple(self.lock(python=python, platform=platform, accelerator=each) for each in self.texts)

    def choose_python(self, available: Collection[str]) -> str:
        """Of those a node has: the preferred one, else the newest that will do. Raises PythonNotThere."""
        fits = [python for python in self.pythons if python in available]
        if not fits:
            missing = PythonNotThere(" or ".join(self.pythons), tuple(available))
            missing.hint = (
                f"Install Python {self.python} where the server runs and on the nodes, then start it again, um up; or "
                "make an environment of your own: um environment create --name NAME --requirements requirements.txt"
            )
            raise missing
        return self.python if self.python in fits else fits[-1]


def lock_file(accelerator: Accelerator) -> str:
    return "lock.txt" if accelerator is Accelerator.CPU else f"lock-{accelerator}.txt"


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
            platforms=tuple(given.get("platforms", PLATFORMS)),
            texts={
                each: file.read_text(encoding="utf-8")
                for each in Accelerator
                if (file := folder / lock_file(each)).is_file()
            },
            find_links={Accelerator(each): where for each, where in given.get("find_links", {}).items()},
            smoke=(folder / "smoke.py").read_text(encoding="utf-8"),
            is_internal=given.get("internal", False),
        )
    return dict(sorted(found.items()))
