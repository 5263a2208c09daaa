"""The home of an installation: its folders, and what must hold before anything is started in it."""

import errno
import json
import os
import socket
from pathlib import Path
from typing import Any

from ultramarine.supervision.errors import CannotStart

HOST = "127.0.0.1"
FOLDERS = ("run", "logs", "files", "gateway", "mlflow", "tmp")
SOCKET_PATH_MAX = 100  #: the system takes 107 bytes; a few are left for sockets with longer names
LONGEST_SOCKET = Path("gateway", "admin-00.sock")


def prepare(home: Path) -> None:
    """Make the home and its folders, for the owner alone. Raises `CannotStart`."""
    longest = home / LONGEST_SOCKET
    if len(os.fsencode(longest)) > SOCKET_PATH_MAX:
        raise CannotStart(
            f"The home {home} has too long a path: {longest} would have {len(os.fsencode(longest))} bytes, "
            f"and a Unix socket's path may have {SOCKET_PATH_MAX}.",
            hint="Choose a shorter one: um up --home ~/um (or set ULTRAMARINE_HOME).",
        )
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in FOLDERS:
            folder = home / name
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
        probe = home / "run" / f".probe-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise CannotStart(
            f"The home {home} cannot be written: {error.strerror or error}.",
            hint="Give a folder of your own: um up --home FOLDER (or set ULTRAMARINE_HOME).",
        ) from error


def check_port(port: int, option: str) -> None:
    """Raises `CannotStart` when `port` cannot be listened on. `option` is what chooses another."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            why = "another program listens on it" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise CannotStart(
                f"Port {port} of {HOST} cannot be used: {why}.", hint=f"Choose another: um up {option} {port + 10}."
            ) from error


def write_gateway_config(home: Path, port: int, second_port: int) -> None:
    """What the gateway is started with (docs/reference/route-table.md)."""
    folder = home / "gateway"
    listeners = {"api": {"host": HOST, "port": port}, "second": {"host": HOST, "port": second_port}}
    write_json(
        folder / "gateway.json",
        {
            "listeners": listeners,
            "table": str(folder / "routes.json"),
            "admin": str(folder / "admin-{worker}.sock"),
            "workers": 1,
        },
    )


def last_ports(home: Path) -> tuple[int, int] | None:
    """The port and the second port that the installation was last started with."""
    try:
        listeners = json.loads((home / "gateway" / "gateway.json").read_text(encoding="utf-8"))["listeners"]
        return int(listeners["api"]["port"]), int(listeners["second"]["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_json(file: Path, content: Any) -> None:
    """Replace `file` at once: a reader sees the old content or the new, never a part."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1)
    os.replace(temporary, file)
