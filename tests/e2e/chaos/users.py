"""Who asks for the jobs of a campaign, and cancels some: as people do, again when nobody answers."""

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ultramarine.domain.errors import Conflict, Unavailable

from ..installation import Installation, until
from .campaign import Planned


class Users(threading.Thread):
    def __init__(self, it: Installation, jobs: Sequence[Planned], ledger: Path) -> None:
        super().__init__(name="users")
        self._it, self._ledger = it, ledger
        self._todo: list[tuple[float, int, Callable[[], None]]] = []
        self._count, self._now = 0, 0.0
        self.over = threading.Event()
        for job in jobs:
            self._later(job.at_s, lambda job=job: self._ask(job))
        self.failed: BaseException | None = None

    def run(self) -> None:
        began = time.monotonic()
        try:
            while self._todo:
                self._now, _, deed = heapq.heappop(self._todo)
                if self.over.wait(max(0.0, began + self._now - time.monotonic())):
                    return
                deed()
        except BaseException as error:  # said where the test is
            self.failed = error

    def _later(self, at_s: float, deed: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._todo, (at_s, self._count, deed))

    def _ask(self, job: Planned) -> None:
        command = job.command(self._ledger)
        self._it.submit(job.name, command, code="job", **job.kind.fields)
        if job.cancel_s is not None:
            self._later(self._now + job.cancel_s, lambda: self._cancel(job))

    def _cancel(self, job: Planned) -> None:
        def asked() -> bool:
            try:
                self._it.workspace.jobs.cancel(job.name)
            except Conflict:
                return True  # it has ended
            except Unavailable:
                return False
            return True

        until(asked, f"the server takes the cancel of {job.name}", seconds=self._it.patience_s)
