"""Compute instances: from `um compute create` to an executed cell, beside `jupyter lab`; cycles of stop and start.

    .venv/bin/python -m benchmarks.instances [--quick] [--keep]

Environments are warm, as on a node that had an instance before. The cell is executed through the gateway by Jupyter's
own client of remote kernels, in a kernel of the environment that JupyterLab runs in; beside it, in turn, the same
client speaks to a `jupyter lab` of the same environment, started as one does by hand, in an empty home. The same in a
headless Chromium that is there already: from the command over the link and the launcher's tile to what the cell shows.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from playwright.sync_api import Browser

from benchmarks import browser_cell, kept, measure
from benchmarks.environments import build
from benchmarks.installation import Installation, installation, until
from benchmarks.measure import Row, Series
from ultramarine import curated
from ultramarine.domain.errors import UltramarineError
from ultramarine.sdk.connection import of_home
from ultramarine_runner.environments import find_pythons

CELL, CODE, SHOWN = Path(__file__).with_name("cell.py"), "print(6 * 7)", "42\n"
SIZES = json.dumps({"desk": {"cpus": 1, "memory_gib": 2}})
CREATED_GOAL_S, RATIO_GOAL, CYCLES = 6.0, 1.3, 100
CYCLE_S_MAX, CELL_S_MAX = 120.0, 150.0


class Cell:
    """A cell that is executed once there is a server, by a client that is there already."""

    def __init__(self, python: Path, url: str, token: str, *, code: str = CODE) -> None:
        words = [str(python), str(CELL), url, token, "python3", code]
        self._client = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def at(self) -> float:
        """When it had shown what it was to show, in seconds since 1970. Raises RuntimeError when it has not."""
        try:
            out, err = self._client.communicate(timeout=CELL_S_MAX)
        except subprocess.TimeoutExpired:
            self._client.kill()
            raise RuntimeError(f"The cell was not executed within {CELL_S_MAX:g} s.") from None
        if self._client.returncode or (said := json.loads(out))["text"] != SHOWN:
            raise RuntimeError(f"The cell was not executed: {out}{err[-3000:]}")
        return float(said["at"])


@dataclass(frozen=True, kw_only=True)
class Desks:
    """Instances of one installation, each by another name."""

    here: Installation
    python: Path  #: of the environment `jupyter`
    _numbers: "count[int]" = field(default_factory=count)

    def created_s(self) -> float:
        """From the command to the cell. The instance is deleted again."""
        name, file = self._new()
        cell = self.cell(name)
        begin = time.time()
        self.here.um("compute", "create", "-f", str(file), "--no-wait")
        seconds = cell.at() - begin
        self.here.client().computes.delete(name)
        return seconds

    def seen_s(self, browser: Browser) -> float:
        """From the command to the cell in a browser. The instance is deleted again."""
        name, file = self._new()
        begin = time.time()
        self.here.um("compute", "create", "-f", str(file))
        link = self.here.client().computes.connect(name)
        seconds = browser_cell.shown_at(browser, link, "Python (jupyter)", CODE, SHOWN) - begin
        self.here.client().computes.delete(name)
        return seconds

    def _new(self) -> tuple[str, Path]:
        """A name that none has had, and a file that says it."""
        name, file = f"desk-{next(self._numbers)}", self.here.home / "instance.yml"
        file.write_text(f"name: {name}\ntype: computeinstance\nsize: desk\n")
        return name, file

    def cell(self, name: str) -> Cell:
        url = f"http://127.0.0.1:{self.here.port + 2}/instances/default/{name}"
        return Cell(self.python, url, of_home(self.here.home).token)

    def by_hand_s(self) -> float:
        port, token = free_port(), "by-hand"
        cell = Cell(self.python, f"http://127.0.0.1:{port}", token)
        begin = time.time()
        with lab_by_hand(self.python, port, token):
            return cell.at() - begin

    def seen_by_hand_s(self, browser: Browser) -> float:
        port, token = free_port(), "by-hand"
        begin = time.time()
        with lab_by_hand(self.python, port, token):
            url = f"http://127.0.0.1:{port}"
            until(lambda: answers(f"{url}/api"), "it answers", seconds=CELL_S_MAX, every_s=0.02)
            return browser_cell.shown_at(browser, f"{url}/lab?token={token}", "Python 3", CODE, SHOWN) - begin

    def cycles(self, rounds: int) -> tuple[Series, Series, Sequence[str]]:
        """Seconds until it has stopped, until a cell was executed after its start, and what went wrong."""
        computes, name = self.here.client().computes, "cycled"
        computes.create_or_update({"name": name, "type": "computeinstance", "size": "desk"})
        computes.wait_up(name, timeout_s=CYCLE_S_MAX)
        stops: list[float] = []
        starts: list[float] = []
        wrong: list[str] = []
        for turn in range(rounds):
            begin = time.time()
            try:
                computes.stop(name)
                computes.wait_stopped(name, timeout_s=CYCLE_S_MAX)
                stops.append(time.time() - begin)
                cell, begin = self.cell(name), time.time()
                computes.start(name)
                starts.append(cell.at() - begin)
            except (UltramarineError, RuntimeError) as error:
                wrong.append(f"{turn}: {error}")
        computes.delete(name)
        return Series(stops, "s"), Series(starts, "s"), wrong


@contextmanager
def lab_by_hand(python: Path, port: int, token: str) -> Generator[None]:
    """As one starts it, in an empty home."""
    with tempfile.TemporaryDirectory(prefix="um-bench-") as home:
        words = ["--no-browser", "--port", str(port), "--allow-root", f"--IdentityProvider.token={token}"]
        variables = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "HOME": home, "LANG": "C.UTF-8"}
        lab = subprocess.Popen(
            [str(python.with_name("jupyter")), "lab", *words],
            env=variables,
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(lab.pid, signal.SIGKILL)
            lab.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def jupyter_python(cache: Path) -> Path:
    """Of the curated environment, built where it is not there."""
    one = curated.load()["jupyter"]
    python = one.choose_python(tuple(find_pythons()))
    return build(cache, one.lock(python=python, platform=f"linux-{os.uname().machine}")) / "bin" / "python"


def seen_rows(desks: Desks, *, rounds: int) -> Sequence[Row]:
    if browser_cell.CHROMIUM is None:
        return [Row(what="the same in a browser", figure="chromium is not on this machine")]
    with browser_cell.started() as browser:
        seen, by_hand = measure.paired(
            lambda: desks.seen_s(browser), lambda: desks.seen_by_hand_s(browser), rounds=rounds, unit="s"
        )
    return _created("a cell executed in a headless browser", seen, by_hand)


def _created(what: str, ours: Series, by_hand: Series) -> Sequence[Row]:
    """Each goal has a row of its own."""
    ratio = ours.median / by_hand.median
    return [
        Row(
            what=f"`um compute create` → {what}",
            figure=str(ours),
            goal=f"≤ {CREATED_GOAL_S:g} s",
            is_met=ours.median <= CREATED_GOAL_S,
        ),
        Row(
            what=f"the same beside `jupyter lab` by hand → {what}",
            figure=str(ours),
            beside=f"jupyter lab {by_hand}",
            ratio=f"{ratio:.2f}×",
            goal=f"≤ {RATIO_GOAL:g}×",
            is_met=ratio <= RATIO_GOAL,
        ),
    ]


def rows(desks: Desks, *, rounds: int, cycles: int) -> Sequence[Row]:
    desks.created_s()  # environments are warm from here
    created, by_hand = measure.paired(desks.created_s, desks.by_hand_s, rounds=rounds, unit="s")
    seen = seen_rows(desks, rounds=rounds)
    stops, starts, wrong = desks.cycles(cycles)
    for words in wrong:
        print(words, file=sys.stderr)
    return [
        *_created("a cell executed through the gateway", created, by_hand),
        *seen,
        Row(
            what=f"{cycles} cycles of stop and start, a cell after each",
            figure=f"{len(wrong)} failed; stop {stops}, start → cell {starts}",
            goal="0 failed",
            is_met=not wrong,
        ),
    ]


def measured(is_quick: bool) -> str:
    with installation(ULTRAMARINE_SIZES=SIZES) as here:
        until(here.are_ready, "all parts are ready", seconds=300)  # MLflow's start is not to be measured
        cache = Path(here.variables.get("ULTRAMARINE_CACHE") or here.home / "jupyter")
        desks = Desks(here=here, python=jupyter_python(cache))
        return measure.table(rows(desks, rounds=2 if is_quick else 10, cycles=2 if is_quick else CYCLES))


if __name__ == "__main__":
    kept.main("compute instances", measured, about=__doc__)
