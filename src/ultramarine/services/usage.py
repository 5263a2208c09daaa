"""What the ranks of runs use, in memory: the last value and the peak of each, and points for the tracking server.

Nothing here needs to survive: what is lost is a piece of a curve.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ultramarine.domain.names import RunKey
from ultramarine.domain.usage import Node, Point, RankUse, system_metrics

RUNS_MAX = 1000  #: runs of which the use is remembered; the one that was heard of longest ago goes first
POINTS_MAX = 360  #: times of which the metrics of a rank wait for the tracking server: an hour
EACH_S = 10.0  #: between two points of a rank, as MLflow's own monitor has it


@dataclass(slots=True)
class _Rank:
    now: Mapping[str, float]
    peak: dict[str, float]
    begin: Node  #: its node when it was first heard of: counters of the machine are told from then on
    point_at: datetime  #: when its last point was taken; before the first, when it was heard of
    steps: int = 0


@dataclass(slots=True)
class _Run:
    ranks: dict[str, _Rank] = field(default_factory=dict[str, _Rank])
    points: deque[list[Point]] = field(default_factory=lambda: deque[list[Point]](maxlen=POINTS_MAX))


class Usages:
    """By run and rank."""

    def __init__(self) -> None:
        self._runs: OrderedDict[RunKey, _Run] = OrderedDict()

    def take(self, run: RunKey, uses: Sequence[RankUse], node: Mapping[str, Any], *, at: datetime) -> None:
        """A report of the ranks of a run that are on one node.

        The first point of a rank is taken after an interval, as MLflow's own monitor does: a run that is over by then
        would cost the tracking server more than itself.
        """
        if not uses:
            return
        held = self._runs.setdefault(run, _Run())
        self._runs.move_to_end(run)
        for use in uses:
            if (rank := held.ranks.get(use.rank)) is None:
                rank = held.ranks[use.rank] = _Rank(use.values, dict(use.values), Node.read(node), at)
            rank.now = use.values
            rank.peak = {key: max(value, rank.peak.get(key, value)) for key, value in use.values.items()}
            if at - rank.point_at >= timedelta(seconds=EACH_S):
                held.points.append(_points(rank, use, Node.read(node), at))
        while len(self._runs) > RUNS_MAX:
            self._runs.popitem(last=False)

    def of(self, run: RunKey) -> dict[str, dict[str, Mapping[str, float]]]:
        """By rank, the use now (or at last) and its peak. Empty for a run that was not heard of since the start."""
        held = self._runs.get(run)
        ranks = sorted(held.ranks.items(), key=lambda each: (len(each[0]), each[0])) if held else []
        return {name: {"now": rank.now, "peak": rank.peak} for name, rank in ranks}

    def waiting(self) -> list[RunKey]:
        """The runs of which there are points to tell."""
        return [run for run, held in self._runs.items() if held.points]

    def points(self, run: RunKey) -> list[Point]:
        """Those that are to be told; dropped by `told`."""
        held = self._runs.get(run)
        return [point for each in held.points for point in each] if held else []

    def told(self, run: RunKey, points: list[Point]) -> None:
        """These need not be told again: they were, or nobody wants them."""
        done = set(points)
        if (held := self._runs.get(run)) is not None:
            left = [rest for each in held.points if (rest := [point for point in each if point not in done])]
            held.points = deque(left, maxlen=POINTS_MAX)


def _points(rank: _Rank, use: RankUse, node: Node, at: datetime) -> list[Point]:
    rank.point_at, rank.steps = at, rank.steps + 1
    metrics = system_metrics(use, node, since=rank.begin)
    return list(_at(metrics, round(at.timestamp() * 1000), rank.steps - 1))


def _at(metrics: Mapping[str, float], at_ms: int, step: int) -> Iterator[Point]:
    for key, value in metrics.items():
        yield Point(key=key, value=value, at_ms=at_ms, step=step)
