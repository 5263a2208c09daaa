"""Asks the control plane, over its Unix socket: which job a run id stands for, which workspaces there are."""

import http.client
import json
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import cast

SOCKET_VARIABLE = "ULTRAMARINE_CONTROL_SOCKET"
SECRET_VARIABLE = "ULTRAMARINE_INTERNAL_SECRET"  # names the file; the secret itself is in no environment
SECRET_HEADER = "x-ultramarine-internal"
TIMEOUT_S = 5


class ControlPlaneSilent(Exception):
    """It could not be asked: whether there is such a run is not known."""


@dataclass(frozen=True)
class JobRun:
    """What the control plane says of a run."""

    id: str
    workspace: str
    name: str
    experiment: str
    user: str
    started_at_ms: int | None
    tags: dict[str, str]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("control", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The kernel's own time-outs: with Python's, a full backlog is an error at once instead of a short wait.
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            self.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", TIMEOUT_S, 0))
        self.sock.connect(self._path)


def internal_secret() -> str:
    """The secret that the parts of this installation share; read each time, so that it may be changed."""
    return Path(os.environ[SECRET_VARIABLE]).read_text().strip()


def find_run(run_id: str) -> JobRun | None:
    """The job with this id, or None when there is none.

    Raises:
        ControlPlaneSilent: it does not answer, or not as agreed.
    """
    status, body = _asked(f"runs/{run_id}")
    if status == 404:
        return None
    if status != 200:
        raise ControlPlaneSilent(f"The control plane answered {status} when asked for run {run_id}.")
    try:
        return _read(json.loads(body))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ControlPlaneSilent(f"The control plane's answer for run {run_id} cannot be read: {error}.") from error


def workspaces() -> list[str]:
    """All of this installation, by name.

    Raises:
        ControlPlaneSilent: it does not answer, or not as agreed.
    """
    status, body = _asked("workspaces")
    if status != 200:
        raise ControlPlaneSilent(f"The control plane answered {status} when asked for workspaces.")
    return [str(name) for name in json.loads(body)]


def _asked(what: str) -> tuple[int, bytes]:
    """Status and body of the answer."""
    connection = _UnixConnection(os.environ[SOCKET_VARIABLE])
    try:
        connection.request("GET", f"/internal/tracking/{what}", headers={SECRET_HEADER: internal_secret()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ControlPlaneSilent(f"The control plane does not answer: {error}.") from error
    finally:
        connection.close()


def _read(found: dict[str, object]) -> JobRun:
    started, tags = found.get("started_at_ms"), cast(dict[str, object], found.get("tags") or {})
    return JobRun(
        id=str(found["id"]),
        workspace=str(found["workspace"]),
        name=str(found["name"]),
        experiment=str(found["experiment"]),
        user=str(found["user"]),
        started_at_ms=None if started is None else int(str(started)),
        tags={key: str(value) for key, value in tags.items()},
    )
