"""What an installation consists of: a table of programs. Tests give another table."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.listening import HOST, Listening
from ultramarine.supervision.preparing import variables

RAY_HEAD = "ULTRAMARINE_RAY_HEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One part: how it is started, and where it says that it is well."""

    name: str
    argv: tuple[str, ...]
    address: Path | tuple[str, int]
    health_path: str = "/healthz"
    is_essential: bool = True  #: `um up -d` waits for it
    variables: tuple[tuple[str, str], ...] = ()  #: added to its environment


Table = Callable[[Path, Listening], Sequence[Program]]


def installation(home: Path, listening: Listening) -> Sequence[Program]:
    """The parts, in the order in which they are ended: the door first, what others write to last."""
    python = (sys.executable, "-P", "-m")  # -P: nothing is imported from the folder it runs in
    control, mlflow = home / "run" / "control.sock", home / "run" / "mlflow.sock"
    return (
        Program(
            name="gateway",
            argv=(*python, "ultramarine_serving.gateway", "--config", str(home / "gateway" / "gateway.json")),
            address=(HOST, listening.port),
        ),
        Program(
            name="control",
            argv=(*python, "ultramarine.server", "--home", str(home), "--socket", str(control)),
            address=control,
            variables=tuple(variables(home, listening).items()),  # it tells others where they reach it
        ),
        Program(
            name="mlflow",
            argv=(*python, "ultramarine.tracking.launch", "--home", str(home)),
            address=mlflow,
            health_path="/mlflow/health",
            is_essential=False,  # its first start builds an environment; jobs do not wait for it
        ),
        *_ray(home, python, os.environ.get(RAY_HEAD, "")),
    )


def _ray(home: Path, python: tuple[str, ...], address: str) -> Sequence[Program]:
    """The head of a Ray of our own, where its nodes reach it: `HOST:PORT`; none where that is not set."""
    if not address:
        return ()
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise CannotStart(
            f"{RAY_HEAD} is {address!r}: it is no address of this machine with a port.",
            hint=f"{RAY_HEAD}=127.0.0.1:6379 for a Ray of this machine alone; else the address that its nodes reach.",
        )
    return (
        Program(
            name="ray-head",
            argv=(*python, "ultramarine.drivers.ray.head", "--home", str(home), "--address", address),
            address=home / "run" / "ray-head.sock",
            is_essential=False,  # its first start builds an environment; other clusters do not wait for it
        ),
    )
