"""How often a request may be sent again: a share of all requests, so that a bad hour is not made worse."""

from __future__ import annotations

SHARE = 0.2
SAVED_MAX = 10.0


class Budget:
    """Each request earns a fifth of a second try; ten are there to begin with, and never more."""

    __slots__ = ("_saved",)

    def __init__(self) -> None:
        self._saved = SAVED_MAX

    def earn(self) -> None:
        if self._saved < SAVED_MAX:
            self._saved += SHARE

    def spend(self) -> bool:
        """False: there is nothing left."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
