"""How a limit is divided among processes that each hold their part of it."""

from __future__ import annotations


def share(total: int, worker: int, workers: int) -> int:
    """A worker's part of a limit, at least 1 (or 0 of 0); the parts add up to the limit where it is large enough."""
    if total == 0:
        return 0
    return max(1, total // workers + (1 if worker < total % workers else 0))
