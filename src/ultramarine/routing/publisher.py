"""The route table as a file and a notice; the gateway's own view of the replicas, and its counts."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultramarine.planning.routes import UNIX, Place, moving
from ultramarine.planning.traffic import Traffic
from ultramarine.private import write_private
from ultramarine.routing.asking import ask
from ultramarine.routing.totals import Totals
from ultramarine.routing.uses import Uses, merged, read

TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the gateway found out about a replica, over all its workers."""

    is_up: bool
    why: str = ""


class RoutePublisher:
    def __init__(self, folder: Path) -> None:
        """`folder`: the gateway's, with its admin sockets (`admin-N.sock`)."""
        self._folder = folder
        self._file = folder / "routes.json"
        self._last: Mapping[str, Any] = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._totals = Totals()

    @property
    def traffic(self) -> Mapping[tuple[str, str], Traffic]:
        """By `workspace/endpoint` and deployment, what the gateway had counted when `reached` asked it last."""
        return self._totals.traffic()

    async def publish(self, table: Mapping[str, Any]) -> bool:
        """Write the table when it says anything new, and tell each worker. False when there was nothing new."""
        if moving(self._last) == table:
            return False
        self._last = {**table, "version": int(self._last.get("version", 0)) + 1}
        write_private(self._file, json.dumps(self._last))
        for socket in self._workers():
            with contextlib.suppress(OSError):  # it looks at the file itself once a second
                await _ask(socket, "POST", "/table")
        return True

    async def reached(self) -> Mapping[str, Reach]:
        """By replica, whether the gateway's probe reaches it. Empty while there is no gateway."""
        found: dict[str, Reach] = {}
        workers = self._workers()
        for socket in workers:
            with contextlib.suppress(OSError, ValueError, KeyError):  # KeyError: a gateway of another release
                status = json.loads(await _ask(socket, "GET", "/status"))
                for id, replica in status["replicas"].items():
                    found[id] = Reach(is_up=replica["state"] == "up", why=str(replica.get("why") or ""))
                self._totals.take(socket.name, status)
        self._totals.keep_only([socket.name for socket in workers])
        return found

    async def uses(self) -> Uses | None:
        """How the applications of compute instances are used, over all workers; None where one of them hangs.

        One that is gone has no connections any more.
        """
        told: list[Uses] = []
        for socket in self._workers():
            try:
                told.append(read(json.loads(await _ask(socket, "GET", "/status"))))
            except (ConnectionRefusedError, FileNotFoundError):
                continue
            except (OSError, ValueError, KeyError, TypeError):  # KeyError: a gateway of another release
                return None
        return merged(told)

    def _workers(self) -> list[Path]:
        return sorted(self._folder.glob("admin-*.sock"))


async def _ask(socket: Path, method: str, path: str) -> bytes:
    """The body of a worker's answer. Raises OSError."""
    status, body = await ask(Place(address=f"{UNIX}{socket}"), method, path, timeout_s=TIMEOUT_S)
    if status not in (200, 204):
        raise OSError(f"{socket} answered {status} to {method} {path}")
    return body
