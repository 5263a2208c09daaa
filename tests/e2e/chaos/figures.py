"""What came of the campaigns of this session: tables for benchmarks/RESULTS.md."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Figures:
    """Of one campaign."""

    seed: str
    seconds: float
    jobs: int = 0
    deeds: Counter[str] = field(default_factory=Counter[str])  #: what was done to it, how often
    endings: Counter[str] = field(default_factory=Counter[str])  #: of attempts, by status and cause
    lines: int = 0  #: of logs, each compared with what its rank wrote

    def table(self) -> list[str]:
        """Markdown."""
        attempts = self.endings.total()
        blows = f"{self.deeds.total()} blows in {self.seconds:.0f} s"
        return [
            f"{self.jobs} jobs, {attempts} attempts, {blows}, {self.lines} lines of log compared; seed {self.seed}",
            "",
            "| attempts ended | how many | blow | how many |",
            "|---|---|---|---|",
            *(f"| {left} | {right} |" for left, right in self._pairs()),
        ]

    def _pairs(self) -> list[tuple[str, str]]:
        left, right = ([f"{what} | {n}" for what, n in each.most_common()] for each in (self.endings, self.deeds))
        count = max(len(left), len(right))
        return [(*pair,) for pair in zip(_padded(left, count), _padded(right, count), strict=True)]


def _padded(rows: list[str], count: int) -> list[str]:
    return rows + [" | "] * (count - len(rows))


_campaigns: list[Figures] = []


def withstood(figures: Figures) -> None:
    """Note a campaign in which all was as it should be."""
    _campaigns.append(figures)


def table() -> list[str]:
    return [row for figures in _campaigns for row in (*figures.table(), "")]
