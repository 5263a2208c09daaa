"""What the gateway counts of a deployment, over all its workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
        """The duration that `share` of them (0.99: of a hundred 99) do not exceed; None where nothing was counted.

        Within a bound it is interpolated, as Prometheus' `histogram_quantile` does; of those above the last bound no
        more is known than that bound.
        """
        if not self.count:
            return None
        left, low = self.count * share, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and left <= count:
                return min(bound, low + (bound - low) * left / count)
            left, low = left - count, bound
        return low

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

    def since(self, before: "Mirrored") -> "Mirrored":
        """What has come after an earlier look."""
        return Mirrored(
            compared=self.compared - before.compared,
            agreed=self.agreed - before.agreed,
            failed=self.failed - before.failed,
            dropped=self.dropped - before.dropped,
            seconds=self.seconds.since(before.seconds),
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

    @property
    def errors(self) -> int:
        """Answers of 500 and above: a replica's, or the gateway's for want of one."""
        return self.answers.get("5xx", 0)

    def since(self, before: "Traffic") -> "Traffic":
        """What was counted after an earlier look."""
        return replace(
            self,
            requests=self.requests - before.requests,
            answers={code: count - before.answers.get(code, 0) for code, count in self.answers.items()},
            seconds=self.seconds.since(before.seconds),
            mirrored=self.mirrored.since(before.mirrored),
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
