"""A job that keeps a ledger of its own life, outside of the installation: each rank of each attempt has a page there.

`witness.py LEDGER NAME DEED AMOUNT PAUSE_S`: what it writes follows from NAME, its rank and the line's number alone.
"""

import os
import sys
import time
import zlib
from pathlib import Path
from typing import NoReturn

FAILED = 7  #: the exit code of a job that fails by itself
TWICE = 99  #: of a rank that finds its own attempt begun already


def line(name: str, rank: int, number: int) -> str:
    """One line of the log, of a length that looks like chance."""
    long = zlib.crc32(f"{name}/{rank}/{number}".encode()) % 160
    return f"{name} rank {rank} line {number} {'x' * long}\n"


def boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Page:
    """When this rank began, on which node, until when it certainly lived, and how many lines it has written."""

    def __init__(self, ledger: Path, name: str) -> None:
        self._ledger, self._name = ledger, name
        self.rank = int(os.environ["ULTRAMARINE_RANK"])
        key, node = os.environ["ULTRAMARINE_RUN_KEY"], os.environ["ULTRAMARINE_ALLOCATION"]
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            self._file = os.open(ledger / f"{key}.{self.rank}", flags, 0o600)
        except FileExistsError:
            (ledger / f"{key}.{self.rank}.twice").touch()
            sys.exit(TWICE)
        self._first, self._lines = boot_s(), 0
        self._node = node
        self.lives()

    def lives(self) -> None:
        """One write, of the same length each time: a kill leaves the old words or the new ones."""
        words = f"{self._first:.4f} {boot_s():.4f} {self._lines:08d} {self._node}\n"
        os.pwrite(self._file, words.encode(), 0)

    def says(self, number: int) -> None:
        """Write a line of the log in one piece, then note it."""
        sys.stdout.write(line(self._name, self.rank, number))
        sys.stdout.flush()
        self._lines += 1
        self.lives()

    def fails(self) -> NoReturn:
        """By itself, and it says so before."""
        (self._ledger / f"{self._name}.failed.{os.environ['ULTRAMARINE_RUN_KEY']}").touch()
        sys.exit(FAILED)

    def failures(self) -> int:
        """How many attempts at this job have said so."""
        return len(list(self._ledger.glob(f"{self._name}.failed.*")))


def count(page: Page, lines: float, pause_s: float) -> None:
    for number in range(int(lines)):
        page.says(number)
        time.sleep(pause_s)
    Path("outputs").mkdir(exist_ok=True)
    Path("outputs", "lines.txt").write_text(str(int(lines)))


def resume(page: Page, steps: float, pause_s: float) -> None:
    """Go on from the checkpoint: the number of a line is the step."""
    checkpoint = Path(os.environ["ULTRAMARINE_CHECKPOINT_DIR"]) / "step"
    begin = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for step in range(begin, int(steps)):
        page.says(step)
        fresh = checkpoint.with_suffix(".tmp")
        fresh.write_text(str(step + 1))
        fresh.rename(checkpoint)
        time.sleep(pause_s)


def fail(page: Page, lines: float, pause_s: float) -> None:
    count(page, lines, pause_s)
    page.fails()


def fail_first(page: Page, times: float, pause_s: float) -> None:
    """Complete once so many attempts have failed."""
    for number in range(20):
        page.says(number)
        time.sleep(pause_s)
    if page.failures() < times:
        page.fails()


def endless(page: Page, amount: float, pause_s: float) -> None:
    number = 0
    while True:
        page.says(number)
        number += 1
        time.sleep(pause_s)


def greedy(page: Page, mib: float, pause_s: float) -> None:
    """Take memory without end."""
    held = list[bytearray]()
    while True:
        held.append(bytearray(os.urandom(1 << 20) * int(mib)))
        page.lives()
        time.sleep(pause_s)


def hog(page: Page, mib: float, pause_s: float) -> None:
    """Fill the disk."""
    page.says(0)
    with Path("hog").open("wb") as file:
        while True:
            file.write(b"\1" * (int(mib) << 20))
            file.flush()
            page.lives()
            time.sleep(pause_s)


DEEDS = {deed.__name__: deed for deed in (count, resume, fail, fail_first, endless, greedy, hog)}


def main() -> None:
    ledger, name, deed, amount, pause_s = sys.argv[1:6]
    DEEDS[deed](Page(Path(ledger), name), float(amount), float(pause_s))


if __name__ == "__main__":
    main()
