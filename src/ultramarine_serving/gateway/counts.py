"""What is counted of a deployment's requests since the worker's start."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

#: Upper bounds of the classes of a latency in seconds, each √2 of the one before: 0.5 ms to 65.5 s.
BOUNDS = tuple(round(0.0005 * 2 ** (i / 2), 6) for i in range(35))
CODES = [f"{status // 100}xx" for status in range(600)]  #: by status
CODES[429], CODES[499] = "429", "499"


class Seconds:
    """A histogram: one search and one sum for each value."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)  #: the last: longer than all bounds
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def told(self) -> dict[str, Any]:
        return {"bounds": BOUNDS, "counts": self.counts, "sum": round(self.sum, 6)}


class Counts:
    """Each request that was meant for the deployment counts once when it begins, and once by its answer."""

    __slots__ = ("answers", "requests", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.answers: dict[str, int] = {"2xx": 0, "4xx": 0, "429": 0, "5xx": 0, "499": 0}
        self.seconds = Seconds()

    def answered(self, status: int, seconds: float) -> None:
        """`seconds`: from the head of the request to the head of the answer."""
        code = CODES[status]
        self.answers[code] = self.answers.get(code, 0) + 1
        self.seconds.add(seconds)

    def told(self) -> dict[str, Any]:
        return {"requests": self.requests, "answers": self.answers, "seconds": self.seconds.told()}


class Mirrored:
    """Of the copies of others' requests that a deployment gets: how its answers compare, how long they took."""

    __slots__ = ("agreed", "compared", "dropped", "failed", "seconds")

    def __init__(self) -> None:
        self.compared = 0
        self.agreed = 0  #: of those compared
        self.failed = 0  #: no answer, or one of a fault
        self.dropped = 0  #: not sent: too many were under way, or no replica was free
        self.seconds = Seconds()

    def told(self) -> dict[str, Any]:
        counts = {"compared": self.compared, "agreed": self.agreed, "failed": self.failed, "dropped": self.dropped}
        return {**counts, "seconds": self.seconds.told()}
