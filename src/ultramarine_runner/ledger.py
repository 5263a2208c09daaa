"""What this node knows of its runs: the only place where one is put, moved or taken away. For one thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from . import state
from .state import Event, Run


class Ledger:
    """Runs by key. A run is never changed, only replaced, so that other threads may read."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._forgotten: set[str] = set()
        self.is_changed = True  #: there is something that was not reported yet
        self.is_awaited = True  #: and somebody waits to hear of it

    def __contains__(self, key: object) -> bool:
        return key in self._runs

    def __getitem__(self, key: str) -> Run:
        return self._runs[key]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._runs))

    def get(self, key: str) -> Run | None:
        """The run, while it is not forgotten."""
        return self._runs.get(key)

    def runs(self) -> list[Run]:
        """All of them, as they are now."""
        return list(self._runs.values())

    def was_forgotten(self, key: str) -> bool:
        """A key is never given twice: what was forgotten does not come back."""
        return key in self._forgotten

    def put(self, run: Run) -> Run:
        """Know it from now on, or as it is now."""
        self._runs[run.key] = run
        return run

    def change(self, key: str, **changes: Any) -> Run:
        """Replace fields that nobody outside waits for."""
        return self.put(replace(self._runs[key], **changes))

    def apply(self, key: str, event: Event, **changes: Any) -> bool:
        """Move a run by an event; False when it came too late."""
        run = self._runs.get(key)
        moved = state.after(run, event, **changes) if run is not None else None
        if moved is None:
            return False
        self.put(moved)
        self.is_changed = True
        self.is_awaited = self.is_awaited or state.is_awaited(moved)
        return True

    def forget(self, key: str) -> None:
        """It was taken away, and is over."""
        del self._runs[key]
        self._forgotten.add(key)
        self.is_changed = True
