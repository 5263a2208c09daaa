"""The environments in the runner's cache: the one that we run in, and those beside it."""

from __future__ import annotations

import sys
from pathlib import Path

from ultramarine_runner.environments import EnvironmentFailed

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"  #: that runs us


def cache_of(prefix: str) -> Path:
    """The runner's cache, in which the environment lies that we run in. Raises EnvironmentFailed."""
    around = Path(prefix).parent
    if around.name != "environments":
        raise EnvironmentFailed(f"{prefix} is no environment of a runner's, so there is no place for others.")
    return around.parent


def place(cache: Path, digest: str) -> Path:
    """Where the environment is, or is to be."""
    return cache / "environments" / digest


def is_made(cache: Path, digest: str) -> bool:
    return (place(cache, digest) / "ultramarine.json").exists()


def site(environment: Path) -> str:
    """What of it can stand behind another one. Raises EnvironmentFailed."""
    found = sorted((environment / "lib").glob("python3*/site-packages"))
    if not found:
        raise EnvironmentFailed(f"The environment {environment.name} has no site-packages folder.")
    return str(found[0])
