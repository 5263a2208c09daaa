"""One kernel: its environment is made where it is not there yet, and then becomes this process.

`python instance.zip kernel --environment NAME:VERSION … -f CONNECTION_FILE`. What makes a kernel of an environment
(ipykernel) stands *behind* it on its path, as in a notebook that runs as a job: the environment is the same, file by
file, as that of a job, a batch or an endpoint. Behind that stands the Python client.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ultramarine_instance import cached, client, processes
from ultramarine_instance.control import Kept, Made, NoAnswer
from ultramarine_instance.options import KERNEL
from ultramarine_instance.settings import BadSettings, Settings, load
from ultramarine_runner import unused
from ultramarine_runner.builds import about
from ultramarine_runner.environments import EnvironmentFailed, Recipe, ensure
from ultramarine_runner.machine import platform_name
from ultramarine_runner.pythons import find_python, find_pythons

KEPT = Path(".ultramarine", "environments")  #: in the home
LOG = Path("setup", "environments.log")  #: in the home: how each build went
# As ipykernel's own launcher: a file of the notebook's folder is not to be imported in place of what it needs.
RUN = (
    "import sys; sys.path[:1] = [] if sys.path[0] == '' else sys.path[:1]; at = sys.argv.index('-f'); "
    "sys.path += sys.argv[1:at]; del sys.argv[1:at], at; "
    "from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
)


@dataclass(frozen=True)
class Wanted:
    """Which environment, and who is to be spoken to."""

    name: str
    version: str
    digest: str  #: as the list of kernels had it
    connection_file: Path
    home: Path
    settings: Path

    @property
    def label(self) -> str:
        return f"{self.name}:{self.version}"


def argv(program: Path, *, label: str, digest: str, home: Path, settings: Path) -> list[str]:
    """What starts one, but for its connection file."""
    return [
        *(sys.executable, str(program), KERNEL),
        *("--environment", label),
        *("--digest", digest),
        *("--home", str(home)),
        *("--settings", str(settings)),
        "-f",
    ]


def main(arguments: Sequence[str]) -> int:
    """Becomes the kernel. Where it cannot, it stays and says why to each cell."""
    processes.end_with_parent()
    wanted = _read(arguments)
    try:
        kernel = Kernel.learn(wanted, os.environ)
    except (NoAnswer, BadSettings, EnvironmentFailed) as error:
        words = str(error)
        return _room(wanted, "", _never(f"The environment {wanted.label} is not known here. {words}"))
    if kernel.is_made():
        try:
            kernel.become(wanted.connection_file)
        except (EnvironmentFailed, OSError) as error:
            return _room(wanted, kernel.made.python, _never(str(error)))
    return _room(wanted, kernel.made.python, kernel.make)


class Kernel:
    """One that is to be, when it is known what it is made from."""

    def __init__(self, made: Made, settings: Settings, *, files: Path, cache: Path) -> None:
        """`files`: the folder of the settings."""
        self.made, self._settings, self._files, self._cache = made, settings, files, cache
        self._behind, self._client = settings.behind[made.python], settings.client.get(made.python)

    @classmethod
    def learn(cls, wanted: Wanted, variables: Mapping[str, str]) -> Kernel:
        """Raises NoAnswer, BadSettings, EnvironmentFailed."""
        settings = load(wanted.settings)
        kept = Kept(wanted.home / KEPT)
        made = kept.made_from(wanted.name, wanted.version, digest=wanted.digest, variables=variables)
        if made.python not in settings.behind:
            there = ", ".join(settings.behind) or "none"
            raise EnvironmentFailed(
                f"{wanted.label} is of Python {made.python}, for which there are no kernels here; there are for: "
                f"{there}."
            )
        return cls(made, settings, files=wanted.settings.parent, cache=cached.cache_of(sys.prefix))

    @property
    def _recipes(self) -> list[Recipe]:
        """All that it is made from."""
        return [one for one in (self.made.recipe, self._behind, self._client) if one is not None]

    def is_made(self) -> bool:
        """Whether nothing is to be built: then it is a matter of milliseconds."""
        return all(cached.is_made(self._cache, one.digest) for one in self._recipes)

    def make(self, progress: Callable[[str], None]) -> None:
        """Build what is missing, as a job on this machine would. Raises EnvironmentFailed.

        It is held until this process ends, whatever it becomes: else it could be deleted as one that nobody uses.
        """
        for recipe in self._recipes:
            self._hold(recipe.digest)
            ensure(self._cache, recipe, options=self._settings.options, uv=_uv(self._cache), progress=progress)

    def _hold(self, digest: str) -> None:
        try:
            os.set_inheritable(unused.hold(cached.place(self._cache, digest)), True)
        except OSError as error:
            raise EnvironmentFailed(about(error, self._cache)) from None

    def become(self, connection_file: Path) -> None:
        """Does not return. Raises EnvironmentFailed, OSError."""
        self.make(lambda _: None)
        sites = [cached.site(cached.place(self._cache, self._behind.digest))]
        if self._client is not None:
            sites += client.behind(self._files, cached.place(self._cache, self._client.digest))
        python, variables = self._python(dict(os.environ))
        os.execve(python, [python, "-c", RUN, *sites, "-f", str(connection_file)], variables)

    def _python(self, variables: dict[str, str]) -> tuple[str, dict[str, str]]:
        """Its interpreter, and the variables with this one's environment taken out and its own put in."""
        ours = str(Path(sys.prefix, "bin"))
        path = [folder for folder in variables.get("PATH", os.defpath).split(os.pathsep) if folder != ours]
        variables.pop("VIRTUAL_ENV", None)
        if self.made.recipe is None:
            return _own_python(self.made.python), variables | {"PATH": os.pathsep.join(path)}
        home = cached.place(self._cache, self.made.digest)
        its = {"PATH": os.pathsep.join([str(home / "bin"), *path]), "VIRTUAL_ENV": str(home)}
        return str(home / "bin" / "python"), variables | its


