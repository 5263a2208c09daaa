"""`python instance.zip --socket … --home …` is an instance; `python instance.zip kernel …` is one kernel of it."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ultramarine_instance import client, door, home, kernel
from ultramarine_instance.applications import Applications
from ultramarine_instance.options import KERNEL, Options, read, secret_in
from ultramarine_instance.scripts import SETUP_FAILED, ScriptFailed, Scripts
from ultramarine_instance.settings import BadSettings, Settings, load
from ultramarine_runner.environments import EnvironmentFailed

BAD_INPUT = 2


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 when stopped, 78 when the creation script failed, 2 when it was told nonsense, 1 else."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    if arguments[:1] == [KERNEL]:
        return kernel.main(arguments[1:])
    signal.signal(signal.SIGTERM, _leave)
    options, program = read(arguments), Path(sys.argv[0]).absolute()
    try:
        return _serve(options, load(options.settings), program)
    except (BadSettings, EnvironmentFailed) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except ScriptFailed as error:
        print(error, file=sys.stderr)
        return SETUP_FAILED
    except door.NoDoor as error:
        print(error, file=sys.stderr)
        return 1


def _leave(*_: object) -> None:
    """Until the server has a way of its own: what was started is ended on the way out."""
    raise SystemExit(0)


def _serve(options: Options, settings: Settings, program: Path) -> int:
    home.make(options.home)
    os.chdir(options.home)
    files = options.settings.parent
    if (environment := client.here(settings)) is not None:
        client.lay_out(files, environment)
        client.add_to_path(files, os.environ)
    Scripts(options.home, files=files).run(settings)
    # Only now: it imports JupyterLab.
    server = importlib.import_module("ultramarine_instance.lab.server")
    there = door.Behind.of(options.socket, settings.applications, secret_in(options.secret))
    with (
        Applications(options.home, base=options.base).started(settings.applications),
        door.opened(options.door, there),
    ):
        return server.run(options, settings, program=program)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
