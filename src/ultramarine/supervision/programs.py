"""What an installation consists of: a table of programs. Tests give another table."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ultramarine.supervision.certificate import variables
from ultramarine.supervision.listening import HOST, Listening


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
    )
