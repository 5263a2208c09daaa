"""How custom applications of compute instances are used, as the workers of the gateway tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    in_flight: int  #: websockets that are open, and requests that are answered
    quiet_s: float | None  #: since the last one ended; None: there was none

    def plus(self, other: "Use") -> "Use":
        """Of two workers."""
        quiet = [each for each in (self.quiet_s, other.quiet_s) if each is not None]
        return Use(in_flight=self.in_flight + other.in_flight, quiet_s=min(quiet, default=None))


Uses = Mapping[str, Mapping[str, Use]]  # by id of the instance and name of the application


def read(status: Mapping[str, Any]) -> Uses:
    """What a worker says (docs/reference/route-table.md)."""
    return {
        id: {name: Use(in_flight=said["in_flight"], quiet_s=said["quiet_s"]) for name, said in applications.items()}
        for id, applications in status["instances"].items()
    }


def merged(told: Sequence[Uses]) -> Uses:
    """All workers' together."""
    made: dict[str, dict[str, Use]] = {}
    for uses in told:
        for id, applications in uses.items():
            of = made.setdefault(id, {})
            for name, use in applications.items():
                of[name] = use.plus(of[name]) if name in of else use
    return made
