"""The file of figures: each program writes its own part of it, between two marks."""

from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


def keep(part: str, text: str, *, file: Path = RESULTS) -> None:
    """Write it in place of the last one; what others wrote into the file stays. A new part is put at the end."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    there = file.read_text(encoding="utf-8") if file.exists() else "# Figures\n"
    if begin not in there:
        there = f"{there.rstrip()}\n\n## {part.capitalize()}\n\n{begin}\n{end}\n"
    before, _, rest = there.partition(begin)
    after = rest.partition(end)[2]
    file.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
