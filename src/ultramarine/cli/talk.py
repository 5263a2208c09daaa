"""What is said to the person: on stderr, so that stdout is data alone."""

import contextlib
import itertools
import sys
import threading
from collections.abc import Generator, Mapping
from typing import Any

from ultramarine.cli.output import plain, terminal_width, wrapped
from ultramarine.cli.progress import Bar
from ultramarine.domain.errors import UltramarineError

TURN_S = 0.1
_CLEAR = "\r\x1b[K"


class Talk:
    """Words, a spinner and a bar; the moving ones only where somebody looks."""

    def __init__(self) -> None:
        self.is_watched = sys.stderr.isatty()
        self.progress = Bar() if self.is_watched else None
        self._is_passing = False
        self._line = threading.Lock()  #: what turns writes from a thread of its own

    def passing(self, text: str) -> None:
        """Words that the next ones replace. Where nobody looks they are said like others."""
        if not self.is_watched:
            self.say(text)
            return
        self._is_passing = True
        self._write(_CLEAR + _cut(plain(text), terminal_width() - 1))

    def make_way(self) -> None:
        """Take away what was said in passing: something else is to be printed."""
        if self._is_passing:
            self._is_passing = False
            self._write(_CLEAR)

    def say(self, text: str) -> None:
        text = plain(text)
        if self.is_watched:
            hang = "    "
            text = "\n".join(
                part for line in text.split("\n") for part in wrapped(line, width=terminal_width(), indent=hang)
            )
        with self._line:
            self.make_way()
            print(text, file=sys.stderr, flush=True)

    def note(self, view: Mapping[str, Any]) -> None:
        """What the server adds to what it has made of a request, if anything."""
        if view.get("notice"):
            self.say(f"note: {view['notice']}")

    def error(self, error: UltramarineError) -> None:
        self.problem(str(error), hint=error.hint)

    def problem(self, text: str, *, hint: str) -> None:
        self.say(f"error: {text}" + (f"\n  next: {hint}" if hint else ""))

    def confirm(self, question: str) -> bool:
        """Ask on the terminal; without one the answer is no."""
        if not sys.stdin.isatty():
            self.problem(f"{question} Nobody is there to say so.", hint="Add --yes.")
            return False
        self._write(f"{question} [y/N] ")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @contextlib.contextmanager
    def spinning(self, text: str) -> Generator[list[str]]:
        """Show that something goes on. The first item of the list is what is shown; it may be replaced."""
        words = [text]
        if not self.is_watched:
            self.say(text)
            yield words
            return
        over = threading.Event()
        turner = threading.Thread(target=self._turn, args=(words, over), daemon=True)
        turner.start()
        try:
            yield words
        finally:
            over.set()
            turner.join()
            self.make_way()

    def _turn(self, words: list[str], over: threading.Event) -> None:
        for mark in itertools.cycle("|/-\\"):
            with self._line:
                self._is_passing = True
                self._write(f"{_CLEAR}{mark} {words[0]}")
            if over.wait(TURN_S):
                return

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
