"""How Python's garbage collector is set, so that it does not hold up requests."""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 20_000, 10, 50  #: allocations, then collections of the generation before


def settle() -> None:
    """To be called once, before the first request: what was imported stays, and is not looked through again.

    A request leaves nothing that only the collector frees. But those that are under way are some thousand objects, so
    that, as Python is set, the collector came every 150 requests, and each second looked for 7 ms at all that there is.
    What comes later is not exempt: a table that was replaced may leave cycles.
    """
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
