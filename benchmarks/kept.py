"""The file of figures: each program writes its own part of it, between two marks."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks import measure

RESULTS = Path(__file__).with_name("RESULTS.md")


def keep(part: str, text: str, *, file: Path = RESULTS) -> None:
    """Write it in place of the last one; what others wrote into the file stays. A new part is put at the end."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    there = file.read_text(encoding="utf-8") if file.exists() else "# Figures\n"
    if begin not in there:
        there = f"{there.rstrip()}\n\n## {part[0].upper()}{part[1:]}\n\n{begin}\n{end}\n"
    before, _, rest = there.partition(begin)
    after = rest.partition(end)[2]
    file.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main(part: str, measured: Callable[[bool], str], *, about: str | None) -> None:
    """What a program does whose figures are kept. `measured`: the table; it is told whether to be quick about it."""
    arguments = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="with fewer and smaller rounds: that it works")
    arguments.add_argument("--keep", action="store_true", help=f"write the table into {RESULTS.name}")
    given = arguments.parse_args()
    load = os.getloadavg()[0]
    table = measured(given.quick)
    text = f"{measure.when_and_where(load)}\n\n{table}"
    print(text)
    if given.keep:
        keep(part, text)
