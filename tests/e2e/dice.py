"""What is diced about a kill, and what came of it: a table for benchmarks/RESULTS.md."""

import os
import random
import secrets
import statistics
from collections import defaultdict

ROUNDS = int(os.environ.get("ULTRAMARINE_KILLS", "3"))
SEED = os.environ.get("ULTRAMARINE_KILLS_SEED") or secrets.token_hex(4)

_seconds: dict[str, list[float]] = defaultdict(list)
_failed: dict[str, int] = defaultdict(int)


def of(what: str, number: int) -> random.Random:
    """The dice of one round. What they show depends on the session's seed, which is printed, and on nothing else."""
    print(f"{what}, round {number}: ULTRAMARINE_KILLS_SEED={SEED}")
    return random.Random(f"{SEED}/{what}/{number}")


def survived(what: str, *, recovered_s: float, failed_requests: int = 0) -> None:
    """Note a round in which nothing was lost."""
    _seconds[what].append(recovered_s)
    _failed[what] += failed_requests


def table() -> list[str]:
    """Markdown: of each victim, how many rounds, how long until all was well again, what was lost."""
    if not _seconds:
        return []
    rows = [
        f"| {what} | {len(took)} | {statistics.median(took):.1f} | {max(took):.1f} | 0 | {_failed[what]} |"
        for what, took in _seconds.items()
    ]
    return [
        f"seed {SEED}",
        "",
        "| killed | rounds | seconds to recover (median) | (longest) | lost or doubled | requests failed |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
