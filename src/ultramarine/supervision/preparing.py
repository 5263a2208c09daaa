"""The certificate that other machines are shown is there before anything listens for them."""

import os
import subprocess
import sys
from pathlib import Path

from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.listening import Listening

MAKE_S = 60.0


def variables(home: Path, listening: Listening) -> dict[str, str]:
    """What the server's programs are told of their place."""
    return {
        "ULTRAMARINE_HOME": str(home),
        "ULTRAMARINE_PORT": str(listening.port),
        "ULTRAMARINE_SECOND_PORT": str(listening.second_port),
        "ULTRAMARINE_LISTEN": str(listening),
    }


def prepare(home: Path, listening: Listening) -> None:
    """Make it, or see that it is good. Nothing to do where only this machine is served. Raises `CannotStart`."""
    if not listening.outside:
        return
    made = subprocess.run(
        [sys.executable, "-P", "-m", "ultramarine.server.certificate"],
        env={**os.environ, **variables(home, listening)},
        check=False,
        capture_output=True,
        text=True,
        timeout=MAKE_S,
        cwd=home,
    )
    if made.returncode != 0:
        text, _, hint = made.stderr.strip().rpartition("\n")
        raise CannotStart(text or hint, hint=hint if text else "The certificate could not be made.")
