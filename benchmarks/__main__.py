"""All figures of the main path in one run, and the table that is kept.

    .venv/bin/python -m benchmarks [--quick] [--keep]

It takes about five minutes; `--quick` two, with fewer rounds. `--keep` writes the table into benchmarks/RESULTS.md.
"""

import sys
import time
from collections.abc import Callable, Sequence

from benchmarks import commands, first_line, footprint, kept, measure, throughput, turn, upload
from benchmarks.installation import stopped_installation
from benchmarks.measure import Row


def measured(*, is_quick: bool) -> Sequence[Row]:
    found: list[Row] = []
    with stopped_installation() as here:
        found += _told("start and idle", lambda: footprint.rows(here, rounds=2 if is_quick else 5))
        found += _told("first line", lambda: first_line.rows(here, rounds=6 if is_quick else 20))
        found += _told("commands", lambda: commands.rows(here, rounds=5 if is_quick else 15))
        found += _told("upload", lambda: upload.rows(here, size=200_000_000 if is_quick else 1_000_000_000))
        found += _told("throughput", lambda: throughput.rows(here, count=50 if is_quick else 200))
    found += _told("turn", lambda: turn.rows(queued=1_000, nodes=100))
    return [*found, *_told("long turn", lambda: turn.rows(queued=10_000, nodes=1_000))]


def _told(what: str, work: Callable[[], Sequence[Row]]) -> Sequence[Row]:
    begin = time.monotonic()
    rows = work()
    print(f"{what}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    kept.main("main path", lambda quick: measure.table(measured(is_quick=quick)), about=__doc__)


if __name__ == "__main__":
    main()
