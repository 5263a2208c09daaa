"""One part: its program, its process, its course."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ultramarine.supervision import process
from ultramarine.supervision.health import answers
from ultramarine.supervision.parts import Part
from ultramarine.supervision.policy import Act, Course, Phase
from ultramarine.supervision.programs import Program

ASK_READY_S = 1.0  #: how often a part that is ready is asked
ASK_STARTING_S = 0.03

Say = Callable[[str], None]


class Child:
    """A part and its process. `turn` does what is due and never waits longer than a health question takes."""

    def __init__(self, program: Program, home: Path, say: Say) -> None:
        self.program = program
        self.log = home / "logs" / f"{program.name}.log"
        self.course = Course()
        self._home = home
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._ticks: int | None = None
        self._ask_at = 0.0
        self._why = ""

    @property
    def part(self) -> Part:
        return Part(
            name=self.program.name,
            phase=self.course.phase,
            pid=self._process.pid if self._process else None,
            start_ticks=self._ticks if self._process else None,
            restarts=self.course.restarts,
            failed_starts=self.course.failed_starts,
            is_essential=self.program.is_essential,
            why=self._why,
            log=str(self.log),
        )

    def turn(self, now: float) -> None:
        """See whether it ended or answers, and do what its course asks for."""
        self._notice_end(now)
        self._ask(now)
        match self.course.act(now):
            case Act.START:
                self._start(now)
            case Act.KILL if self._process:
                self._say(f"{self.program.name} lives and does not answer: it is ended and started again.")
                process.signal_group(self._process.pid, signal.SIGKILL)
                self._process.wait()
                self._notice_end(now)
            case _:
                pass

    def end(self, grace_s: float) -> None:
        """End it: SIGTERM, the grace, SIGKILL for the whole group."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._say(f"{self.program.name} did not end within {grace_s:.1f} s and is killed.")
            process.signal_group(self._process.pid, signal.SIGKILL)  # what it left in its group, too
            self._process.wait()
            self._process = None
        self.course = self.course.stopped()

    def _start(self, now: float) -> None:
        if isinstance(self.program.address, Path):
            self.program.address.unlink(missing_ok=True)  # of an earlier life: nobody listens, the home's lock is ours
        process.rotate(self.log)
        self._ask_at = now
        try:
            self._process = process.spawn(
                self.program.argv, log=self.log, cwd=self._home, variables=dict(self.program.variables)
            )
        except OSError as error:
            self._failed(now, f"cannot be started: {error}")
            return
        self._ticks = process.start_ticks(self._process.pid)
        self.course = self.course.started(now)

    def _notice_end(self, now: float) -> None:
        if self._process and (code := self._process.poll()) is not None:
            process.signal_group(self._process.pid, signal.SIGKILL)  # children of its own must not hold its port
            self._process = None
            self._failed(now, f"ended with {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}")

    def _failed(self, now: float, why: str) -> None:
        self._why = f"{why} at {time.strftime('%Y-%m-%dT%H:%M:%S%z')}"
        self.course = self.course.ended(now)
        delay = self.course.next_start_at - now
        self._say(f"{self.program.name} {why}; started again in {delay:.1f} s. Its log: {self.log}")

    def _ask(self, now: float) -> None:
        if self._process is None or now < self._ask_at:
            return
        if answers(self.program.address, self.program.health_path):
            self.course = self.course.answered(now)
        else:
            self.course = self.course.silent()
        self._ask_at = now + (ASK_READY_S if self.course.phase is Phase.READY else ASK_STARTING_S)
