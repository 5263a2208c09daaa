"""What can be done to the server of an installation, to its nodes, to their disk."""

import contextlib
import random
import signal
import time

from ..installation import Installation, carriers, command_line, environment_of, parent
from . import rows
from .storm import LONG_S, SHORT_S, Blow, Held, send

FULL_S = (1.0, 4.0)
ALSO_STARTING = 0.2  #: how often a blow at a part falls though it is only starting


class Server:
    """Its parts, and what keeps them running."""

    def __init__(self, it: Installation, chance: random.Random, held: Held) -> None:
        self._it, self._chance, self._held = it, chance, held

    def blows(self) -> dict[Blow, int]:
        parts: dict[Blow, int] = {
            lambda: self.kill("control"): 5,
            lambda: self.kill("gateway"): 4,
            lambda: self.kill("mlflow"): 1,
        }
        return {**parts, self._kill_supervisor: 1, self._stop_control: 2}

    def _part(self, name: str) -> list[int]:
        """Its process, as the supervisor has written: what has this pid now may be somebody else's."""
        row = self._it.part(name)
        if row.get("phase") != "ready" and self._chance.random() > ALSO_STARTING:
            return []  # on a busy machine it would never stand again
        pid = row.get("pid") or 0
        is_ours = str(self._it.home) in "".join([command_line(pid), *environment_of(pid).values()])
        return [pid] if is_ours else []

    def kill(self, name: str) -> str | None:
        return f"{name} killed" if send(self._part(name), signal.SIGKILL) else None

    def _kill_supervisor(self) -> str:
        """Mostly it is started again at once; at times the nodes hear nothing for longer than their lease."""
        is_long = self._chance.random() < 0.25
        away_s = self._chance.uniform(*(LONG_S if is_long else (0.0, 2.0)))
        send([self._it.supervisor()], signal.SIGKILL)
        time.sleep(away_s)  # how long it is away is what is diced
        self._it.up()
        return f"um up killed, away {'longer' if is_long else 'shorter'} than the lease"

    def _stop_control(self) -> str | None:
        stopped = send(self._part("control"), signal.SIGSTOP)
        return f"control stopped {_goes_on(self._held, stopped, self._chance.uniform(0.3, 3.0))}" if stopped else None


class Nodes:
    """Their runners and ranks."""

    def __init__(self, it: Installation, chance: random.Random, held: Held) -> None:
        self._it, self._chance, self._held = it, chance, held
        self.shot: set[str] = set()  #: keys of runs of which a rank was killed
        self.hurt: set[str] = set()  #: nodes whose runner was killed, or stopped for long

    def blows(self) -> dict[Blow, int]:
        return {self._kill: 8, self._stop: 6, self._shoot: 2}

    def _runners(self) -> list[tuple[str, int, int]]:
        """The living ones: their node, their link, their keeper. A keeper is 0 before it is there."""
        found = list[tuple[str, int, int]]()
        for key in rows.allocations(self._it.home):
            own = [pid for pid in carriers(f"ULTRAMARINE_ALLOCATION={key}") if ".pyz" in command_line(pid)]
            link = next((pid for pid in own if parent(pid) not in own), 0)
            if link:
                found.append((key, link, next((pid for pid in own if parent(pid) == link), 0)))
        return found

    def _halves(self) -> tuple[str, str, list[int]]:
        if not (runners := self._runners()):
            return "", "", []
        node, link, keeper = self._chance.choice(runners)
        half = self._chance.choice(("link", "keeper", "both"))
        pids = {"link": [link], "keeper": [keeper], "both": [link, keeper]}[half]
        return node, f"runner: {half}", [pid for pid in pids if pid]

    def _kill(self) -> str | None:
        node, what, pids = self._halves()
        self.hurt.add(node)
        return f"{what} killed" if send(pids, signal.SIGKILL) else None

    def _stop(self) -> str | None:
        node, what, pids = self._halves()
        is_long = self._chance.random() < 0.4
        for_s = self._chance.uniform(*(LONG_S if is_long else SHORT_S))
        self.hurt.update({node} if is_long else ())
        stopped = send(pids, signal.SIGSTOP)
        return f"{what} stopped {_goes_on(self._held, stopped, for_s)}" if stopped else None

    def _shoot(self) -> str | None:
        """As the kernel would that has no memory left: one rank of some run."""
        ranks = [
            (pid, run)
            for key in rows.allocations(self._it.home)
            for pid in carriers(f"ULTRAMARINE_ALLOCATION={key}")
            if "witness.py" in command_line(pid) and (run := environment_of(pid).get("ULTRAMARINE_RUN_KEY"))
        ]
        if not ranks:
            return None
        pid, run = self._chance.choice(ranks)
        self.shot.add(run)
        return "rank killed" if send([pid], signal.SIGKILL) else None


class Disk:
    """The one that the nodes of this machine share."""

    def __init__(self, it: Installation, chance: random.Random) -> None:
        self._it, self._chance = it, chance
        self.full: list[tuple[float, float]] = []  #: when it had no byte left, by the clock

    def blows(self) -> dict[Blow, int]:
        return {self._fill: 1}

    def _fill(self) -> str:
        began, ballast = time.time(), self._it.home / "nodes" / ".ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\1" * (1 << 20))
        time.sleep(self._chance.uniform(*FULL_S))  # how long it stays full is what is diced
        ballast.unlink()
        self.full.append((began, time.time()))
        return "disk of the nodes filled"


def _goes_on(held: Held, stopped: list[int], for_s: float) -> str:
    return held.until(for_s, lambda: send(stopped, signal.SIGCONT))
