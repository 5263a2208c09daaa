"""What the gateway counts of a deployment, over all its workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """A histogram in seconds. `counts` has one more than `bounds` (upper ones): what is longer than all of them."""

    bounds: Sequence[float] = ()
    counts: Sequence[int] = ()
    sum: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """So many of the values (0.99: of a hundred 99) are at most this: a bound; None where nothing was counted."""
        left = self.count * share
        for bound, count in zip(self.bounds, self.counts, strict=False):
            left -= count
            if left <= 0 and self.count:
                return bound
        return float("inf") if self.count else None

    def plus(self, other: "Latencies") -> "Latencies":
        return Latencies(
            bounds=self.bounds or other.bounds, counts=_added(self.counts, other.counts), sum=self.sum + other.sum
        )

    def since(self, before: "Latencies") -> "Latencies":
        """What has come after an earlier look."""
        counts = _added(self.counts, [-count for count in before.counts])
        return Latencies(bounds=self.bounds, counts=counts, sum=self.sum - before.sum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrored:
    """Copies of requests to others: how many answers agreed. `failed`: no answer or a fault; `dropped`: not sent."""

    compared: int = 0
    agreed: int = 0
    failed: int = 0
    dropped: int = 0
    seconds: Latencies = Latencies()

    def plus(self, other: "Mirrored") -> "Mirrored":
        return Mirrored(
            compared=self.compared + other.compared,
            agreed=self.agreed + other.agreed,
            failed=self.failed + other.failed,
            dropped=self.dropped + other.dropped,
            seconds=self.seconds.plus(other.seconds),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The first four are of this moment, the others grow for ever."""

    in_flight: int = 0
    queued: int = 0
    held: int = 0
    up: int = 0  #: replicas that the gateway reaches
    requests: int = 0
    answers: Mapping[str, int] = field(default_factory=dict[str, int])  #: by class of status: 2xx, 429 …
    seconds: Latencies = Latencies()
    mirrored: Mirrored = Mirrored()

    def plus(self, other: "Traffic") -> "Traffic":
        """Of two workers. Each of them probes each replica: what one of them does not reach counts as not reached."""
        codes = {**self.answers, **other.answers}
        return Traffic(
            in_flight=self.in_flight + other.in_flight,
            queued=self.queued + other.queued,
            held=self.held + other.held,
            up=min(self.up, other.up),
            requests=self.requests + other.requests,
            answers={code: self.answers.get(code, 0) + other.answers.get(code, 0) for code in codes},
            seconds=self.seconds.plus(other.seconds),
            mirrored=self.mirrored.plus(other.mirrored),
        )

    def counted(self, before: "Traffic") -> "Traffic":
        """This, and what was counted before it began to count from zero."""
        return Traffic(
            in_flight=self.in_flight,
            queued=self.queued,
            held=self.held,
            up=self.up,
            requests=(both := self.plus(before)).requests,
            answers=both.answers,
            seconds=both.seconds,
            mirrored=both.mirrored,
        )


def _added(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0))
