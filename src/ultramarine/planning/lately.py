"""What deployments' requests were in the last minute, and what a replica has before it.

Figures that grow for ever, looked at now and some time ago.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self, cast

from ultramarine.planning.traffic import Traffic

WINDOW = timedelta(seconds=60)
EACH = timedelta(seconds=5)  #: between two looks that are kept
Deployment = tuple[str, str]  # workspace/endpoint, deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Lately:
    """What was counted within so many seconds: a minute, or less of what was not looked at for so long."""

    seconds: float
    counted: Traffic

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return sum(self.counted.answers.values()) / self.seconds


class History:
    """Looks at the figures of all deployments: the oldest is of a minute ago, or of when looking began."""

    def __init__(self) -> None:
        self._looks: deque[tuple[datetime, Mapping[Deployment, Traffic]]] = deque()

    def take(self, figures: Mapping[Deployment, Traffic], now: datetime) -> None:
        if self._looks and now < self._looks[-1][0]:
            self._looks.clear()  # the clock was set back: how long ago they were is not known
        if not self._looks or now - self._looks[-1][0] >= EACH:
            self._looks.append((now, figures))
        while len(self._looks) > 1 and self._looks[1][0] <= now - WINDOW:
            self._looks.popleft()

    def lately(self, deployment: Deployment, traffic: Traffic, now: datetime) -> Lately | None:
        """Up to `traffic`, which is counted now. None for one that was not looked at a second ago."""
        for at, figures in self._looks:
            if deployment in figures and (seconds := (now - at).total_seconds()) >= 1:
                return Lately(seconds=seconds, counted=traffic.since(figures[deployment]))
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLoad:
    """What a replica says of itself. `requests` and `calls` grow until one of its processes begins anew."""

    workers: int
    requests: int
    calls: int
    waiting: int
    in_work: int
    per_call: float | None = None  #: requests that shared a call, on average, since the look before that had any

    @classmethod
    def read(cls, said: object, *, before: "ReplicaLoad | None") -> Self:
        """Raises ValueError for what is no such answer: what runs in a replica is not ours alone."""
        names = ("workers", "requests", "calls", "waiting", "in_work")
        given: dict[str, Any] = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
        numbers = [given.get(name) for name in names]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"{given!r:.200} is no answer of a replica")
        now = cls(**{name: given[name] for name in names})
        requests, calls = now.requests, now.calls
        if before is not None and before.calls <= calls and before.requests <= requests:
            requests, calls = requests - before.requests, calls - before.calls
        kept = None if before is None else before.per_call
        return replace(now, per_call=requests / calls if calls else kept)
