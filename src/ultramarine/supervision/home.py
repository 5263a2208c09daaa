"""The home of an installation: its folders, and what must hold before anything is started in it."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.listening import HOST, Listening, Outside

FOLDERS = ("run", "logs", "files", "gateway", "mlflow", "tmp")
SOCKET_PATH_MAX = 100  #: the system takes 107 bytes; a few are left for sockets with longer names
RESTORING = Path(".restoring")  #: in the home, while a backup is being restored into it
WHOLE = RESTORING / "whole"  #: all of the backup is there: what is in the home is being replaced by it
DATABASE_FILE = "database"  #: in the home: where its store is, without a password, should it not be in the home
ORIGINS = ("api", "second", "instances")  #: the gateway's listeners
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


def check_whole(home: Path) -> None:
    """Raises `CannotStart` for a home in which a part is of a backup and a part is not yet."""
    if (home / WHOLE).exists():
        raise CannotStart(
            f"A restore into {home} was interrupted, and is half done.",
            hint=f"um restore FILE --home {home} (the same file, or another) finishes it.",
        )


def write_gateway_config(home: Path, listening: Listening) -> None:
    """What the gateway is started with (docs/reference/route-table.md)."""
    folder = home / "gateway"
    config: dict[str, Any] = {
        "listeners": {
            "api": {"host": HOST, "port": listening.port},
            "second": {"host": HOST, "port": listening.second_port},
            "instances": {"host": HOST, "port": listening.instances_port},
        },
        "table": str(folder / "routes.json"),
        "admin": str(folder / "admin-{worker}.sock"),
        "workers": 1,
    }
    if listening.outside:
        by_tls = {
            "api": [{"host": each.host, "port": each.port} for each in listening.outside],
            "second": [{"host": each.host, "port": each.second_port} for each in listening.outside],
            "instances": [{"host": each.host, "port": each.instances_port} for each in listening.outside],
        }
        config["tls"] = {"certificate": str(certificate(home)), "listeners": by_tls}
    write_json(folder / "gateway.json", config)


def owner(home: Path) -> str:
    """As whom a server of this home is known to others that use the same store."""
    return f"{platform.node()}:{home}"


def certificate(home: Path) -> Path:
    """What the gateway shows by TLS: a key and its certificates."""
    return home / "gateway" / "server.pem"


def elsewhere(home: Path) -> Path:
    """A text: what to type on another machine."""
    return home / "gateway" / "elsewhere.txt"


def last_database(home: Path) -> str:
    """Where the installation's store was when it was last started; empty: in the home."""
    try:
        return (home / DATABASE_FILE).read_text(encoding="utf-8")
    except OSError:  # what is wrong with the home is said by who starts there
        return ""


def last_listening(home: Path) -> Listening | None:
    """Where the installation listened when it was last started; none where it then had fewer origins."""
    try:
        config = json.loads((home / "gateway" / "gateway.json").read_text(encoding="utf-8"))
        own, by_tls = config["listeners"], config.get("tls", {}).get("listeners", dict.fromkeys(ORIGINS, ()))
        return Listening(
            **_ports(own),
            outside=tuple(
                Outside(host=there[0]["host"], **_ports(dict(zip(ORIGINS, there, strict=True))))
                for there in zip(*(by_tls[origin] for origin in ORIGINS), strict=True)
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _ports(listeners: Mapping[str, Any]) -> dict[str, int]:
    names = ("port", "second_port", "instances_port")
    return {name: int(listeners[origin]["port"]) for name, origin in zip(names, ORIGINS, strict=True)}


def write_json(file: Path, content: Any) -> None:
    """Replace `file` at once: a reader sees the old content or the new, never a part."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1)
    os.replace(temporary, file)
