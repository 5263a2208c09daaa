"""What has to hold before anything is started, asked of programs of the server's."""

import os
import subprocess
import sys
from pathlib import Path

from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.listening import Listening

WITHIN_S = 60.0
DATABASE_URL = "ULTRAMARINE_DATABASE_URL"


def variables(home: Path, listening: Listening) -> dict[str, str]:
    """What the server's programs are told of their place."""
    return {
        "ULTRAMARINE_HOME": str(home),
        "ULTRAMARINE_PORT": str(listening.port),
        "ULTRAMARINE_SECOND_PORT": str(listening.second_port),
        "ULTRAMARINE_INSTANCES_PORT": str(listening.instances_port),
        "ULTRAMARINE_LISTEN": str(listening),
    }


def prepare(home: Path, listening: Listening) -> None:
    """Raises `CannotStart`."""
    if os.environ.get(DATABASE_URL):
        _ask("ultramarine.server.database", home, listening)  # that it answers, and belongs to this home
    if listening.outside:
        _ask("ultramarine.server.certificate", home, listening)  # there before anything listens for other machines


def _ask(program: str, home: Path, listening: Listening) -> None:
    try:
        made = subprocess.run(
            [sys.executable, "-P", "-m", program],
            env={**os.environ, **variables(home, listening)},
            check=False,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            cwd=home,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotStart(f"{program} has not ended within {WITHIN_S:.0f} s.", hint="Try again.") from error
    if made.returncode != 0:
        text, _, hint = made.stderr.strip().rpartition("\n")
        raise CannotStart(text or hint, hint=hint if text else f"{program} has failed.")
