"""How Python's garbage collector is set, so that it does not hold up the event loop."""

import gc

YOUNG, MIDDLE, OLD = 20_000, 10, 50  #: allocations, then collections of the generation before


def settle() -> None:
    """To be called when a start is over: what it has made stays, and is not looked through again.

    A queue of 10,000 runs is some 100,000 objects that live long, and to look through them all takes 60 to 150 ms, in
    every turn as Python is set. They are freed by their reference counts; the cycles that only the collector frees die
    young.
    """
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
