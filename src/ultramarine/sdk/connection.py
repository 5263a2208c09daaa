"""Where the server is and who we are: what was said, then the environment, then what the server wrote into its home."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultramarine.domain.errors import InvalidInput, Unavailable
from ultramarine.domain.identity import DEFAULT_WORKSPACE

DEFAULT_PORT = 7770
PORT_MAX = 65535
DATABASE_URL = "ULTRAMARINE_DATABASE_URL"  #: of the server: where its store is


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    url: str  #: without a slash at its end
    token: str
    workspace: str
    ca_file: str = ""  #: PEM: whom alone https is believed from; empty: what this machine trusts

    def __repr__(self) -> str:
        """Without the token: it must not get into a log by chance."""
        return f"Connection(url={self.url!r}, workspace={self.workspace!r})"


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the installation on this machine, whether it is there or not."""
    given = environ.get("ULTRAMARINE_HOME")
    if given:
        return Path(given).expanduser()
    # imported late: nobody who names a server or a home needs it
    import platformdirs

    return Path(platformdirs.user_data_dir("ultramarine", appauthor=False))


def port(environ: Mapping[str, str] = os.environ) -> int:
    """Where the installation on this machine listens when nobody says so at its start."""
    given = environ.get("ULTRAMARINE_PORT")
    return DEFAULT_PORT if not given else _port(given, "ULTRAMARINE_PORT", most=PORT_MAX - 2)


def second_port(first: int, environ: Mapping[str, str] = os.environ) -> int:
    """The same of its second origin: else the port after the `first`."""
    given = environ.get("ULTRAMARINE_SECOND_PORT")
    return first + 1 if not given else _port(given, "ULTRAMARINE_SECOND_PORT", most=PORT_MAX)


def instances_port(first: int, second: int, environ: Mapping[str, str] = os.environ) -> int:
    """The same of the origin of compute instances: else the port after both the others."""
    given = environ.get("ULTRAMARINE_INSTANCES_PORT")
    return max(first, second) + 1 if not given else _port(given, "ULTRAMARINE_INSTANCES_PORT", most=PORT_MAX)


def _port(given: str, variable: str, *, most: int) -> int:
    if not given.isdecimal() or not 0 < int(given) <= most:
        raise InvalidInput(f"{variable}={given!r} is no port.", hint=f"Give 1 to {most}, or unset {variable}.")
    return int(given)


def listen(environ: Mapping[str, str] = os.environ) -> str:
    """What other machines shall reach when nobody says so at its start: `ADDRESS[:PORT],…`; empty: nothing."""
    return environ.get("ULTRAMARINE_LISTEN") or ""


def find(
    url: str | None = None,
    token: str | None = None,
    workspace: str | None = None,
    *,
    ca_file: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Connection:
    """The connection to use. Raises `Unavailable` when nobody has said where the server is."""
    where = url or environ.get("ULTRAMARINE_URL") or ""
    secret = token or environ.get("ULTRAMARINE_TOKEN") or ""
    trusted = ca_file or environ.get("ULTRAMARINE_CA_FILE") or ""
    if not where or not secret:
        written = _written(home(environ))
        # The token that was found belongs to the server that was found, and is shown to no other.
        if not where or where.rstrip("/") == written.get("url", "").rstrip("/"):
            where, secret = where or written.get("url", ""), secret or written.get("token", "")
            trusted = trusted or written.get("ca_file", "")
    if not where:
        raise Unavailable(
            f"No server is known: there is no --url, no ULTRAMARINE_URL, and no {home(environ) / 'connection.json'}.",
            hint="um up -d starts one here. Or: export ULTRAMARINE_URL=https://HOST:PORT ULTRAMARINE_TOKEN=TOKEN",
        )
    if not where.startswith(("http://", "https://")):
        raise InvalidInput(
            f"The server's address {where!r} begins neither with http:// nor https://.",
            hint="Example: ULTRAMARINE_URL=http://127.0.0.1:7770",
        )
    return Connection(
        url=where.rstrip("/"),
        token=secret,
        workspace=workspace or environ.get("ULTRAMARINE_WORKSPACE") or DEFAULT_WORKSPACE,
        ca_file=trusted,
    )


def is_named(url: str | None = None, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody named a server, so that it is not that of the home."""
    return bool(url or environ.get("ULTRAMARINE_URL"))


def of_home(folder: Path) -> Connection:
    """The connection to the installation of that home, whatever the environment says, or `Unavailable`."""
    written = _written(folder)
    if not written.get("url"):
        raise Unavailable(
            f"{folder / 'connection.json'} is not there: nothing runs in {folder}.", hint="um up -d starts it."
        )
    return Connection(url=written["url"].rstrip("/"), token=written.get("token", ""), workspace=DEFAULT_WORKSPACE)


def _written(folder: Path) -> dict[str, str]:
    file = folder / "connection.json"
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise Unavailable(f"{file} cannot be read: {error}.", hint="um up -d writes it again.") from None
