"""What a deployment has answered: counts since the gateway began, and the difference of two looks at them."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations in seconds, counted by upper bound. `counts` has one more than `bounds`: those above the last."""

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    sum: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.counts)

    def __sub__(self, before: "Histogram") -> "Histogram":
        """What was counted since `before`; all of it where the two have other bounds."""
        if before.bounds != self.bounds:
            return self
        counts = tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))
        return Histogram(self.bounds, counts, self.sum - before.sum)

    def __add__(self, other: "Histogram") -> "Histogram":
        if not other.counts or not self.counts:
            return self if self.counts else other
        if other.bounds != self.bounds:
            raise ValueError("two histograms of different bounds cannot be added")
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Histogram(self.bounds, counts, self.sum + other.sum)

    def quantile(self, share: float) -> float | None:
        """The duration below which `share` (0 to 1) of them lie; None when nothing was counted.

        Within a bound it is interpolated, as Prometheus' `histogram_quantile` does; of those above the last bound no
        more is known than that bound.
        """
        rank = share * self.total
        if not self.total:
            return None
        seen, low = 0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and seen + count >= rank:
                return low + (bound - low) * (rank - seen) / count
            seen, low = seen + count, bound
        return low


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrored:
    """Copies of requests that others answered: how many were compared, and gave the same answer."""

    compared: int = 0
    agreed: int = 0
    failed: int = 0  #: the copy was not answered, or with an error

    def __sub__(self, before: "Mirrored") -> "Mirrored":
        return Mirrored(
            compared=self.compared - before.compared,
            agreed=self.agreed - before.agreed,
            failed=self.failed - before.failed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one deployment. `errors`: answers of 500 and above, of the replica or for want of one."""

    requests: int = 0
    errors: int = 0
    seconds: Histogram = Histogram()
    mirrored: Mirrored = field(default_factory=Mirrored)

    def __sub__(self, before: "Figures") -> "Figures":
        return Figures(
            requests=self.requests - before.requests,
            errors=self.errors - before.errors,
            seconds=self.seconds - before.seconds,
            mirrored=self.mirrored - before.mirrored,
        )

    @property
    def error_rate(self) -> float | None:
        return self.errors / self.requests if self.requests else None


def together(figures: Sequence[Figures]) -> Figures:
    """The sum of several deployments'."""
    seconds = Histogram()
    for each in figures:
        seconds = seconds + each.seconds
    return Figures(requests=sum(f.requests for f in figures), errors=sum(f.errors for f in figures), seconds=seconds)
