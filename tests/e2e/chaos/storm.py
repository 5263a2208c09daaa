"""What happens to an installation: kills, stops, a full disk, at moments that are diced. One deed at a time."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..installation import Installation, carriers, command_line, environment_of, parent
from .campaign import LEASE_S, MARGIN_S

PAUSE_S = (0.2, 3.0)  #: between two deeds
SHORT_S = (0.3, 0.6 * LEASE_S)  #: a stop that nobody may notice
LONG_S = (LEASE_S + MARGIN_S, LEASE_S + MARGIN_S + 3)
FULL_S = (1.0, 4.0)


class Storm(threading.Thread):
    def __init__(self, it: Installation, chance: random.Random, *, seconds: float) -> None:
        super().__init__(name="storm")
        self._it, self._chance, self._seconds = it, chance, seconds
        self.over = threading.Event()
        self._later: list[tuple[float, Callable[[], object]]] = []  #: what was stopped goes on then
        self.done: Counter[str] = Counter()
        self.shot: set[str] = set()  #: keys of runs of which a rank was killed
        self.full: list[tuple[float, float]] = []  #: when the nodes' disk had no byte left, by the clock
        self.failed: BaseException | None = None
        self._deeds: list[tuple[Callable[[], str | None], int]] = [
            (lambda: self._kill_part("control"), 5),
            (lambda: self._kill_part("gateway"), 4),
            (lambda: self._kill_part("mlflow"), 1),
            (self._kill_supervisor, 1),
            (self._kill_runner, 8),
            (self._stop_runner, 6),
            (self._stop_control, 2),
            (self._shoot, 2),
            (self._fill_disk, 1),
        ]

    def run(self) -> None:
        until_s = time.monotonic() + self._seconds
        deeds, weights = zip(*self._deeds, strict=True)
        try:
            while time.monotonic() < until_s and not self.over.wait(self._chance.uniform(*PAUSE_S)):
                self._go_on()
                [deed] = self._chance.choices(deeds, weights)
                if (what := deed()) is not None:
                    self.done[what] += 1
                    print(f"{time.strftime('%H:%M:%S')} storm: {what}", flush=True)
        except BaseException as error:  # said where the test is
            self.failed = error
        finally:
            for _, go_on in self._later:
                go_on()

    def _go_on(self) -> None:
        due = [each for each in self._later if each[0] <= time.monotonic()]
        self._later = [each for each in self._later if each not in due]
        for _, go_on in due:
            go_on()

    # The server

    def _part(self, name: str) -> list[int]:
        """Its process, as the supervisor has written: what has this pid now may be somebody else's."""
        pid = self._it.part(name).get("pid") or 0
        is_ours = any(str(self._it.home) in value for value in environment_of(pid).values())
        return [pid] if is_ours else []

    def _kill_part(self, name: str) -> str | None:
        return f"{name} killed" if _signal_all(self._part(name), signal.SIGKILL) else None

    def _kill_supervisor(self) -> str:
        """Mostly it is started again at once; at times the nodes hear nothing for longer than their lease."""
        is_long = self._chance.random() < 0.25
        away_s = self._chance.uniform(*(LONG_S if is_long else (0.0, 2.0)))
        os.kill(self._it.supervisor(), signal.SIGKILL)
        time.sleep(away_s)  # how long it is away is what is diced
        self._it.up()
        return f"um up killed, away {'longer' if is_long else 'shorter'} than the lease"

    def _stop_control(self) -> str | None:
        return self._hold("control", self._part("control"), self._chance.uniform(0.3, 3.0))

    # The nodes

    def _runners(self) -> list[tuple[int, int]]:
        """The living runners: their link, their keeper. A keeper is 0 before it is there."""
        found = list[tuple[int, int]]()
        for folder in _folders(self._it.home / "nodes"):
            own = [p for p in carriers(f"ULTRAMARINE_ALLOCATION={folder.name}") if "runner-" in command_line(p)]
            link = next((pid for pid in own if parent(pid) not in own), 0)
            if link:
                found.append((link, next((pid for pid in own if parent(pid) == link), 0)))
        return found

    def _halves(self) -> tuple[str, list[int]] | None:
        if not (runners := self._runners()):
            return None
        link, keeper = self._chance.choice(runners)
        half = self._chance.choice(("link", "keeper", "both"))
        pids = {"link": [link], "keeper": [keeper], "both": [link, keeper]}[half]
        return f"runner: {half}", [pid for pid in pids if pid]

    def _kill_runner(self) -> str | None:
        if (halves := self._halves()) is None:
            return None
        what, pids = halves
        return f"{what} killed" if _signal_all(pids, signal.SIGKILL) else None

    def _stop_runner(self) -> str | None:
        if (halves := self._halves()) is None:
            return None
        is_long = self._chance.random() < 0.4
        return self._hold(*halves, self._chance.uniform(*(LONG_S if is_long else SHORT_S)))

    def _hold(self, what: str, pids: list[int], for_s: float) -> str | None:
        if not (stopped := _signal_all(pids, signal.SIGSTOP)):
            return None
        self._later.append((time.monotonic() + for_s, lambda: _signal_all(stopped, signal.SIGCONT)))
        return f"{what} stopped {'longer' if for_s > LEASE_S else 'shorter'} than the lease"

    def _shoot(self) -> str | None:
        """As the kernel would that has no memory left: one rank of some run."""
        ranks = [(pid, key) for folder in _folders(self._it.home / "nodes") for pid, key in _ranks(folder.name)]
        if not ranks:
            return None
        pid, key = self._chance.choice(ranks)
        self.shot.add(key)
        return "rank killed" if _signal(pid, signal.SIGKILL) else None

    def _fill_disk(self) -> str:
        began, ballast = time.time(), self._it.home / "nodes" / ".ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\1" * (1 << 20))
        time.sleep(self._chance.uniform(*FULL_S))  # how long it stays full is what is diced
        ballast.unlink()
        self.full.append((began, time.time()))
        return "disk of the nodes filled"


def _folders(nodes: Path) -> list[Path]:
    return sorted(entry for entry in nodes.iterdir() if entry.is_dir())


def _ranks(allocation: str) -> Iterator[tuple[int, str]]:
    for pid in carriers(f"ULTRAMARINE_ALLOCATION={allocation}"):
        if "witness.py" in command_line(pid) and (key := environment_of(pid).get("ULTRAMARINE_RUN_KEY")):
            yield pid, key


def _signal_all(pids: Sequence[int], number: int) -> list[int]:
    """Those that were there."""
    return [pid for pid in pids if _signal(pid, number)]


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
