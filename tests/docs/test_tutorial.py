"""Every block of the tutorials that is to be copied runs as it stands, in order, in a fresh home."""

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .shape import ROOT

PAGES = ("first-job.md", "from-laptop-to-fleet.md", "train-register-deploy.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAVED = re.compile(r"(?:Save this|[Aa]nd this) as `([^`]+)`:\s*\Z")
ALREADY_DONE = ("make setup", 'export PATH="$PWD/.venv/bin:$PATH"')  #: what runs this test has done both
SHOWN = "console"  #: the language of blocks that are read: they need other machines, or show what is seen
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


def free_port() -> int:
    """The first of three ports in a row that nobody uses."""
    for port in range(21000 + os.getpid() % 9000, 32000, 3):
        try:
            for each in (port, port + 1, port + 2):
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no three free ports in a row")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_saved_or_typed_or_shown(page: str):
    kinds = {str(block): (bool(block.file), block.language == "sh", block.language == SHOWN) for block in blocks(page)}
    assert [block for block, is_a in kinds.items() if sum(is_a) != 1] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES)
def test_a_reader_who_copies_every_block_gets_through(page: str, tmp_path: Path):
    with tempfile.TemporaryDirectory(prefix="um-") as home:  # sockets need a short path
        variables = {name: value for name, value in os.environ.items() if not name.startswith("ULTRAMARINE_")}
        variables |= {name: value for name, value in os.environ.items() if name.startswith("ULTRAMARINE_TEST")}
        variables |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ULTRAMARINE_HOME": home,
            "ULTRAMARINE_PORT": str(free_port()),
        }
        if cache := os.environ.get("ULTRAMARINE_TEST_CACHE"):
            variables["ULTRAMARINE_CACHE"] = cache
        try:
            for block in blocks(page):
                follow(block, tmp_path, variables)
        finally:
            subprocess.run(["um", "down"], env=variables, check=False, capture_output=True, timeout=180)


def follow(block: Block, folder: Path, variables: dict[str, str]) -> None:
    """Save it, or type it, or read it."""
    if block.language == SHOWN:
        return
    if block.file:
        (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.file).write_text(block.text, encoding="utf-8")
        return
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