def _own_python(version: str) -> str:
    """The machine's, for an environment without packages."""
    if version == cached.PYTHON:
        return getattr(sys, "_base_executable", None) or sys.executable
    found = find_python(version)
    if found is None:
        there = ", ".join(find_pythons()) or "none"
        raise EnvironmentFailed(f"Python {version} is not on this machine; there is: {there}.")
    return found


def _uv(cache: Path) -> str:
    """As the runner finds it: on PATH, else what it fetched from the control plane."""
    return shutil.which("uv") or str(cache / "tools" / f"uv-{platform_name()}")


def _never(words: str) -> Callable[[Callable[[str], None]], None]:
    def fail(_progress: Callable[[str], None]) -> None:
        raise EnvironmentFailed(words)

    return fail


def _room(wanted: Wanted, python: str, make: Callable[[Callable[[str], None]], None]) -> int:
    # Only now: what is ready needs nothing of it.
    room = importlib.import_module("ultramarine_instance.lab.waiting")
    again = argv(
        Path(sys.argv[0]).absolute(),
        label=wanted.label,
        digest=wanted.digest,
        home=wanted.home,
        settings=wanted.settings,
    )
    with _log(wanted.home / LOG).open("a", encoding="utf-8") as log:
        return room.Room(wanted.connection_file, label=wanted.label, python=python, log=log).run(make, again)


def _log(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _read(arguments: Sequence[str]) -> Wanted:
    parser = argparse.ArgumentParser(prog=f"instance.zip {KERNEL}", description=__doc__)
    parser.add_argument("--environment", required=True, metavar="NAME:VERSION")
    parser.add_argument("--digest", default="")
    for name in ("--home", "--settings", "-f"):
        parser.add_argument(name, required=True, type=Path)
    given = parser.parse_args(arguments)
    name, _, version = given.environment.rpartition(":")
    return Wanted(name, version, given.digest, given.f, given.home, given.settings)
