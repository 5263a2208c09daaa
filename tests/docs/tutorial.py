"""The blocks of a tutorial page, and how a reader follows them."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.docs.shape import ROOT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAVED = re.compile(r"(?:Save this|[Aa]nd this) as `([^`]+)`:\s*\Z")
ALREADY_DONE = ("make setup", 'export PATH="$PWD/.venv/bin:$PATH"')  #: what runs this test has done both
TYPED = "sh"  #: the language of blocks that are typed in a terminal
SHOWN = "console"  #: of those that are read: they need other machines, or show what is seen
CELL = "python"  #: of those that are typed in a notebook, where they are not to be saved
BLOCK_S_MAX = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    file: str  #: what the reader is told to save it as; "" for what is typed

    def __str__(self) -> str:
        return f"docs/tutorial/{self.page}:{self.line}"

    @property
    def is_cell(self) -> bool:
        return self.language == CELL and not self.file


def blocks(page: str) -> Iterator[Block]:
    text = (ROOT / "docs" / "tutorial" / page).read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        saved = SAVED.search(text[: found.start()])
        yield Block(
            page=page,
            line=text.count("\n", 0, found.start()) + 1,
            language=found[1],
            text=found[2],
            file=saved[1] if saved else "",
        )


def follow(block: Block, folder: Path, variables: Mapping[str, str]) -> str:
    """Save it, or type it, or read it; what it printed."""
    if block.language == SHOWN:
        return ""
    if block.file:
        (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.file).write_text(block.text, encoding="utf-8")
        return ""
    typed = "\n".join(line for line in block.text.splitlines() if line not in ALREADY_DONE)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", typed],
        cwd=folder,
        env=variables,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BLOCK_S_MAX,
    )
    print(f"== {block}\n{typed}\n{done.stdout}")
    assert done.returncode == 0, f"{block}: exit code {done.returncode}\n{typed}\n{done.stdout}"
    return done.stdout
