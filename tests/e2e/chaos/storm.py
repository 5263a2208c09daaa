"""What happens to an installation, at moments that are diced. One blow at a time; what is held goes on meanwhile."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ..installation import is_alive
from .campaign import LEASE_S, MARGIN_S

PAUSE_S = (0.2, 3.0)
SHORT_S = (0.3, 0.6 * LEASE_S)  #: a silence that nobody may notice
LONG_S = (LEASE_S + MARGIN_S, LEASE_S + MARGIN_S + 3)

Blow = Callable[[], str | None]  #: what was done, in words; None when there was nothing to do it to


class Held:
    """What was stopped, and goes on later."""

    def __init__(self) -> None:
        self._later: list[tuple[float, Callable[[], object]]] = []

    def until(self, for_s: float, go_on: Callable[[], object]) -> str:
        self._later.append((time.monotonic() + for_s, go_on))
        return "longer than the lease" if for_s > LEASE_S else "shorter than the lease"

    def go_on(self, *, all_of_it: bool = False) -> None:
        due = [each for each in self._later if all_of_it or each[0] <= time.monotonic()]
        self._later = [each for each in self._later if each not in due]
        for _, go_on in due:
            go_on()


class Storm(threading.Thread):
    def __init__(
        self,
        blows: Mapping[Blow, int],
        chance: random.Random,
        *,
        held: Held,
        seconds: float,
        pause_s: tuple[float, float] = PAUSE_S,
    ) -> None:
        """`blows`: with how often each comes, beside the others; `pause_s`: between two of them, from, to."""
        super().__init__(name="storm")
        self._blows, self._chance, self._held, self._pause_s = blows, chance, held, pause_s
        self.seconds = seconds
        self.over = threading.Event()
        self.done: Counter[str] = Counter()
        self.failed: BaseException | None = None

    def run(self) -> None:
        until_s = time.monotonic() + self.seconds
        try:
            while time.monotonic() < until_s and not self.over.wait(self._chance.uniform(*self._pause_s)):
                self._held.go_on()
                [blow] = self._chance.choices([*self._blows], [*self._blows.values()])
                if (what := blow()) is not None:
                    self.done[what] += 1
                    print(f"{time.strftime('%H:%M:%S')} storm: {what}", flush=True)
        except BaseException as error:  # said where the test is
            self.failed = error
        finally:
            self._held.go_on(all_of_it=True)


def send(pids: Sequence[int], number: int) -> list[int]:
    """Signal processes; those that were there."""
    found = [pid for pid in pids if is_alive(pid)]
    for pid in found:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    return found
